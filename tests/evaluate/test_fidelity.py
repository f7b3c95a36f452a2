# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of fidelity against slow formulas written from the papers, window by window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

from dit_jax.evaluate.fidelity import SCALE_WEIGHTS, flicker, ms_ssim, ssim
from dit_jax.evaluate.transform_coding import baseline_bicubic, baseline_dct, baseline_dct_clip


def clips(*shape, seed=0):
    """Smooth pictures in [-1, 1] with some detail, and the same with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (*shape[:2], 4, 4, shape[4]))
    smooth = np.asarray(jax.image.resize(coarse, shape, "cubic")).clip(-1, 1)
    return smooth, (smooth + rng.normal(0, 0.15, shape)).clip(-1, 1)


def windowed(a, b):
    """Luminance, and contrast times structure, of each 11 x 11 window of two planes; range 255."""
    y, x = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance, contrast = [], []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            vpq = (weights * (p - mp) * (q - mq)).sum()
            luminance.append((2 * mp * mq + c1) / (mp**2 + mq**2 + c1))
            contrast.append((2 * vpq + c2) / (vp + vq + c2))
    return np.array(luminance), np.array(contrast)


def planes(video):
    """Its frames by colour, in grey levels."""
    return np.moveaxis((video + 1) * 127.5, -1, 1).reshape(-1, *video.shape[1:3])


def test_ssim_is_the_formula():
    a, b = clips(2, 2, 18, 22, 3)
    got = ssim(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    for clip in range(2):
        pairs = [windowed(p, q) for p, q in zip(planes(a[clip]), planes(b[clip]))]
        expected = np.mean([(luminance * contrast).mean() for luminance, contrast in pairs])
        assert float(got[clip]) == pytest.approx(expected, abs=2e-4)


def test_ms_ssim_is_the_formula():
    """Three scales fit into 44 pixels: contrast at each, luminance at the last, weights normalised."""
    a, b = clips(1, 1, 44, 46, 3)
    weights, expected = np.array(SCALE_WEIGHTS[:3]) / sum(SCALE_WEIGHTS[:3]), []
    for p, q in zip(planes(a[0]), planes(b[0])):
        product = 1.0
        for scale, weight in enumerate(weights):
            luminance, contrast = windowed(p, q)
            product *= (contrast if scale < 2 else luminance * contrast).mean() ** weight
            p, q = (
                v[: v.shape[0] // 2 * 2, : v.shape[1] // 2 * 2]
                .reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2)
                .mean((1, 3))
                for v in (p, q)
            )
        expected.append(product)
    got = ms_ssim(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    assert float(got[0]) == pytest.approx(np.mean(expected), abs=2e-4)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_equal_clips_are_one_and_worse_ones_less(measure):
    a, b = (jnp.asarray(v, jnp.float32) for v in clips(1, 2, 24, 24, 1))
    scores = [float(jax.jit(measure)(a + share * (b - a), a)[0]) for share in (0, 0.3, 1)]
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert scores[0] > scores[1] > scores[2] > 0


def test_gradients_are_finite_even_where_a_frame_is_the_opposite():
    """Contrasts are negative then, and a root of them has no gradient."""
    a = jnp.asarray(clips(1, 1, 22, 22, 1)[0], jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: ms_ssim(x, a).sum()))
    assert np.isfinite(gradient(-a)).all()
    assert np.isfinite(gradient(a)).all()
    assert np.abs(gradient(0.5 * a)).max() > 0


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_frames_smaller_than_the_window_are_refused(measure):
    video = jnp.zeros((1, 1, 10, 32, 3))
    with pytest.raises(ValueError, match="frames of 10 x 32 pixels are smaller than the window of 11"):
        measure(video, video)


def test_flicker_sees_errors_that_change_and_only_those():
    real = jnp.asarray(clips(2, 5, 8, 8, 3)[0], jnp.float32)
    assert np.allclose(flicker(real + 0.2, real), 0, atol=1e-4)
    alternating = real + 0.2 * jnp.array([1, -1, 1, -1, 1])[None, :, None, None, None]
    assert np.allclose(flicker(alternating, real), 0.4 * 127.5, rtol=1e-4)
    with pytest.raises(ValueError, match="two or more"):
        flicker(real[:, :1], real[:, :1])


def moving(frames=5, side=16):
    """A soft blob that moves."""
    y, x = np.mgrid[:side, :side]
    video = [np.exp(-((x - 4 - t) ** 2 + (y - 8) ** 2) / 12) for t in range(frames)]
    colours = np.array([255, 180, 60])
    return np.round(np.array(video)[..., None] * colours).astype(np.uint8)[None]


def error(a, b):
    return np.square(a.astype(float) - b).mean()


@pytest.mark.parametrize("code", [baseline_dct, baseline_dct_clip, baseline_bicubic])
def test_baselines_get_better_with_more_values_and_keep_a_flat_clip(code):
    real = moving()
    errors = [error(code(real, values), real) for values in (60, 240, 1920)]
    assert errors[0] > errors[1] > errors[2]
    flat = np.full((1, 5, 16, 16, 3), (200, 90, 30), np.uint8)
    assert np.abs(code(flat, 60).astype(int) - flat).max() <= 1


def test_a_transform_with_all_its_values_gives_the_clip_back():
    """Of luma three fifths of the values, so five thirds of a clip's own are all of it."""
    real = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8, 3)).astype(np.uint8)
    for code in (baseline_dct, baseline_dct_clip):
        assert np.abs(code(real, 5 * real.size).astype(int) - real).max() <= 1


@pytest.mark.parametrize(("code", "axes"), [(baseline_dct, (1, 2)), (baseline_dct_clip, (0, 1, 2))])
def test_a_transform_keeps_no_more_values_than_it_may(code, axes):
    """Most of a grey clip's spectrum is gone: what is left of luma is within the budget."""
    rng, values = np.random.default_rng(0), 4 * 24
    grey = np.clip(rng.normal(128, 20, (1, 4, 8, 8, 1)), 0, 255).round().astype(np.uint8)
    coded = code(np.repeat(grey, 3, -1), values)[0, ..., 0].astype(float)
    size = np.abs(dctn(coded, axes=axes, norm="ortho")).ravel()
    # Rounding to bytes spreads a deviation of 0.29 over all of it.
    assert (size > 3).sum() <= values
    assert (size > 3).sum() > values // 3
