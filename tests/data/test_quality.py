# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy import ndimage

from dit_jax.data.quality import quality
from tests.data.video_files import levels, noise


def test_motion_is_the_change_of_a_pixel():
    assert quality(levels(9)).motion == pytest.approx(6, abs=1e-3)  # each frame is 6 levels lighter
    assert quality(np.repeat(noise(1), 5, axis=0)).motion == 0
    assert quality(noise(1)).motion == 0
    fast, slow = noise(9, seed=1)[::4], noise(9, seed=1)
    assert (
        quality(ndimage.uniform_filter(fast, (0, 5, 5, 0))).motion
        > quality(ndimage.uniform_filter(slow, (0, 5, 5, 0))).motion
    )


def test_sharpness_falls_with_blur():
    video = noise(3)
    blurred = [ndimage.gaussian_filter(video, (0, sigma, sigma, 0)) for sigma in (0, 0.7, 1.5, 4)]
    sharpness = [quality(v).sharpness for v in blurred]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 20 * sharpness[-1]
    assert quality(levels(3)).sharpness == pytest.approx(0, abs=1e-3)


def test_sharpness_is_the_variance_of_the_laplacian():
    gray = np.repeat(noise(2)[..., :1], 3, axis=-1)
    expected = [ndimage.laplace(image[..., 0].astype(float), mode="nearest").var() for image in gray]
    assert quality(gray).sharpness == pytest.approx(np.mean(expected), rel=1e-4)


def test_brightness_and_contrast():
    halves = np.zeros((2, 8, 8, 3), np.uint8)
    halves[:, :4] = 200
    measured = quality(halves)
    assert measured.brightness == pytest.approx(100, abs=1e-3)
    assert measured.contrast == pytest.approx(100, abs=1e-3)
    green = np.zeros((1, 4, 4, 3), np.uint8)
    green[..., 1] = 100
    assert quality(green).brightness == pytest.approx(58.7, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 5, 3)])
def test_the_smallest_clips(shape):
    assert quality(np.full(shape, 9, np.uint8)).brightness == pytest.approx(9, abs=1e-4)
