# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.objective import ObjectiveConfig, draw, used_times
from dit_jax.diffusion.sampler import SamplerConfig, sampling_times
from dit_jax.diffusion.schedule import PATHS
from dit_jax.diffusion.time import MAX_MODE, TimeLaw, clip_shift, draw_time, shift_time, time_bins
from tests.diffusion.packed_rows import packed

KEY = jax.random.key(0)
T = jnp.linspace(0.05, 0.9, 7)


def test_time_is_stratified():
    t = np.sort(draw_time(KEY, 1000, TimeLaw()))
    assert np.abs(t - (np.arange(1000) + 0.5) / 1000).max() <= 0.5 / 1000 + 1e-6
    assert not np.all(np.diff(draw_time(KEY, 100, TimeLaw())) > 0)  # shuffled


def test_logit_normal_has_its_mean_and_deviation():
    logits = jax.scipy.special.logit(draw_time(KEY, 20_000, TimeLaw("logit_normal", 0.5, 0.8)))
    assert float(logits.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(logits.std()) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("path", PATHS)
def test_edm_makes_the_ratio_of_noise_to_data_log_normal(path):
    t = draw_time(KEY, 20_000, TimeLaw("edm", -0.4, 1.0), path)
    log_sigma = -PATHS[path].logsnr(t) / 2
    assert float(log_sigma.mean()) == pytest.approx(-0.4, abs=0.01)
    assert float(log_sigma.std()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("mode", [-1.0, 0.5, MAX_MODE])
def test_mode_has_the_density_that_its_map_implies(mode):
    """The share of times below f(u) is 1 - u; between 0 and 1, and never turning back."""
    t = np.asarray(draw_time(KEY, 4000, TimeLaw("mode", mode=mode)))
    u = np.linspace(0, 1, 1001)
    f = 1 - u - mode * (np.cos(np.pi * u / 2) ** 2 - 1 + u)
    assert (np.diff(f) <= 1e-9).all()
    assert t.min() >= -1e-6
    assert t.max() <= 1 + 1e-6
    quantiles = np.quantile(t, [0.1, 0.3, 0.5, 0.8])
    np.testing.assert_allclose(quantiles, np.interp([0.1, 0.3, 0.5, 0.8], 1 - u[::-1], f[::-1]), atol=2e-3)
    middle = np.mean((t > 0.4) & (t < 0.6))
    assert (middle > 0.2) == (mode > 0)


@pytest.mark.parametrize("path", PATHS)
def test_shift_multiplies_the_noise_and_is_undone(path):
    shifted = shift_time(T, 1.7, path)
    np.testing.assert_allclose(
        PATHS[path].logsnr(shifted), PATHS[path].logsnr(T) - 2 * np.log(1.7), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(shift_time(shifted, 1 / 1.7, path), T, atol=1e-5)
    ends = jnp.asarray([0.0, 1.0])
    np.testing.assert_allclose(shift_time(ends, 1.7, path), ends, atol=1e-6)


def test_shift_of_the_straight_path_is_the_published_formula():
    root = np.sqrt(3.0)
    t = np.asarray(T)
    np.testing.assert_allclose(shift_time(T, root), root * t / (1 + (root - 1) * t), rtol=1e-6)


def test_larger_and_longer_clips_are_shifted_by_the_root_of_their_size():
    base = 3 * 4 * 4 * 2
    shift = lambda *shape: clip_shift(1.5, base, jnp.zeros((1, *shape, 2)), {})  # noqa: E731
    assert shift(3, 4, 4) == pytest.approx(1.5)
    assert shift(3, 8, 8) == pytest.approx(3.0)  # twice the resolution
    assert shift(12, 4, 4) == pytest.approx(3.0)  # four times the duration
    assert clip_shift(1.5, 0, jnp.zeros((1, 12, 4, 4, 2)), {}) == 1.5


def test_segments_of_a_packed_row_are_shifted_as_their_clips_are():
    clips, row, cond = packed()
    found = clip_shift(2.0, 24, row, cond)
    alone = [clip_shift(2.0, 24, clip, {}) for clip in clips]
    np.testing.assert_allclose(found[0, :3], alone, rtol=1e-6)
    assert bool(jnp.isfinite(found).all())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("layout", ["grid", "packed"])
def test_training_and_sampling_use_the_same_shift(path, layout):
    """The times of a sampler's steps are those that training makes of the same shares; so are evaluation's."""
    clips, row, cond = packed()
    x, cond = (row, cond) if layout == "packed" else (clips[0], {})
    config = ObjectiveConfig(path=path, shift=1.3, shift_base_size=8)
    plain = ObjectiveConfig(path=path)
    drawn, unshifted = (draw(KEY, x, cond, c).t for c in (config, plain))
    factor = clip_shift(1.3, 8, x, cond)
    np.testing.assert_allclose(drawn, shift_time(unshifted, factor, path), rtol=1e-6)
    steps = sampling_times(SamplerConfig(num_steps=4), x, cond, config)
    even = jnp.broadcast_to(jnp.linspace(1, 0, 5).reshape(5, *(1,) * drawn.ndim), steps.shape)
    np.testing.assert_allclose(steps, shift_time(even, factor, path), rtol=1e-6, atol=1e-6)
    if layout == "grid":
        np.testing.assert_allclose(used_times(T, x, cond, config), shift_time(T, factor, path), rtol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_evaluation_looks_at_the_same_noise_on_every_path(path):
    t = time_bins(4, path)
    np.testing.assert_allclose(PATHS[path].straight_time(t), [0.125, 0.375, 0.625, 0.875], rtol=1e-4)


def test_steps_of_karras():
    """Eq. 5 with rho = 7, in the ratio of noise to data; then 0."""
    t = sampling_times(
        SamplerConfig(num_steps=5, rho=7.0), jnp.zeros((1, 1, 1, 1, 1)), {}, ObjectiveConfig(path="cosine")
    )[:, 0]
    i = np.arange(5) / 4
    sigma = (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(jnp.exp(-PATHS["cosine"].logsnr(t[:-1]) / 2), sigma, rtol=1e-2)
    assert float(t[-1]) == 0


@pytest.mark.parametrize(("output", "low", "high"), [("x0", 1e-3, 1.0), ("eps", 0.0, 1 - 1e-3)])
def test_outputs_are_not_asked_where_they_say_nothing(output, low, high):
    x, config = jnp.zeros((4000, 1, 1, 1, 1)), ObjectiveConfig(output=output)
    t = draw(KEY, x, {}, config).t
    assert float(t.min()) >= np.float32(low)
    assert float(t.max()) <= np.float32(high)
    steps = sampling_times(SamplerConfig(num_steps=4), x[:1], {}, config)[:, 0]
    np.testing.assert_allclose(steps, [high, 0.75, 0.5, 0.25, 0], atol=1e-6)
