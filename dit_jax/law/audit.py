# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that a fitted surface tells against: diverged ones, ones that seem unfinished, and typing errors."""

import numpy as np
from jaxtyping import Bool, Float

FLOOR = 0.003  # log loss: scatter below it is rounding or the surface's own error
UNFINISHED = (5.0, 0.01)  # beyond so many scatters and so much log loss
DIVERGED = (10.0, 0.10)
ONE_SIDED = 2.0  # noise and misfit go both ways, an unfinished run only up: times the lowest run
ISOLATED = (10.0, np.log(1.5))  # beyond so many sds and so much log loss from what the others predict
FEWEST = 9  # runs, to predict one from the others
ROUNDING = 1e-3  # log loss
NEIGHBOURS = 4  # of a low run: a law that turns lies low with all of them


def judge(
    residual: Float[np.ndarray, " runs"], scale: float
) -> tuple[Bool[np.ndarray, " runs"], Bool[np.ndarray, " runs"]]:
    """Runs far above a surface, diverged, and a few per cent above it, unfinished.

    Args:
      residual: log measured loss less the log loss of a robust surface through all the runs.
      scale: the residuals' robust sd.

    Returns:
      (diverged, unfinished), never both of one run.
    """
    scale = max(scale, FLOOR)
    diverged = residual > max(DIVERGED[0] * scale, DIVERGED[1])
    lowest = -float(residual.min(initial=0.0))
    unfinished = residual > max(UNFINISHED[0] * scale, UNFINISHED[1], ONE_SIDED * lowest)
    return diverged, unfinished & ~diverged


def low(
    log_params: Float[np.ndarray, " runs"],
    log_tokens: Float[np.ndarray, " runs"],
    residual: Float[np.ndarray, " runs"],
    scale: float,
) -> Bool[np.ndarray, " runs"]:
    """Runs far below a surface, beyond any scatter, whose neighbours are not: no training does that.

    Args:
      log_params, log_tokens: of the runs.
      residual, scale: as of `judge`.
    """
    found = residual < -DIVERGED[0] * max(scale, FLOOR)
    for i in np.flatnonzero(found):
        away = np.hypot(log_params - log_params[i], log_tokens - log_tokens[i])
        away[i] = np.inf
        near = residual[np.argsort(away, kind="stable")[:NEIGHBOURS]]
        found[i] = np.median(near) > residual[i] / 2
    return found


def isolated(
    log_params: Float[np.ndarray, " runs"],
    log_tokens: Float[np.ndarray, " runs"],
    log_loss: Float[np.ndarray, " runs"],
) -> Bool[np.ndarray, " runs"]:
    """Runs far above what a quadratic through all the others predicts of them, the worst first.

    A diverged run in the corner of a small grid bends any surface to itself, and its own residual is small.
    """
    found = np.zeros(len(log_loss), bool)
    while (~found).sum() >= FEWEST:
        left = np.flatnonzero(~found)
        t, above = _left_out(log_params[left], log_tokens[left], log_loss[left])
        worst = int(np.argmax(np.where(above > ISOLATED[1], t, -np.inf)))
        if not (t[worst] > ISOLATED[0] and above[worst] > ISOLATED[1]):
            break
        found[left[worst]] = True
    return found


def _left_out(
    n: Float[np.ndarray, " runs"], d: Float[np.ndarray, " runs"], y: Float[np.ndarray, " runs"]
) -> tuple[Float[np.ndarray, " runs"], Float[np.ndarray, " runs"]]:
    """Externally studentised residuals, and how far each run lies above the fit to the others."""
    n, d = ((x - x.mean()) / max(x.std(), ROUNDING) for x in (n, d))
    design = np.stack([np.ones_like(n), n, d, n * n, n * d, d * d], 1)
    hat = design @ np.linalg.pinv(design)
    own = np.maximum(1 - np.diag(hat), 1e-9)  # of a residual that is its own
    residual = y - hat @ y
    variance = (residual @ residual - residual**2 / own) / (len(y) - design.shape[1] - 1)
    sd = np.sqrt(np.maximum(variance, ROUNDING**2))
    return residual / (sd * np.sqrt(own)), residual / own
