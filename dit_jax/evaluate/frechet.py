# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Fréchet distance between two sets of features, and what it would be of endlessly many clips.

Over a video network's features it is known as FVD (Unterthiner et al. 2018, arXiv 1812.01717). A distance
depends on the network, its weights, the clips' length and size and their number: only those of one and the same
protocol may be compared. Name the network with the number.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh, svdvals

Features = Float[np.ndarray, "_ _"]  # clips, features


def frechet_distance(features: Features, reference: Features) -> float:
    """Squared Fréchet (2-Wasserstein) distance of the Gaussians with the moments of two sets.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` (Dowson and Landau 1982). The trace of the last root is the sum
    of the singular values of `C1^(1/2) C2^(1/2)`, of which both factors are symmetric: there is no general root,
    which fails or turns complex where there are fewer clips than features.

    Raises:
      ValueError: sets of different width, of fewer than two clips, or not finite.
    """
    a, b = (np.asarray(f, np.float64) for f in (features, reference))
    _check(a, b)
    mean, covariance = a.mean(0) - b.mean(0), np.cov(a, rowvar=False).reshape(a.shape[1], -1)
    other = np.cov(b, rowvar=False).reshape(a.shape[1], -1)
    overlap = svdvals(_root(covariance) @ _root(other)).sum()
    distance = mean @ mean + np.trace(covariance) + np.trace(other) - 2 * overlap
    return float(max(distance, 0.0))


def frechet_distance_infinity(
    features: Features, reference: Features, num_sizes: int = 8, seed: int = 0
) -> tuple[float, float]:
    """The distance extrapolated to endlessly many clips, and the standard error of the extrapolation.

    From a finite sample the distance is too large by about a constant over the number of clips. It is computed for
    random subsets of both sets, of sizes from half to all, and the line through it against 1 / size is read at
    zero (Chong and Forsyth 2020, arXiv 1911.07023, section 3).

    Args:
      features, reference: as `frechet_distance`; the smaller set tells the sizes.
      num_sizes: subsets.
      seed: draws them.

    Raises:
      ValueError: as `frechet_distance`, and for fewer than 8 clips or 3 sizes.
    """
    count = min(len(features), len(reference))
    if count < 8 or num_sizes < 3:
        raise ValueError(f"{count} clips in {num_sizes} sizes: give 8 clips and 3 sizes or more")
    rng = np.random.default_rng(seed)
    sizes = np.linspace(count // 2, count, num_sizes).astype(int)
    distances = [
        frechet_distance(*(f[rng.permutation(len(f))[:size]] for f in (features, reference)))
        for size in sizes
    ]
    line, covariance = np.polyfit(1 / sizes, distances, 1, cov=True)
    return float(line[1]), float(np.sqrt(covariance[1, 1]))


def _root(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The symmetric root of a positive semidefinite matrix."""
    values, vectors = eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features of shapes {a.shape} and {b.shape}: give (clips, features), alike wide")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{min(len(a), len(b))} clip has no covariance: give two or more to each set")
    for name, values in (("features", a), ("reference", b)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} are not finite: look at the clips and the network's weights")
