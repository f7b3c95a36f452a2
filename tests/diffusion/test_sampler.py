# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Of normal data everything is known exactly: what the network says, and where the flow carries noise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.guidance import frame_scales, guided
from dit_jax.diffusion.known import task_mask
from dit_jax.diffusion.objective import ObjectiveConfig
from dit_jax.diffusion.path import OUTPUTS, as_velocity
from dit_jax.diffusion.sampler import METHODS, SamplerConfig, sample, sampling_times
from dit_jax.diffusion.schedule import PATHS
from dit_jax.diffusion.sites import expand
from tests.diffusion.gaussian import MEAN, STD, carried, expected, published, published_output
from tests.diffusion.packed_rows import packed

RNG = np.random.default_rng(0)
NOISE = jnp.asarray(RNG.normal(size=(2, 3, 2, 2, 4)), jnp.float32)
IDS = {"text_ids": jnp.ones((2, 8), jnp.int32)}
NULL = {"text_ids": jnp.zeros((1, 8), jnp.int32)}


def exact(path):
    """The velocity of normal data."""

    def velocity(x, t, cond, known=None):
        t = expand(t, x, cond)
        alpha, sigma = PATHS[path].alpha(t), PATHS[path].sigma(t)
        centred = (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        return sigma * centred - (MEAN + alpha * STD**2 * centred)

    return velocity


def start(config, path):
    objective = ObjectiveConfig(path)
    t = np.float64(sampling_times(config, NOISE, {}, objective)[0, 0])
    return objective, t, published(path, t)[1] * np.asarray(NOISE, np.float64)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("method", "rho", "order"), [("euler", 0.0, 1), ("heun", 0.0, 2), ("heun", 7.0, 2), ("euler", 7.0, 1)]
)
def test_samplers_converge_at_their_order(path, method, rho, order):
    """Even steps lose half an order to the variance-preserving path, whose noise goes as the root of t."""
    if (path, method, rho) == ("variance_preserving", "heun", 0.0):
        order = 1.5
    errors = []
    for num_steps in (16, 64):
        config = SamplerConfig(method, num_steps, 1.0, rho=rho)
        objective, t, x = start(config, path)
        drawn = sample(exact(path), NOISE, {}, config, objective)
        errors.append(np.abs(drawn - carried(path, t, x)).max())
    assert errors[1] < errors[0] / 4 ** (order - 0.2)
    assert errors[1] < 0.06


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_any_output_on_any_path_carries_noise_to_the_data(path, output):
    """A network that says the best there is to say, as its paper defines it, is led as by the exact velocity,
    which converges (above)."""
    config, objective = SamplerConfig("heun", 4, 1.0, rho=7.0), ObjectiveConfig(path, output)

    def network(seen, t, cond, known):
        t = np.float64(t[0])
        alpha, sigma = published(path, t)
        x_t = np.asarray(seen, np.float64)
        if output in ("residual", "edm"):  # sigma_data is 1
            x_t = x_t * np.sqrt(alpha**2 + sigma**2)
        return jnp.asarray(published_output(output, path, t, *expected(path, t, x_t)), jnp.float32)

    with jax.disable_jit():
        drawn, right = (
            sample(velocity, NOISE, {}, config, objective)
            for velocity in (as_velocity(network, output, path), exact(path))
        )
    np.testing.assert_allclose(drawn, right, atol=2e-3)


def test_eulers_method_is_ddim():
    """Song et al. 2021, eq. 12 without noise: x_0 and eps as predicted, at the next alpha and sigma."""
    path, config = "variance_preserving", SamplerConfig("euler", 4, 1.0)
    objective, _, x = start(config, path)
    times = np.asarray(sampling_times(config, NOISE, {}, objective)[:, 0], np.float64)
    for t, t_next in itertools.pairwise(times):
        x0, eps = expected(path, t, x)
        alpha, sigma = published(path, t_next)
        x = alpha * x0 + sigma * eps
    np.testing.assert_allclose(sample(exact(path), NOISE, {}, config, objective), x, atol=1e-4)


