# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every loss is the published one, of whatever a network says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.objective import Draws, ObjectiveConfig, draw, flow_matching_loss
from dit_jax.diffusion.path import OUTPUTS, as_velocity
from dit_jax.diffusion.schedule import PATHS
from dit_jax.diffusion.weighting import LOSSES
from tests.diffusion.gaussian import published, published_output
from tests.diffusion.packed_rows import packed

RNG = np.random.default_rng(0)
NULL = {"text_ids": jnp.zeros((1, 2), jnp.int32)}
T, SHAPE = np.asarray([0.05, 0.3, 0.6, 0.95]), (4, 2, 3, 3, 2)
SIGMA_DATA, GAMMA, BIAS = 0.6, 3.0, 1.0


def weight_of_x0(loss, path, t, step=1e-5):
    """What the papers put on the squared error of x0."""
    alpha, sigma = published(path, t)
    snr = (alpha / sigma) ** 2
    logsnr = lambda t: 2 * np.log(published(path, t)[0] / published(path, t)[1])  # noqa: E731
    rate = -(logsnr(t + step) - logsnr(t - step)) / (2 * step)
    return {
        "x0": 1 + 0 * t,
        "eps": snr,
        "v": snr + 1,
        "edm": (1 / snr + SIGMA_DATA**2) / (SIGMA_DATA**2 / snr),
        "min_snr": np.minimum(snr, GAMMA),
        "sigmoid": 0.5 * rate * snr / (1 + np.exp(np.log(snr) - BIAS)),  # of eps: sigmoid(b - logsnr)
    }[loss]


@pytest.fixture(scope="module")
def drawn():
    x0, eps, error = (jnp.asarray(RNG.normal(size=SHAPE), jnp.float32) for _ in range(3))
    return x0, eps, error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", ["x0", "eps", "velocity", "edm", "residual"])
def test_losses_weigh_the_error_of_x0_as_published(path, output, drawn):
    """A network that is wrong by `error` about x0, and consistently so, whatever it says of it."""
    x0, eps, error = drawn
    t = T.reshape(-1, 1, 1, 1, 1)
    alpha, sigma = published(path, t)
    wrong = np.asarray(x0) + np.asarray(error), np.asarray(eps) - alpha / sigma * np.asarray(error)
    says = jnp.asarray(published_output(output, path, t, *wrong, SIGMA_DATA), jnp.float32)
    draws = Draws(jnp.asarray(T, jnp.float32), eps, jnp.zeros(4, bool), None)
    for loss in set(LOSSES) - {"velocity"}:
        config = ObjectiveConfig(path, output, SIGMA_DATA, loss=loss, min_snr_gamma=GAMMA, sigmoid_bias=BIAS)
        velocity = as_velocity(lambda *_: says, output, path, SIGMA_DATA)
        found = float(flow_matching_loss(velocity, x0, {}, NULL, draws, config))
        expected = (weight_of_x0(loss, path, t) * np.square(np.asarray(error))).mean()
        assert found == pytest.approx(expected, rel=2e-3), loss


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", ["x0", "eps", "v", "velocity", "edm"])
def test_a_loss_of_the_output_is_its_squared_error(path, output, drawn):
    """As DiT (eps), Stable Video Diffusion (edm) and Stable Diffusion 3 (velocity) are trained."""
    x0, eps, error = drawn
    t = T.reshape(-1, 1, 1, 1, 1)
    truth = published_output(output, path, t, np.asarray(x0), np.asarray(eps), SIGMA_DATA)
    says = jnp.asarray(truth + 0.1 * np.asarray(error), jnp.float32)
    draws = Draws(jnp.asarray(T, jnp.float32), eps, jnp.zeros(4, bool), None)
    config = ObjectiveConfig(path, output, SIGMA_DATA, loss=output)
    velocity = as_velocity(lambda *_: says, output, path, SIGMA_DATA)
    found = float(flow_matching_loss(velocity, x0, {}, NULL, draws, config))
    assert found == pytest.approx(float(jnp.square(0.1 * error).mean()), rel=5e-3)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_no_loss_and_no_gradient_is_infinite_whatever_is_given(path, output):
    x0 = jnp.asarray(RNG.normal(size=(64, 3, 1, 1, 1)), jnp.float32)
    configs = [ObjectiveConfig(path, output, loss=loss, known={"image_to_video": 1.0}) for loss in LOSSES]
    draws = draw(jax.random.key(0), x0, {}, configs[0])

    def measured(scale):
        velocity = as_velocity(lambda x, *_: scale * x, output, path)
        return sum(flow_matching_loss(velocity, x0, {}, NULL, draws, config) for config in configs)

    assert np.isfinite(jax.value_and_grad(measured)(jnp.asarray(0.3))).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_frames_have_times_of_their_own(path, output):
    """And the loss of the truth is nought."""
    x0 = jnp.asarray(RNG.normal(size=(6, 5, 2, 2, 3)), jnp.float32)
    config = ObjectiveConfig(path, output, loss="v", per_frame_time=True)
    draws = draw(jax.random.key(1), x0, {}, config)
    assert draws.t.shape == (6, 5)
    t = np.sort(draws.t.reshape(-1))
    assert np.abs(t - (np.arange(30) + 0.5) / 30).max() < 0.5 / 30 + 1e-6  # stratified over all
    at = np.asarray(draws.t, np.float64).reshape(6, 5, 1, 1, 1)
    truth = jnp.asarray(
        published_output(output, path, at, np.asarray(x0), np.asarray(draws.eps)), jnp.float32
    )
    seen = []
    velocity = as_velocity(lambda x, t, *_: (seen.append(t), truth)[1], output, path)
    assert float(flow_matching_loss(velocity, x0, {}, NULL, draws, config)) < 1e-4
    assert seen[0].shape == (6, 5)


def test_packed_rows_have_no_time_per_frame():
    _, row, cond = packed()
    with pytest.raises(ValueError, match="per_frame_time=True is for latents on a grid"):
        draw(jax.random.key(0), row, cond, ObjectiveConfig(per_frame_time=True))
