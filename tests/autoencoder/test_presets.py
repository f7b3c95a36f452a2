# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every compression of configs/video_autoencoder.py: it trains, takes images and streams."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import known_world, video_autoencoder
from dit_jax import build
from dit_jax.autoencoder.model import Autoencoder
from tests.randomise import randomise

NAMES = (*video_autoencoder.PRESETS, "tiny")


def config_of(name):
    return known_world.get_config() if name == "tiny" else video_autoencoder.get_config(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_compresses_as_its_name_says(name):
    sizes = build.autoencoder_config(config_of(name))
    r, s, channels = sizes.temporal_compression, sizes.spatial_compression, sizes.latent_channels
    assert name in ("tiny", f"{r}x{s}x{s}")
    assert channels == (128 if s == 32 else 16)

    def both(video):
        model = Autoencoder(sizes, rngs=nnx.Rngs(0))
        return model.encode(video), model(video)

    for frames in (1, 1 + 2 * r):  # an image, and a video
        clip = jax.ShapeDtypeStruct((2, frames, 64, 96, 3), jnp.float32)
        latents, decoded = jax.eval_shape(both, clip)
        assert latents.shape == (2, 1 + (frames - 1) // r, 64 // s, 96 // s, channels)
        assert decoded.shape == clip.shape


def test_the_strongest_compression_streams():
    """Group after group is the whole, at levels that halve time, space and both."""
    narrow = dict(encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4), latent_channels=8)
    sizes = dataclasses.replace(build.autoencoder_config(config_of("8x32x32")), **narrow)
    model = randomise(lambda: Autoencoder(sizes, rngs=nnx.Rngs(0)))
    whole = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 17, 32, 32, 3)), jnp.float32)
    latents = jax.jit(model.encode)(whole)
    streamed = jnp.concatenate(list(model.encode_stream(jnp.split(whole, [1, 9], axis=1))), axis=1)
    np.testing.assert_allclose(streamed, latents, atol=1e-4 * float(jnp.abs(latents).max()))
    decoded = jax.jit(model.decode)(latents)
    pieces = jnp.concatenate(list(model.decode_stream(jnp.split(latents, 3, axis=1))), axis=1)
    np.testing.assert_allclose(pieces, decoded, atol=1e-4 * float(jnp.abs(decoded).max()))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_it_is_valid(name):
    made = config_of(name)
    build.check(made, build.latent_shape(made))


def test_an_unknown_compression_is_refused():
    with pytest.raises(ValueError, match="compression '4x4x4' is not one of 4x8x8, 1x8x8, 8x8x8, 8x32x32"):
        video_autoencoder.get_config("4x4x4")