def test_an_ancestral_step_is_that_of_ddpm():
    """Ho et al. 2020, eq. 7: mean and variance of the next x given this one and x_0."""
    path, config, x0, seen = "variance_preserving", SamplerConfig("ancestral", 3, 1.0), 0.7, []

    def knows(x, t, cond, known=None):
        seen.append(x)
        along, t = PATHS[path], t[0]
        return (x / along.scale(t) - x0) / along.straight_time(t)

    noise = jnp.asarray(RNG.normal(size=(20_000, 1, 1, 1, 1)), jnp.float32)
    with jax.disable_jit():
        drawn = sample(knows, noise, {}, config, ObjectiveConfig(path), key=jax.random.key(3))
    x, x_next = (np.asarray(a, np.float64).ravel() for a in seen[1:])
    kept, kept_next = (published(path, t)[0] ** 2 for t in (2 / 3, 1 / 3))
    beta = 1 - kept / kept_next
    mean = np.sqrt(kept_next) * beta / (1 - kept) * x0
    mean = mean + np.sqrt(1 - beta) * (1 - kept_next) / (1 - kept) * x
    variance = (1 - kept_next) / (1 - kept) * beta
    assert abs((x_next - mean).mean()) < 0.02
    assert (x_next - mean).var() == pytest.approx(variance, rel=0.03)
    np.testing.assert_allclose(drawn, x0, atol=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_ancestral_samples_have_the_distribution_of_the_data(path):
    noise = jnp.asarray(RNG.normal(size=(4000, 1, 1, 1, 1)), jnp.float32)
    config, objective = SamplerConfig("ancestral", 400, 1.0), ObjectiveConfig(path)
    drawn = sample(exact(path), noise, {}, config, objective, key=jax.random.key(0))
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(drawn.std()) == pytest.approx(STD, rel=0.05)


def test_ancestral_sampling_needs_a_key():
    with pytest.raises(ValueError, match="give a key"):
        sample(exact("linear"), NOISE, {}, SamplerConfig("ancestral", 2, 1.0))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
def test_known_latents_come_out_exactly_as_given(path, method):
    given = jnp.asarray(RNG.normal(size=NOISE.shape), jnp.float32)
    known = jnp.broadcast_to(task_mask("connect", NOISE.shape[1:4]), (*NOISE.shape[:4], 1))
    drawn = sample(
        exact(path),
        NOISE,
        {},
        SamplerConfig(method, num_steps=3),
        ObjectiveConfig(path),
        known=known,
        given=given,
        key=jax.random.key(0),
    )
    np.testing.assert_array_equal(jnp.where(known, drawn, 0), jnp.where(known, given, 0))
    assert (jnp.where(known, 0, drawn) != jnp.where(known, 0, given)).any()


def test_clips_of_a_packed_row_are_drawn_as_they_are_alone():
    """Each with the times that its size asks for."""
    clips, row, cond = packed()
    objective = ObjectiveConfig("cosine", shift_base_size=16)
    draw = lambda noise, cond: sample(exact("cosine"), noise, cond, SamplerConfig(num_steps=3), objective)  # noqa: E731
    together = draw(row, cond)
    alone = jnp.concatenate([draw(clip, {}).reshape(-1, 2) for clip in clips])
    np.testing.assert_allclose(together[0, : len(alone)], alone, atol=1e-5)


def test_guidance_is_an_extrapolation_and_one_is_none():
    velocity = lambda x, t, ids, known: x + ids["text_ids"][:, :1, None, None, None]  # noqa: E731
    t = jnp.full((2,), 0.5)
    np.testing.assert_allclose(guided(velocity, NULL, 3.0)(NOISE, t, IDS), NOISE + 3, rtol=1e-5)
    assert guided(velocity, NULL, 1.0) is velocity
    assert guided(velocity, NULL, 1.0, 1.0) is velocity


def test_guidance_grows_along_the_frames():
    velocity = lambda x, t, ids, known: x + ids["text_ids"][:, :1, None, None, None]  # noqa: E731
    found = guided(velocity, NULL, 1.0, 3.0)(NOISE, jnp.full((2,), 0.5), IDS) - NOISE
    expected = jnp.broadcast_to(jnp.linspace(1.0, 3.0, 3).reshape(1, 3, 1, 1, 1), NOISE.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_frames_of_packed_clips_are_guided_as_they_are_alone():
    clips, row, cond = packed()
    scales = frame_scales(row, cond, 1.0, 3.0)
    assert scales.shape == (1, 60, 1)
    alone = [jnp.broadcast_to(frame_scales(c, {}, 1.0, 3.0), (*c.shape[:-1], 1)).ravel() for c in clips]
    np.testing.assert_allclose(scales[0, :50, 0], jnp.concatenate(alone), rtol=1e-6)
    assert float(alone[1].max()) == 1  # an image has a first frame alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(method="rk4"), "method='rk4' is not one of euler, heun, ancestral"),
        (dict(num_steps=0), "num_steps=0 must be at least 1"),
        (dict(guidance_last=-1.0), "guidance_last=-1.0 not negative"),
        (dict(rho=-7.0), "rho=-7.0 must not be negative"),
        (dict(sigma_min=0.0), "sigma_min=0.0 be positive"),
        (dict(sigma_max=0.001), "below sigma_max=0.001"),
    ],
)
def test_wrong_samplers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SamplerConfig(**change)
