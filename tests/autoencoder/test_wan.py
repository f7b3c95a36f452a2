# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.autoencoder.wan import WAN_LATENT_STATS, WanAutoencoder, WanAutoencoderConfig
from dit_jax.autoencoder.wan_layers import Downsample, FrameAttention, Upsample, unit_norm
from tests.randomise import randomise

SMALL = WanAutoencoderConfig(
    width=4, width_multipliers=(1, 2, 2), latent_channels=3, num_blocks=1, halve_time=(True, True)
)


def abstract(config):
    return nnx.eval_shape(lambda: WanAutoencoder(config, rngs=nnx.Rngs(0)))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def model():
    """Every parameter is drawn; few pixels are clipped, for what is clipped depends on nothing."""
    model = randomise(lambda: WanAutoencoder(SMALL, rngs=nnx.Rngs(0)))
    model.decoder.head.conv.kernel[...] *= 0.05
    return model


def frames_seen(f, x):
    """Which frames of `x` each frame of `f(x)` depends on: from gradients at random weights."""
    weights = normal(*jax.eval_shape(f, x).shape, seed=1)
    jacobian = jax.jit(jax.jacrev(lambda x: (f(x) * weights).sum((0, 2, 3, 4))))(x)
    return np.abs(jacobian).sum((1, 3, 4, 5)) > 0


def test_latents_see_no_later_frame_and_all_of_their_own(model):
    seen = frames_seen(model.encode, normal(1, 9, 8, 8, 3))
    assert seen.shape == (3, 9)
    for k, frames in enumerate(seen):
        assert not frames[4 * k + 1 :].any()
        assert frames[: 4 * k + 1].all()


def test_decoded_frames_see_no_later_latent_and_all_before(model):
    seen = frames_seen(model.decode, normal(1, 3, 2, 2, 3))
    assert seen.shape == (9, 3)
    for j, latents in enumerate(seen):
        group = -(-j // 4)
        assert not latents[group + 1 :].any()
        assert latents[: group + 1].all()


def test_an_image_is_the_first_frame_of_a_video(model):
    video = normal(1, 5, 8, 8, 3)
    encode, decode = jax.jit(model.encode), jax.jit(model.decode)
    latents = encode(video)
    np.testing.assert_allclose(encode(video[:, :1]), latents[:, :1], atol=1e-5)
    np.testing.assert_allclose(decode(latents[:, :1]), decode(latents)[:, :1], atol=1e-5)


def test_pixels_are_clipped_and_latents_are_the_mean(model):
    latents = 20 * normal(1, 2, 2, 2, 3)
    model = nnx.clone(model)
    model.decoder.head.conv.kernel[...] *= 100
    decoded = jax.jit(model.decode)(latents)
    assert decoded.shape == (1, 5, 8, 8, 3)
    assert (jnp.abs(decoded) == 1).any()
    assert (jnp.abs(decoded) <= 1).all()


def test_the_log_variance_is_kept_within_bounds(model):
    model = nnx.clone(model)
    model.to_moments.kernel[...] *= 1000
    mean, log_variance = jax.jit(model.encode_moments)(normal(1, 1, 8, 8, 3))
    assert (jnp.abs(mean) > 30).any()
    assert log_variance.min() == -30
    assert log_variance.max() == 20


def test_it_computes_in_the_dtype_of_the_video(model):
    video = normal(1, 5, 8, 8, 3)
    full, half = jax.jit(model.encode)(video), jax.jit(model.encode)(video.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    rounding = np.abs(half.astype(jnp.float32) - full).mean() / np.abs(full).mean()
    assert 1e-4 < rounding < 0.05


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 32, 32), "T=8 .* temporal_compression=4"),
        ((9, 30, 32), "H=30 .* spatial_compression=4"),
        ((9, 32, 34), "W=34 .* spatial_compression=4"),
    ],
)
def test_videos_that_do_not_divide_are_named(model, shape, message):
    for ask in (SMALL.latent_shape, model.flops, lambda shape: model.encode(normal(1, *shape, 3))):
        with pytest.raises(ValueError, match=message):
            ask(shape)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 5}, "width=5 must be even"),
        ({"latent_channels": 0}, "latent_channels=0 must be at least 1"),
        ({"num_blocks": 0}, "num_blocks=0 must be at least 1"),
        ({"width_multipliers": (1, 0, 2)}, r"width_multipliers=\(1, 0, 2\): give a whole number"),
        ({"halve_time": (True,)}, r"halve_time=\(True,\): give 2 of True and False"),
    ],
)
def test_configs_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_the_default_is_the_published_size():
    config = WanAutoencoderConfig()
    assert config.latent_shape((81, 480, 832)) == (21, 60, 104)
    assert WAN_LATENT_STATS.mean.shape == WAN_LATENT_STATS.std.shape == (config.latent_channels,)
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(abstract(config)))) == 126_892_531


