# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The lowest point of a budget's runs by interpolation, where no smooth curve serves.

After Porian et al. 2024 (arXiv 2406.19146): log loss against log params by Akima's interpolation, and the
least of it on a grid 25 times as fine as the runs.
"""

from collections.abc import Sequence

import numpy as np
import scipy
from jaxtyping import Bool, Float

from dit_jax.law.parabola import WINDOWS, Curves, Parabola, Points
from dit_jax.law.vertex import Minimum

FINER = 25
CELL_ERROR = 1 / 3  # of a cell: an interpolated minimum is no surer than that, however quiet the runs
MISFIT = 0.005  # of the loss, of a smooth curve over all runs, and
MISFIT_NOISES = 3.0  # of their noise: then no smooth curve fits
FEWEST_CONTRASTS = 20  # of neighbours, to tell noise from shape


def interpolated(
    points: Sequence[Points], scale: Float[np.ndarray, " draws"], rng: np.random.Generator
) -> list[Minimum | None]:
    """Minima of the budgets; None where one lies at an end of its grid, or does in half of the draws.

    Args:
      points: the runs, budget by budget.
      scale: sd of one run's log loss, for every draw.
      rng: of the draws.
    """
    return [_minimum(one, scale, rng) if len(one.sizes) > 2 else None for one in points]


def _minimum(points: Points, scale: Float[np.ndarray, " draws"], rng: np.random.Generator) -> Minimum | None:
    sizes, log_loss, counts = points.means
    noise = rng.standard_normal((len(scale), len(sizes))) * scale[:, None] / np.sqrt(counts)
    at, least, inside = _lowest(sizes, np.vstack([log_loss, log_loss + noise]))
    kept = inside[1:].mean()
    if not inside[0] or kept < 0.5:
        return None
    at[1:][~inside[1:]] = rng.choice(at[1:][inside[1:]], int((~inside[1:]).sum()))
    log_tokens = np.polynomial.Polynomial.fit(points.log_params, points.log_tokens, 2)(at)
    every = np.stack([at, log_tokens, least], 1)
    sd = float(np.hypot(every[1:, 0].std(), CELL_ERROR * points.cell) / kept)
    curve = _curve(sizes, log_loss)
    return Minimum(
        every[0], every[1:], sd, _bend(points), lambda log_params: np.exp(curve(log_params)), points.rows
    )


def _curve(sizes: Float[np.ndarray, " sizes"], log_loss: Float[np.ndarray, "... sizes"]):
    return scipy.interpolate.Akima1DInterpolator(sizes, log_loss.T)


def _lowest(
    sizes: Float[np.ndarray, " sizes"], log_loss: Float[np.ndarray, "draws sizes"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"], Bool[np.ndarray, " draws"]]:
    """Log params and log loss at each minimum, and whether it is off both ends."""
    fine = np.linspace(sizes[0], sizes[-1], FINER * (len(sizes) - 1))
    values = _curve(sizes, log_loss)(fine)
    at = values.argmin(0)
    return fine[at], values.min(0), (at > 0) & (at < len(fine) - 1)


def _bend(points: Points) -> Parabola:
    """The parabola through the runs near the best; through the best and its neighbours where that has no bend."""
    [parabola] = Curves.through([points], WINDOWS[0], corrected=False).parabolas
    if parabola.coefficients[2] > 0:
        return parabola
    sizes = points.sizes
    i = int(np.clip(np.searchsorted(sizes, points.best), 1, len(sizes) - 2))
    three = points.select((points.log_params >= sizes[i - 1]) & (points.log_params <= sizes[i + 1]))
    return Curves.through([three], np.inf, corrected=False).parabolas[0]


def neighbour_noise(points: Sequence[Points]) -> float | None:
    """Relative sd of a run, from each four neighbouring sizes about a parabola; None with too few.

    Over so short a stretch it sees noise and not shape, and the median not a kink.
    """
    found = []
    for one in points:
        near = one.near(WINDOWS[0])
        sizes, log_loss, _ = near.means if near is not None else (np.empty(0),) * 3
        for first in range(len(sizes) - 3):
            u = sizes[first : first + 4]
            contrast = np.linalg.qr(np.vander(u - u.mean(), 3), mode="complete")[0][:, 3]
            found.append(float(contrast @ log_loss[first : first + 4]) ** 2)
    return float(np.sqrt(np.median(found) / 0.455)) if len(found) >= FEWEST_CONTRASTS else None


def prefers_interpolation(points: Sequence[Points], noise: float | None, rng: np.random.Generator) -> bool:
    """Whether no smooth curve fits all of the runs, which are so dense and quiet that none is needed.

    That is: what the best curve leaves over is far above the noise between neighbours, and this moves an
    interpolated minimum by less than half a cell on most budgets.
    """
    if noise is None:
        return False
    misfit = Curves.through(points, np.inf, corrected=True).noise
    if misfit is None or misfit < max(MISFIT, MISFIT_NOISES * noise):
        return False
    found = interpolated(points, np.full(100, noise), rng)
    moved = [at.draws[:, 0].std() / one.cell for one, at in zip(points, found) if at is not None]
    return bool(moved and np.median(moved) < 0.5)
