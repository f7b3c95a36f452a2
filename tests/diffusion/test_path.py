# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths and outputs against what their papers say of them, in float64 NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.path import (
    OUTPUTS,
    add_noise,
    as_velocity,
    endpoints,
    output_from,
    velocity_from,
    velocity_target,
)
from dit_jax.diffusion.schedule import PATHS
from tests.diffusion.gaussian import EDGES, INSIDE, published, published_output

RNG = np.random.default_rng(0)
T = jnp.asarray(INSIDE, jnp.float32)


def points(path, times):
    """Data, noise and x_t at each time."""
    x0, eps = (jnp.asarray(RNG.normal(size=(len(times), 5, 1, 1, 1)), jnp.float32) for _ in range(2))
    return x0, eps, add_noise(x0, eps, jnp.asarray(times, jnp.float32), {}, path)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_the_published_one(path):
    alpha, sigma = published(path, np.asarray(INSIDE))
    np.testing.assert_allclose(PATHS[path].alpha(T), alpha, rtol=2e-5)
    np.testing.assert_allclose(PATHS[path].sigma(T), sigma, rtol=2e-5)
    np.testing.assert_allclose(PATHS[path].logsnr(T), 2 * np.log(alpha / sigma), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_slopes_are_derivatives(path):
    for of, slope in (
        (PATHS[path].alpha, PATHS[path].alpha_slope),
        (PATHS[path].sigma, PATHS[path].sigma_slope),
    ):
        _, derivative = jax.jvp(of, (T,), (jnp.ones_like(T),))
        np.testing.assert_allclose(derivative, slope(T) * jnp.ones_like(T), rtol=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_what_follows_of_alpha_and_sigma(path):
    along, t = PATHS[path], T
    alpha, sigma = along.alpha(t), along.sigma(t)
    one = jnp.ones_like(t)
    turn = alpha * along.sigma_slope(t) - sigma * along.alpha_slope(t)
    np.testing.assert_allclose(along.turn(t) * one, turn, rtol=1e-4)
    np.testing.assert_allclose(along.scale(t) * one, alpha + sigma, rtol=1e-6)
    np.testing.assert_allclose(along.variance(t), alpha**2 + sigma**2, rtol=1e-6)
    np.testing.assert_allclose(along.excess(t), sigma - alpha, atol=1e-6)
    np.testing.assert_allclose(along.straight_time(t), sigma / (alpha + sigma), rtol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_noise_tells_the_time(path):
    along = PATHS[path]
    np.testing.assert_allclose(along.time_of(along.logsnr(T)), T, rtol=2e-4)
    ends = along.time_of(along.logsnr(jnp.asarray([0.0, 1.0])))
    np.testing.assert_allclose(ends, [0, 1], atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_paths_begin_at_the_data_and_end_in_noise(path):
    x0, eps, x_t = points(path, [0.0, 1.0])
    np.testing.assert_array_equal(x_t[0], x0[0])
    left = {"variance_preserving": 0.0066}.get(path, 0.0)
    np.testing.assert_allclose(x_t[1], eps[1] + left * x0[1], atol=2e-4)


def test_the_continuous_path_meets_the_table_of_a_thousand_betas():
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    t = jnp.arange(1, 1001, dtype=jnp.float32) / 1000
    difference = PATHS["variance_preserving"].logsnr(t) - np.log(kept / (1 - kept))
    assert float(jnp.abs(difference).max()) < 0.1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_is_the_published_one(path, output):
    """The right output gives the velocity, and the velocity the output."""
    x0, eps, x_t = points(path, INSIDE)
    at, velocity = T.reshape(-1, 1, 1, 1, 1), velocity_target(x0, eps)
    value = published_output(output, path, np.asarray(at, np.float64), np.asarray(x0), np.asarray(eps), 0.7)
    size = 1 + jnp.abs(value).max()
    np.testing.assert_allclose(
        output_from(velocity, output, x_t, at, path, 0.7) / size, value / size, atol=1e-5
    )
    back = velocity_from(jnp.asarray(value, jnp.float32), output, x_t, at, path, 0.7)
    condition = {"x0": 1 / at, "eps": 1 / (1 - at)}.get(output, 1.0)  # of the velocity from it
    assert float(jnp.abs((back - velocity) / condition).max()) < 2e-4


@pytest.mark.parametrize("path", PATHS)
def test_outputs_convert_into_each_other_and_back(path):
    x0, eps, x_t = points(path, EDGES)
    at = jnp.asarray(EDGES, jnp.float32).reshape(-1, 1, 1, 1, 1)
    velocity = velocity_target(x0, eps)
    for one, other in itertools.permutations(OUTPUTS, 2):
        value = output_from(velocity, one, x_t, at, path)
        there = output_from(velocity_from(value, one, x_t, at, path), other, x_t, at, path)
        back = output_from(velocity_from(there, other, x_t, at, path), one, x_t, at, path)
        error = jnp.abs(back - value) / (1 + jnp.abs(value))
        # near an end what is asked for there is a small difference of large numbers
        assert float(error[1:-1].max()) < 1e-4, (one, other)
        assert float(error.max()) < 5e-3, (one, other)


@pytest.mark.parametrize("path", PATHS)
def test_the_velocity_leads_from_the_noise_to_the_data(path):
    x0, eps, x_t = points(path, EDGES)
    at = jnp.asarray(EDGES, jnp.float32).reshape(-1, 1, 1, 1, 1)
    found = endpoints(x_t, velocity_target(x0, eps), at, PATHS[path])
    np.testing.assert_allclose(found[0], x0, atol=1e-5)
    np.testing.assert_allclose(found[1], eps, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", ["residual", "edm"])
def test_networks_see_and_say_unit_variance_at_every_t(path, output):
    """`residual` of unit data, `edm` of data of its sigma_data."""
    std = 0.6 if output == "edm" else 1.0
    shape = (9, 4000, 1, 1, 1)
    x0, eps = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for _ in range(2))
    times = jnp.linspace(0.02, 0.98, 9)
    x_t, seen = add_noise(std * x0, eps, times, {}, path), []
    as_velocity(lambda x, *_: (seen.append(x), x)[1], output, path, std)(x_t, times, {})
    target = output_from(
        velocity_target(std * x0, eps), output, x_t, times.reshape(-1, 1, 1, 1, 1), path, std
    )
    for values in (seen[0], target):
        np.testing.assert_allclose(values.std((1, 2, 3, 4)), 1, atol=0.05)
    assert float(jnp.abs((target * x_t).mean((1, 2, 3, 4))).max()) < 0.08  # nothing linear is left to learn


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_known_sites_are_read_clean_and_their_output_is_finite(path, output):
    x_t = jnp.asarray(RNG.normal(size=(2, 3, 1, 1, 1)), jnp.float32)
    known = jnp.asarray([True, False, False]).reshape(1, 3, 1, 1, 1) & jnp.ones((2, 3, 1, 1, 1), bool)
    seen = []
    velocity = as_velocity(lambda x, *_: (seen.append(x), x)[1], output, path)
    found = velocity(x_t, jnp.asarray([0.3, 0.9]), {}, known)
    assert bool(jnp.isfinite(found).all())
    np.testing.assert_allclose(seen[0][:, 0], x_t[:, 0], rtol=1e-6)


def test_an_unknown_output_is_refused():
    with pytest.raises(ValueError, match="output='noise' is not one of residual, velocity"):
        as_velocity(lambda x, *_: x, "noise")
