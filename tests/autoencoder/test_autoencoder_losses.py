# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dit_jax.autoencoder.losses import AutoencoderLossConfig, autoencoder_loss, latent_kl, latent_noise
from dit_jax.autoencoder.model import Autoencoder, AutoencoderConfig
from tests.randomise import randomise

CONFIG = AutoencoderConfig(
    latent_channels=8,
    patch_size=4,
    encoder_widths=(16, 16, 16),
    decoder_widths=(16, 16, 16),
    encoder_blocks=(0, 0, 1),
    decoder_blocks=(1, 0, 0),
)
LOSS = AutoencoderLossConfig()
KEY = jax.random.key(0)


def squares(clips=4):
    """White squares that move a pixel a frame."""
    x = np.full((clips, 5, 16, 16, 3), -1.0, np.float32)
    for clip in range(clips):
        for frame in range(5):
            x[clip, frame, 2 + clip : 9 + clip, frame : frame + 7] = 1
    return jnp.asarray(x)


@functools.partial(jax.jit, static_argnums=(1, 4))
def compiled(state, graph, video, key, config):
    return autoencoder_loss(nnx.merge(graph, state), video, key, config)


def loss_of(model, key=KEY, **changes):
    graph, state = nnx.split(model)
    return compiled(state, graph, squares(), key, dataclasses.replace(LOSS, **changes))


@pytest.fixture(scope="module")
def model():
    return randomise(lambda: Autoencoder(CONFIG, rngs=nnx.Rngs(0)))


def test_the_loss_is_the_weighted_sum_of_what_it_reports(model):
    loss, metrics = loss_of(model, l1=0.3, l2=0.7, latent_kl=0.11, latent_noise=0.0)
    latents, decoded = jax.jit(lambda video: (model.encode(video), model(video)))(squares())
    error = np.asarray(decoded - squares())
    expected = {
        "l1": np.abs(error).mean(),
        "l2": np.square(error).mean(),
        "latent_kl": float(latent_kl(latents)),
        "psnr": 10 * np.log10(4 / np.square(error).mean()),
    }
    assert metrics == pytest.approx(expected, rel=1e-4)
    parts = 0.3 * expected["l1"] + 0.7 * expected["l2"] + 0.11 * expected["latent_kl"]
    assert loss == pytest.approx(parts, rel=1e-4)


def test_noise_comes_from_the_key_and_only_where_it_is_asked_for(model):
    other = jax.random.key(1)
    assert loss_of(model)[0] == loss_of(model)[0]
    assert loss_of(model)[0] != loss_of(model, other)[0]
    assert loss_of(model, latent_noise=0.0)[0] == loss_of(model, other, latent_noise=0.0)[0]


def test_each_clip_has_noise_of_its_own_level():
    noise = latent_noise(KEY, jnp.zeros((512, 3, 4, 4, 4)), 0.5)
    levels = np.asarray(noise.std((1, 2, 3, 4)))
    assert levels.max() < 0.5 * 1.2
    assert levels.mean() == pytest.approx(0.25, rel=0.1)
    assert levels.std() == pytest.approx(0.5 / np.sqrt(12), rel=0.1)  # of a uniform


def test_latents_of_unit_moments_are_free_and_others_cost_the_divergence_of_gaussians():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(64, 3, 4, 4, 5))
    latents = (latents - latents.mean((0, 1, 2, 3))) / latents.std((0, 1, 2, 3))
    assert latent_kl(jnp.asarray(latents, jnp.float32)) == pytest.approx(0, abs=1e-5)
    # KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s
    moved = latent_kl(jnp.asarray(3 * latents + 2, jnp.float32))
    assert moved == pytest.approx((4 + 9 - 1) / 2 - np.log(3), rel=1e-3)
    assert np.isfinite(latent_kl(jnp.zeros((1, 1, 1, 1, 3))))


@pytest.mark.parametrize("name", ["l1", "l2", "latent_kl", "latent_noise"])
def test_negative_weights_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=-1.0 must not be negative"):
        AutoencoderLossConfig(**{name: -1.0})


def test_training_teaches_reconstruction_and_fixes_the_scale_of_latents():
    graph, params = nnx.split(Autoencoder(CONFIG, rngs=nnx.Rngs(0)))
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state, key):
        def loss(params):
            return autoencoder_loss(nnx.merge(graph, params), squares(), key, LOSS)

        grads, metrics = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, metrics

    state = optimizer.init(params)
    params, state, first = step(params, state, KEY)
    for i in range(120):
        params, state, last = step(params, state, jax.random.fold_in(KEY, i))
    assert last["psnr"] > first["psnr"] + 8
    assert last["latent_kl"] < 0.1
