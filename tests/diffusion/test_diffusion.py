# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.known import TASKS, draw_known, task_mask
from dit_jax.diffusion.objective import ObjectiveConfig, draw, flow_matching_loss
from dit_jax.diffusion.path import add_noise, as_velocity, velocity_target

SHAPE = (4, 3, 4, 4, 2)
RNG = np.random.default_rng(0)
IDS = {"text_ids": jnp.ones((4, 8), jnp.int32)}
NULL = {"text_ids": jnp.zeros((1, 8), jnp.int32)}
KEY = jax.random.key(0)


def loss_of(velocity, x0, cond, config):
    return flow_matching_loss(velocity, x0, cond, NULL, draw(KEY, x0, cond, config), config)


def normal(shape=SHAPE):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


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


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_every_so_manieth_frame_is_given_in_training_as_in_sampling(factor):
    config = ObjectiveConfig(known={"slow_motion": 1.0}, frame_factor=factor)
    known = draw(KEY, jnp.zeros((2, 11, 2, 2, 3)), {}, config).known
    np.testing.assert_array_equal(known[0, :, 0, 0, 0], np.arange(11) % factor == 0)
    np.testing.assert_array_equal(known[1], task_mask("slow_motion", (11, 2, 2), factor))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(path="straight"), "path='straight' is not one of linear, cosine, variance_preserving"),
        (dict(frame_factor=1), "frame_factor=1 must be at least 2"),
        (dict(output="noise"), "output='noise' is not one of residual, velocity, x0"),
        (dict(loss="l1"), "loss='l1' is not one of velocity, x0, eps, v, edm, min_snr, sigmoid"),
        (dict(time_law="beta"), "time_law='beta' is not one of uniform, logit_normal, mode, edm"),
        (dict(time_std=0.0), "time_std=0.0 must be positive"),
        (dict(time_mode=2.0), "time_mode=2.0 must be from -1 to 1.7519"),
        (dict(sigma_data=0.0), "sigma_data=0.0 must be positive"),
        (dict(shift=-1.0), "shift=-1.0 must be positive"),
        (dict(shift_base_size=-1), "shift_base_size=-1 must not be negative"),
        (dict(caption_dropout=1.1), "caption_dropout=1.1 in"),
        (dict(known={"none": 2.0, "inpaint": -1.0}), "must give weights, not negative"),
        (dict(known={"first": 1.0}), "to: none, image_to_video"),
    ],
)
def test_wrong_objectives_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ObjectiveConfig(), **change)
