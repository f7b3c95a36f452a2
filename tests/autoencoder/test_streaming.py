# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.autoencoder.model import Autoencoder, AutoencoderConfig
from dit_jax.autoencoder.tiling import Tiling, step_tiles
from dit_jax.autoencoder.wan import WanAutoencoder, WanAutoencoderConfig
from tests.randomise import randomise

PYRAMID = AutoencoderConfig(
    temporal_compression=4,
    spatial_compression=4,
    latent_channels=3,
    patch_size=2,
    encoder_widths=(4, 6, 6),
    decoder_widths=(4, 6, 6),
    encoder_blocks=(0, 1, 1),
    decoder_blocks=(1, 1, 1),
)
WAN = WanAutoencoderConfig(
    width=4, width_multipliers=(1, 2, 2), latent_channels=3, num_blocks=1, halve_time=(True, True)
)
WAN_FLAT = WanAutoencoderConfig(
    width=4, width_multipliers=(1, 1), latent_channels=3, num_blocks=1, halve_time=(True,)
)


def drawn(kind, config):
    model = randomise(lambda: kind(config, rngs=nnx.Rngs(0)))
    if kind is WanAutoencoder:
        model.decoder.head.conv.kernel[...] *= 0.05  # few pixels are clipped
    return model


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def cut(x, sizes):
    """Chunks of so many frames each."""
    assert sum(sizes) == x.shape[1]
    return jnp.split(x, np.cumsum(sizes)[:-1], axis=1)


@pytest.fixture(scope="module", params=["pyramid", "wan"])
def model(request):
    return drawn(Autoencoder, PYRAMID) if request.param == "pyramid" else drawn(WanAutoencoder, WAN)


@pytest.fixture(scope="module")
def video():
    return normal(1, 13, 8, 8, 3)


@pytest.fixture(scope="module")
def latents():
    return normal(1, 4, 2, 2, 3)


@pytest.fixture(scope="module")
def encoded(model, video):
    return jax.jit(model.encode)(video)


@pytest.mark.parametrize("sizes", [(1, 8, 4), (2, 0, 3, 4, 3, 1), (13,)])
def test_a_stream_of_frames_is_encoded_as_the_whole(model, video, encoded, sizes):
    parts = list(model.encode_stream(cut(video, sizes)))
    np.testing.assert_allclose(jnp.concatenate(parts, 1), encoded, atol=1e-5 * np.abs(encoded).max())


@pytest.fixture(scope="module")
def decoded(model, latents):
    return jax.jit(model.decode)(latents)


@pytest.mark.parametrize("sizes", [(1, 1, 2), (3, 0, 1)])
def test_a_stream_of_latents_is_decoded_as_the_whole(model, latents, decoded, sizes):
    assert (np.abs(decoded) < 1).mean() > 0.2
    parts = list(model.decode_stream(cut(latents, sizes)))
    frames = np.cumsum([size for size in sizes if size])
    assert [part.shape[1] for part in parts] == np.diff(4 * frames - 3, prepend=0).tolist()
    np.testing.assert_allclose(jnp.concatenate(parts, 1), decoded, atol=1e-5 * np.abs(decoded).max())


def test_the_cache_never_grows(model):
    def shapes(step, lengths, x):
        cache = None
        for length in lengths:
            chunk = jnp.zeros((1, length, *x.shape[2:]))
            _, cache = jax.eval_shape(step, chunk, cache)
            yield jax.tree.map(jnp.shape, cache)

    for step, lengths, x in (
        (model.encode_chunk, (1, 4, 16, 4), jnp.zeros((1, 1, 8, 8, 3))),
        (model.decode_chunk, (1, 1, 4, 1), jnp.zeros((1, 1, 2, 2, 3))),
    ):
        first, *later = shapes(step, lengths, x)
        assert jax.tree.leaves(first)
        assert all(shape == first for shape in later)


def test_a_stream_may_have_no_end(model):
    frames = ({"image": 1}.get(kind, 4) for kind in itertools.chain(["image"], itertools.repeat("group")))
    stream = model.encode_stream(jnp.zeros((1, size, 8, 8, 3)) for size in frames)
    assert [part.shape[1] for part in itertools.islice(stream, 3)] == [1, 1, 1]


def test_a_stream_that_ends_within_a_group_is_refused(model, video):
    stream = model.encode_stream([video[:, :1], video[:, 1:4]])
    assert next(stream).shape[1] == 1
    with pytest.raises(ValueError, match=r"ended 3 frames into a group.*1 \+ a multiple of .*=4"):
        next(stream)


def test_a_picture_that_does_not_divide_is_refused(model, video):
    with pytest.raises(ValueError, match="H=6 must be a multiple of spatial_compression=4"):
        next(model.encode_stream([video[:, :, :6]]))


