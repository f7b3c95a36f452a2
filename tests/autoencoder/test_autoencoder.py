# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.autoencoder.latents import LatentStats, measure_latents
from dit_jax.autoencoder.model import Autoencoder, AutoencoderConfig
from tests.randomise import randomise

SMALL = AutoencoderConfig(
    temporal_compression=4,
    spatial_compression=8,
    latent_channels=6,
    patch_size=4,
    encoder_widths=(8, 8, 12),
    decoder_widths=(8, 8, 12),
    encoder_blocks=(1, 1, 1),
    decoder_blocks=(1, 1, 1),
)


def preset(temporal, spatial, channels=6, patch=4, levels=3):
    return AutoencoderConfig(
        temporal_compression=temporal,
        spatial_compression=spatial,
        latent_channels=channels,
        patch_size=patch,
        encoder_widths=(8,) * levels,
        decoder_widths=(12,) * levels,
        encoder_blocks=(1,) * levels,
        decoder_blocks=(1,) * levels,
    )


PRESETS = {
    "4x8x8": SMALL,
    "1x8x8": preset(1, 8, levels=2),
    "8x8x8": preset(8, 8, levels=4),
    "2x4x4": preset(2, 4, levels=2),
    "4x16x16": preset(4, 16, patch=2, levels=4),
    "1x4x4": preset(1, 4, levels=1),
}


def video(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=shape), jnp.float32)


