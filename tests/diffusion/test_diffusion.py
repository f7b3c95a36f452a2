# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.guidance import guided
from dit_jax.diffusion.known import TASKS, draw_known, task_mask
from dit_jax.diffusion.objective import ObjectiveConfig, draw, flow_matching_loss
from dit_jax.diffusion.path import (
    add_noise,
    as_velocity,
    eps_from_velocity,
    velocity_target,
    x0_from_velocity,
)
from dit_jax.diffusion.sampler import SamplerConfig, sample
from dit_jax.diffusion.time import draw_time, shift_time, time_bins

SHAPE = (4, 3, 4, 4, 2)
RNG = np.random.default_rng(0)
IDS = {"text_ids": jnp.ones((4, 8), jnp.int32)}
NULL = {"text_ids": jnp.zeros((1, 8), jnp.int32)}
KEY = jax.random.key(0)


def loss_of(velocity, x0, cond, config):
    return flow_matching_loss(velocity, x0, cond, NULL, draw(KEY, x0, cond, config))


def normal(shape=SHAPE):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_conversions_round_trip():
    x0, eps, t = normal(), normal(), jnp.asarray([0.0, 0.3, 0.7, 1.0])
    x_t, velocity = add_noise(x0, eps, t, IDS), velocity_target(x0, eps)
    np.testing.assert_allclose(x0_from_velocity(x_t, velocity, t, IDS), x0, atol=1e-5)
    np.testing.assert_allclose(eps_from_velocity(x_t, velocity, t, IDS), eps, atol=1e-5)
    np.testing.assert_allclose(x_t[0], x0[0])
    np.testing.assert_allclose(x_t[3], eps[3])


def test_velocity_is_the_derivative_of_the_path():
    x0, eps, t = normal(), normal(), jnp.full((4,), 0.4)
    _, slope = jax.jvp(lambda t: add_noise(x0, eps, t, IDS), (t,), (jnp.ones(4),))
    np.testing.assert_allclose(slope, velocity_target(x0, eps), atol=1e-5)


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_residual_output_has_unit_input_and_target(t):
    """For unit data: what the network sees, and what it must say, have variance one at every t."""
    shape = (64, 4, 8, 8, 4)
    x0, eps, time = normal(shape), normal(shape), jnp.full((64,), t)
    x_t = add_noise(x0, eps, time, IDS)
    seen = []
    skip = as_velocity(lambda x, *_: (seen.append(x), jnp.zeros_like(x))[1], "residual")(x_t, time, IDS)
    variance = (1 - t) ** 2 + t**2
    target = (velocity_target(x0, eps) - skip) * np.sqrt(variance)
    assert float(seen[0].var()) == pytest.approx(1, abs=0.02)
    assert float(target.var()) == pytest.approx(1, abs=0.02)
    assert abs(float((target * x_t).mean())) < 0.02  # nothing linear is left to learn


def test_time_is_stratified_and_follows_its_law():
    t = np.sort(draw_time(KEY, 1000))
    assert np.abs(t - (np.arange(1000) + 0.5) / 1000).max() <= 0.5 / 1000 + 1e-6
    logits = jax.scipy.special.logit(draw_time(KEY, 20_000, "logit_normal"))
    assert abs(float(logits.mean())) < 0.01
    assert float(logits.std()) == pytest.approx(1, abs=0.01)


def test_batches_are_shuffled_within_the_strata():
    assert not np.all(np.diff(draw_time(KEY, 100)) > 0)


def test_shift_moves_time_towards_noise_and_back():
    t = jnp.linspace(0, 1, 11)
    assert (shift_time(t, 3.0)[1:-1] > t[1:-1]).all()
    np.testing.assert_allclose(shift_time(shift_time(t, 3.0), 1 / 3), t, atol=1e-6)
    np.testing.assert_allclose(time_bins(4), [0.125, 0.375, 0.625, 0.875])


def test_loss_of_the_truth_is_zero_and_of_zero_is_two():
    """For unit data and noise, the velocity has variance two."""
    shape = (32, 3, 8, 8, 4)
    x0, ids = normal(shape), {"text_ids": jnp.ones((32, 8), jnp.int32)}
    config = ObjectiveConfig()
    zero = loss_of(lambda x, *_: 0 * x, x0, ids, config)
    assert float(zero) == pytest.approx(2, rel=0.05)

    def truth(x_t, t, ids, known):  # eps = (x_t - (1 - t) x0) / t
        t = t[:, None, None, None, None]
        return (x_t - (1 - t) * x0) / t - x0

    assert float(loss_of(truth, x0, ids, config)) < 1e-6


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, 0.0), (0.5, 0.5)])
def test_captions_are_dropped_at_their_rate(dropout, expected):
    seen = []

    def velocity(x_t, t, ids, known):
        seen.append(ids["text_ids"])
        return x_t

    ids = {"text_ids": jnp.ones((400, 8), jnp.int32)}
    config = ObjectiveConfig(caption_dropout=dropout)
    loss_of(velocity, normal((400, 1, 1, 1, 1)), ids, config)
    assert float((seen[0] == 0).all(1).mean()) == pytest.approx(expected, abs=0.08)


