# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.linalg import sqrtm

from dit_jax.evaluate.frechet import frechet_distance, frechet_distance_infinity


def features(count, width, seed=0, shift=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    return shift + scale * rng.normal(size=(count, width)) @ np.diag(np.linspace(0.5, 2, width))


def test_it_is_the_formula_with_a_general_matrix_root():
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6) for _ in range(2))
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    mean = a.mean(0) - b.mean(0)
    expected = mean @ mean + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_of_two_gaussians_on_a_line_it_is_known():
    """(m1 - m2)^2 + (s1 - s2)^2, for sample moments."""
    a, b = features(500, 1), features(400, 1, seed=1, shift=3, scale=2)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_fewer_clips_than_features_are_no_trouble():
    """Covariances are singular then, and a general root of their product is complex or fails."""
    a = features(10, 64)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, a + 0.5) == pytest.approx(64 * 0.25, rel=1e-6)
    assert frechet_distance(a, features(10, 64, seed=1)) > 0


def test_it_is_symmetric():
    a, b = features(50, 8), features(60, 8, seed=2, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_extrapolation_takes_out_what_a_small_sample_adds():
    """Two samples of one law: the true distance is zero, and that of 120 clips is well above it."""
    pairs = [(features(120, 16, seed=2 * i), features(120, 16, seed=2 * i + 1)) for i in range(20)]
    plain = np.mean([frechet_distance(*pair) for pair in pairs])
    limits = [frechet_distance_infinity(*pair)[0] for pair in pairs]
    assert plain > 1
    assert abs(np.mean(limits)) < 0.4 * plain
    assert all(frechet_distance_infinity(*pair)[1] > 0 for pair in pairs[:2])


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (features(5, 3), features(5, 4), "alike wide"),
        (features(1, 3), features(5, 3), "1 clip has no covariance"),
        (features(5, 3), np.full((5, 3), np.nan), "reference are not finite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_too_few_clips_to_extrapolate():
    with pytest.raises(ValueError, match="7 clips in 8 sizes"):
        frechet_distance_infinity(features(7, 2), features(9, 2))