def abstract(config):
    """A model without memory or computation behind it."""
    return nnx.eval_shape(lambda: Autoencoder(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module", params=["4x8x8", "2x4x4"])
def model(request):
    return randomise(lambda: Autoencoder(PRESETS[request.param], rngs=nnx.Rngs(0)))


def frames_seen(f, x):
    """Which frames of `x` each frame of `f(x)` depends on: from gradients at random weights."""
    weights = video(*jax.eval_shape(f, x).shape, seed=1)
    jacobian = jax.jit(jax.jacrev(lambda x: (f(x) * weights).sum((0, 2, 3, 4))))(x)
    return np.abs(jacobian).sum((1, 3, 4, 5)) > 0


def test_latents_see_no_later_frame_and_all_of_their_own(model):
    r, s = model.config.temporal_compression, model.config.spatial_compression
    seen = frames_seen(model.encode, video(1, 1 + 2 * r, s, s, 3))
    assert seen.shape == (3, 1 + 2 * r)
    for k, frames in enumerate(seen):
        assert not frames[r * k + 1 :].any()
        assert frames[max(0, r * (k - 1) + 1) : r * k + 1].all()


def test_decoded_frames_see_no_later_latent_and_their_own(model):
    r = model.config.temporal_compression
    seen = frames_seen(model.decode, video(1, 3, 1, 1, model.config.latent_channels))
    assert seen.shape == (1 + 2 * r, 3)
    for j, latents in enumerate(seen):
        group = -(-j // r)
        assert not latents[group + 1 :].any()
        assert latents[group]


def test_an_image_is_the_first_frame_of_a_video(model):
    x = video(2, 1 + 2 * model.config.temporal_compression, 32, 16, 3)
    encode, decode = jax.jit(model.encode), jax.jit(model.decode)
    latents, image = encode(x), encode(x[:, :1])
    np.testing.assert_allclose(image, latents[:, :1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(decode(image), decode(latents)[:, :1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_shapes(name):
    config = PRESETS[name]
    r, s = config.temporal_compression, config.spatial_compression
    assert name == f"{r}x{s}x{s}"
    assert np.prod(config.strides, axis=0).tolist() == [r, s]
    assert config.latent_shape((1 + 2 * r, 32, 48)) == (3, 32 // s, 48 // s)

    def run(video):
        model = Autoencoder(config, rngs=nnx.Rngs(0))
        return model.encode(video), model(video)

    clip = jax.ShapeDtypeStruct((2, 1 + 2 * r, 32, 48, 3), jnp.float32)
    latents, decoded = jax.eval_shape(run, clip)
    assert latents.shape == (2, 3, 32 // s, 48 // s, config.latent_channels)
    assert decoded.shape == clip.shape


def test_it_computes_in_the_dtype_of_the_video(model):
    x = video(1, 5, 16, 16, 3)
    full, half = jax.jit(model)(x), jax.jit(model)(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    error = np.abs(half.astype(jnp.float32) - full).mean() / np.abs(full).mean()
    assert 1e-4 < error < 0.05  # rounded, and only that


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 32, 32), "T=8 .* temporal_compression=4"),
        ((9, 30, 32), "H=30 .* spatial_compression=8"),
        ((9, 32, 36), "W=36 .* spatial_compression=8"),
    ],
)
def test_videos_that_do_not_divide_are_named(shape, message):
    model = abstract(SMALL)
    for ask in (SMALL.latent_shape, model.flops, lambda shape: model.encode(video(1, *shape, 3))):
        with pytest.raises(ValueError, match=message) as error:
            ask(shape)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temporal_compression": 3}, "temporal_compression=3 must be a power of two"),
        ({"spatial_compression": 12}, "spatial_compression=12 must be patch_size=4 times a power of two"),
        ({"patch_size": 16}, "spatial_compression=8 must be patch_size=16"),
        ({"latent_channels": 0}, "latent_channels=0 must be a whole number of at least 1"),
        (
            {"encoder_widths": (8, 8)},
            r"encoder_widths=\(8, 8\): give 3 .* for each level of 4x8x8",
        ),
        ({"decoder_widths": (8, 0, 8)}, r"decoder_widths=\(8, 0, 8\): give 3 whole numbers of at least 1"),
        ({"decoder_blocks": (1, -1, 1)}, r"decoder_blocks=\(1, -1, 1\): give 3 whole numbers of at least 0"),
    ],
)
def test_configs_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


@pytest.mark.parametrize("compressions", [(4, 8), (2, 8)])
def test_flops_agree_with_the_compiler(compressions):
    widths = {"encoder_widths": (96, 128, 128), "decoder_widths": (96, 128, 128)}  # few sums to a product
    config = dataclasses.replace(SMALL, temporal_compression=compressions[0], patch_size=2, **widths)
    model = randomise(lambda: Autoencoder(config, rngs=nnx.Rngs(0)))
    clip = jax.ShapeDtypeStruct((1, 9, 32, 16, 3), jnp.float32)
    latents = jax.eval_shape(model.encode, clip)
    flops = model.flops((9, 32, 16))
    for name, argument in (("encode", clip), ("decode", latents)):
        compiled = jax.jit(getattr(model, name)).lower(argument).compile().cost_analysis()["flops"]
        assert flops[name] < compiled < 1.02 * flops[name]  # the compiler counts sums and scales too


def test_default_is_small_enough_for_a_cpu():
    model = abstract(AutoencoderConfig())
    flops = model.flops((9, 32, 32))
    assert AutoencoderConfig().latent_shape((9, 32, 32)) == (3, 4, 4)
    assert flops["encode"] <= 30e6
    assert flops["decode"] <= 150e6
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) <= 480_000


def test_normalised_latents_have_zero_mean_and_unit_deviation():
    rng = np.random.default_rng(0)
    scale, shift = rng.uniform(0.1, 9, size=4), rng.normal(size=4)
    batches = [(rng.normal(size=(size, 3, 2, 2, 4)) * scale + shift).astype(np.float32) for size in (5, 2, 9)]
    stats = measure_latents(jnp.asarray(batch) for batch in batches)
    latents = jnp.concatenate(batches)
    normal = stats.normalize(latents)
    np.testing.assert_allclose(normal.mean((0, 1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 1, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(jax.jit(LatentStats.denormalize)(stats, normal), latents, atol=1e-5)


def test_a_small_spread_far_from_zero_is_measured():
    latents = 1000 + np.random.default_rng(0).normal(size=(4, 3, 8, 8, 2)).astype(np.float32) / 10
    stats = measure_latents([jnp.asarray(latents)])
    np.testing.assert_allclose(stats.std, latents.astype(np.float64).std((0, 1, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one batch"),
        ([jnp.stack([jnp.ones((2, 1, 2, 2)), video(2, 1, 2, 2)], -1)], r"channels \[0\] .* never vary"),
        ([video(2, 1, 2, 2, 2).at[0, 0, 0, 0, 1].set(jnp.nan)], r"channels \[1\] .* not finite"),
    ],
)
def test_latents_without_a_scale_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        measure_latents(batches)
