# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths and outputs as published, and normal data, of which everything is known exactly."""

import numpy as np

INSIDE = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
EDGES = (0.002, 0.02, 0.3, 0.7, 0.98, 0.998)
MEAN, STD = 0.5, 0.3


def published(path, t):
    """alpha and sigma: Lipman et al. 2023; Salimans and Ho 2022; Song et al. 2021, eq. 33."""
    if path == "linear":
        return 1 - t, t
    if path == "cosine":
        return np.cos(np.pi * t / 2), np.sin(np.pi * t / 2)
    kept = np.exp(-0.5 * t**2 * (20 - 0.1) - t * 0.1)
    return np.sqrt(kept), np.sqrt(1 - kept)


def slopes(path, t, step=1e-5):
    """alpha' and sigma', by central differences."""
    after, before = published(path, t + step), published(path, t - step)
    return tuple((a - b) / (2 * step) for a, b in zip(after, before))


def published_output(output, path, t, x0, eps, sigma_data=1.0):
    """What a network that knows `x0` and `eps` says."""
    (alpha, sigma), (alpha_slope, sigma_slope) = published(path, t), slopes(path, t)
    length = np.sqrt(alpha**2 + sigma**2)
    if output in ("x0", "eps"):
        return x0 if output == "x0" else eps
    if output == "velocity":
        return alpha_slope * x0 + sigma_slope * eps
    if output == "edm":  # Karras et al. 2022, table 1, in their variables
        level = sigma / alpha
        skip = sigma_data**2 / (level**2 + sigma_data**2)
        out = level * sigma_data / np.sqrt(level**2 + sigma_data**2)
        return (x0 - skip * (x0 + level * eps)) / out
    return (alpha * eps - sigma * x0) / length


def expected(path, t, x_t):
    """Means of x0 and eps given x_t, of data with `MEAN` and `STD`."""
    alpha, sigma = published(path, t)
    centred = (x_t - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
    return MEAN + alpha * STD**2 * centred, sigma * centred


def carried(path, t, x_t):
    """Where the flow takes x_t at t = 0."""
    alpha, sigma = published(path, t)
    return MEAN + STD * (x_t - alpha * MEAN) / np.sqrt(alpha**2 * STD**2 + sigma**2)