def test_flops_agree_with_the_compiler():
    model = abstract(dataclasses.replace(SMALL, width=96))  # few sums to a product
    clip = jax.ShapeDtypeStruct((1, 5, 32, 16, 3), jnp.float32)
    latents = jax.ShapeDtypeStruct((1, 2, 8, 4, 3), jnp.float32)
    flops = model.flops((5, 32, 16))
    for name, argument in (("encode", clip), ("decode", latents)):
        lowered = jax.jit(getattr(WanAutoencoder, name)).lower(model, argument)
        compiled = lowered.compile().cost_analysis()["flops"]
        assert flops[name] < compiled < 1.03 * flops[name]


def test_attention_costs_what_the_formula_says():
    layer = nnx.eval_shape(lambda: FrameAttention(64, rngs=nnx.Rngs(0)))
    x = jax.ShapeDtypeStruct((1, 2, 16, 16, 64), jnp.float32)
    compiled = jax.jit(lambda layer, x: layer.stream(x, None)[0]).lower(layer, x).compile()
    assert layer.flops((2, 16, 16)) < compiled.cost_analysis()["flops"] < 1.1 * layer.flops((2, 16, 16))


def test_the_norm_does_not_shrink_small_features():
    x = normal(1, 1, 2, 2, 8)
    np.testing.assert_allclose(unit_norm(1e-6 * x, jnp.ones(8)), unit_norm(x, jnp.ones(8)), rtol=1e-5)
    assert not jnp.isnan(jax.grad(lambda x: unit_norm(x, jnp.ones(8)).sum())(jnp.zeros_like(x))).any()


def test_a_change_of_frame_rate_leaves_the_first_frame_alone():
    down = randomise(lambda: Downsample(4, True, rngs=nnx.Rngs(0)))
    up = randomise(lambda: Upsample(4, True, rngs=nnx.Rngs(0)))
    x = normal(1, 5, 4, 4, 4)
    halved, doubled = down.stream(x, None)[0], up.stream(x, None)[0]
    assert halved.shape == (1, 3, 2, 2, 4)
    assert down.shape((5, 4, 4)) == (3, 2, 2)
    assert doubled.shape == (1, 9, 8, 8, 2)
    assert up.shape((5, 4, 4)) == (9, 8, 8)
    np.testing.assert_allclose(halved[:, 0], down.space(x)[:, 0], atol=1e-6)
    later = up.stream(x.at[:, 0].set(0), None)[0]
    np.testing.assert_array_equal(doubled[:, 1:], later[:, 1:])


def test_half_a_group_of_frames_is_refused(model):
    _, cache = jax.eval_shape(model.encode_chunk, normal(1, 1, 8, 8, 3))
    cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), cache)
    with pytest.raises(ValueError, match="T=3 frames of a chunk cannot be halved"):
        model.encode_chunk(normal(1, 3, 8, 8, 3), cache)