@pytest.mark.parametrize(("tile", "overlap"), [(12, 8), (8, 0), (20, 4), (400, 4)])
@pytest.mark.parametrize("scales", [(1, 4), (4, 1)])
def test_tiles_of_what_is_local_make_the_whole(tile, overlap, scales):
    x = normal(1, 2, 10 * scales[0], 7 * scales[0], 3)
    step = nearest if scales[0] == 1 else subsampled
    together = step_tiles(step, x, {}, Tiling(tile, overlap), scales)
    np.testing.assert_allclose(together, step(x, None)[0], atol=1e-6)


def nearest(x, cache):
    return x.repeat(4, 2).repeat(4, 3), ()


def subsampled(x, cache):
    return x[:, :, ::4, ::4], ()


def test_a_tile_fades_into_the_next_linearly():
    count = itertools.count()

    def step(x, cache):
        return jnp.full_like(x, next(count)), ()

    faded = step_tiles(step, jnp.zeros((1, 1, 5, 8, 1)), {}, Tiling(5, 2), (1, 1))
    np.testing.assert_allclose(faded[0, 0, :, :, 0], [[0, 0, 0, 0.25, 0.75, 1, 1, 1]] * 5, atol=1e-6)


def reach(f, x, scale):
    """How far beyond its own cell, in cells of the coarser side, a row of `f(x)` sees rows of `x`."""
    out = jax.eval_shape(f, x).shape
    middle = out[2] // 2
    seen = jax.jit(jax.grad(lambda x: (f(x)[:, :, middle] ** 2).sum()))(x)
    rows = np.flatnonzero(np.abs(seen).sum((0, 1, 3, 4)))
    own = middle * x.shape[2] / out[2]
    return int(np.ceil(max(own - rows.min(), rows.max() - own) / scale))


def far_from_edges(size, tile, overlap, distance):
    """Cells that lie farther than `distance` from every edge at which a tile that covers them was cut."""
    cells = np.arange(size)
    far = np.ones(size, bool)
    starts = [*range(0, size - tile, tile - overlap), size - tile]
    for start in starts:
        inside = (cells >= start) & (cells < start + tile)
        near_start = (start > 0) & (cells < start + distance)
        near_end = (start + tile < size) & (cells >= start + tile - distance)
        far &= ~(inside & (near_start | near_end))
    return far


@pytest.mark.parametrize("kind", ["pyramid", "wan without attention"])
def test_tiles_are_exact_where_they_reach_as_far_as_the_cells_see(kind):
    if kind == "pyramid":
        model = drawn(Autoencoder, PYRAMID)
    else:
        model = drawn(WanAutoencoder, WAN_FLAT)
        for side in (model.encoder, model.decoder):
            side.middle.attention.out.kernel[...] *= 0
    s = model.config.spatial_compression
    video, latents = normal(1, 1, 40 * s, s, 3), normal(1, 1, 40, 1, 3)
    tiling = Tiling(24 * s, 8 * s)
    for whole, tiled, x, scale in (
        (model.encode, model.encode_tiled, video, 1),
        (model.decode, model.decode_tiled, latents, s),
    ):
        distance = reach(whole, x, s if scale == 1 else 1)
        far = np.repeat(far_from_edges(40, 24, 8, distance), scale)
        expected, got = jax.jit(whole)(x), tiled(x, tiling)
        wrong = np.abs(got - expected).max((0, 1, 3, 4)) > 1e-5 * np.abs(expected).max()
        assert far.sum() > 5 * scale
        assert not wrong[far].any()
        assert wrong.any()  # or the edges would prove nothing


def test_tiles_stream_as_pictures_do(model, video):
    tiling = Tiling(8, 4)
    wide = jnp.concatenate([video, video[:, :, :, ::-1]], 3)
    whole = model.encode_tiled(wide, tiling)
    parts = list(model.encode_stream(cut(wide, (1, 8, 4)), tiling))
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5 * np.abs(whole).max())
    decoded = model.decode_tiled(whole, tiling)
    assert decoded.shape == wide.shape
    parts = list(model.decode_stream(cut(whole, (1, 1, 2)), tiling))
    np.testing.assert_allclose(jnp.concatenate(parts, 1), decoded, atol=1e-5 * np.abs(decoded).max())


def test_one_tile_is_the_whole(model, video, encoded):
    tiled = model.encode_tiled(video, Tiling(16, 4))
    np.testing.assert_allclose(tiled, encoded, atol=1e-5 * np.abs(encoded).max())


def test_tilings_that_cannot_be_are_refused(model, video):
    with pytest.raises(ValueError, match="overlap=8 must be from 0 to tile=8 less one"):
        Tiling(8, 8)
    with pytest.raises(ValueError, match="overlap=2 must be a multiple of spatial_compression=4"):
        model.encode_tiled(video, Tiling(8, 2))