def test_known_latents_enter_clean_and_leave_the_loss():
    x0, seen = normal(), []

    def velocity(x_t, t, ids, known):
        seen.append((x_t, known))
        return jnp.where(known, 1e6, x_t)

    config = ObjectiveConfig(known={"image_to_video": 1.0})
    loss = loss_of(velocity, x0, IDS, config)
    x_t, known = seen[0]
    np.testing.assert_array_equal(jnp.where(known, x_t, 0), jnp.where(known, x0, 0))
    assert float(loss) < 100
    assert bool(known[:, 0].all())
    assert not known[:, 1:].any()


@pytest.mark.parametrize("task", TASKS)
def test_masks_keep_something_open(task):
    for shape in ((3, 4, 4), (1, 2, 2), (5, 3, 6)):
        mask = task_mask(task, shape)
        assert mask.shape == (*shape, 1)
        assert task == "none" or shape == (1, 2, 2) or (mask.any() and not mask.all())


def test_tasks_are_drawn_by_weight():
    masks = draw_known(KEY, {"none": 3.0, "image_to_video": 1.0}, jnp.zeros((2000, 2, 1, 1, 3)), {})
    assert float(masks[:, 0].mean()) == pytest.approx(0.25, abs=0.04)
    assert draw_known(KEY, {"none": 1.0}, jnp.zeros((4, 2, 1, 1, 3)), {}) is None


def test_guidance_is_an_extrapolation_and_one_is_none():
    velocity = lambda x, t, ids, known: x + ids["text_ids"][:, :1, None, None, None]  # noqa: E731
    x, t = normal(), jnp.full((4,), 0.5)
    np.testing.assert_allclose(guided(velocity, NULL, 3.0)(x, t, IDS), x + 3, rtol=1e-5)
    assert guided(velocity, NULL, 1.0) is velocity


def gaussian(mean, std):
    """The exact velocity for data that is normal."""

    def velocity(x_t, t, ids, known):
        t = t[:, None, None, None, None]
        variance = (1 - t) ** 2 * std**2 + t**2
        centred = x_t - (1 - t) * mean
        return (t - (1 - t) * std**2) / variance * centred - mean

    return velocity


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_samplers_converge_at_their_order(method, order):
    """Of normal data the flow is linear: x_1 is carried to mean + std x_1."""
    noise, errors = normal(), []
    for num_steps in (8, 32):
        config = SamplerConfig(method, num_steps, 1.0)
        drawn = sample(gaussian(0.5, 0.3), noise, IDS, config)
        errors.append(float(jnp.abs(drawn - (0.5 + 0.3 * noise)).max()))
    assert errors[1] < errors[0] / 4 ** (order - 0.3)
    assert errors[1] < 0.06


def test_known_latents_come_out_exactly_as_given():
    given = normal()
    known = jnp.broadcast_to(task_mask("connect", SHAPE[1:4]), (*SHAPE[:4], 1))
    drawn = sample(gaussian(0.0, 1.0), normal(), IDS, SamplerConfig(num_steps=3), known=known, given=given)
    np.testing.assert_array_equal(jnp.where(known, drawn, 0), jnp.where(known, given, 0))
    assert (jnp.where(known, 0, drawn) != jnp.where(known, 0, given)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(output="x0"), "output='x0' is not one of residual, velocity"),
        (dict(time_law="beta"), "time_law='beta' is not one of uniform, logit_normal"),
        (dict(caption_dropout=1.0), "caption_dropout=1.0 in"),
        (dict(known={"none": 2.0, "inpaint": -1.0}), "must give weights, not negative"),
        (dict(known={"first": 1.0}), "to: none, image_to_video"),
    ],
)
def test_wrong_objectives_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ObjectiveConfig(), **change)


def test_wrong_samplers_are_refused():
    with pytest.raises(ValueError, match="method='rk4' is not one of euler, heun"):
        SamplerConfig(method="rk4")
    with pytest.raises(ValueError, match="num_steps=0 must be at least 1"):
        SamplerConfig(num_steps=0)
