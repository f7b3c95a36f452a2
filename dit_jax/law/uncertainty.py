# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How sure the numbers of a law are: a bootstrap clustered by training run, and profile likelihood."""

import dataclasses

import numpy as np
import scipy  # scipy.stats loads when first used
from jaxtyping import Float, Int

from dit_jax.law.minimise import HUBER, Fit, huber, refit, residuals
from dit_jax.law.surface import Runs

POINTS = 61  # of a profile
SPAN = 8.0  # of a profile, in standard errors either side of the best


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """How much worse the fit becomes as one number is held elsewhere.

    Attributes:
      name: of the number.
      value: where it was held.
      distance: in standard errors: the signed root of the likelihood ratio.
      limit: distances up to it are in the 95 % interval.
      inside: share of the residuals within the Huber corner.
    """

    name: str
    value: Float[np.ndarray, " points"]
    distance: Float[np.ndarray, " points"]
    limit: float
    inside: float

    @property
    def ci95(self) -> list[float]:
        """Where the distance crosses the limit; the end of the profile where it does not."""
        low, high = np.interp([-self.limit, self.limit], self.distance, self.value)
        return [float(low), float(high)]


def bootstrap(
    fit: Fit, runs: Runs, cluster: Int[np.ndarray, " runs"], draws: int, seed: int
) -> Float[np.ndarray, "draws free"]:
    """Refits to training runs drawn anew, with repeats, each with all its rows.

    Draws are spread by what a fit's numbers take from few runs: the root of runs over runs less numbers.

    Args:
      fit: the best law.
      runs: what it was fitted to.
      cluster: rows of one training run share a number.
      draws: how many.
      seed: the same seed gives the same draws.
    """
    _, which = np.unique(cluster, return_inverse=True)
    num = int(which.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), draws)
    cloud = refit(np.tile(fit.free, (draws, 1)), runs, fit.corner, weights=drawn[:, which].astype(float))
    wider = np.sqrt(num / max(num - len(fit.free), 1))
    return np.clip(fit.free + wider * (cloud - fit.free), *runs.form.bounds)


def profile(fit: Fit, runs: Runs, name: str, error: float) -> Profile:
    """Holds one number at places about its best, and fits the others anew.

    Args:
      fit: the best law.
      runs: what it was fitted to.
      name: of the number.
      error: its standard error, which sets how far to look.
    """
    place, dof = runs.form.free.index(name), max(len(runs) - len(fit.free), 1)
    low, high = runs.form.bounds[:, place]
    best = fit.free[place]
    value = np.linspace(max(best - SPAN * error, low), min(best + SPAN * error, high), POINTS)
    value = np.unique(np.append(value, best))
    free = np.tile(fit.free, (len(value), 1))
    free[:, place] = value
    held = refit(free, runs, fit.corner, hold=name)
    unit = fit.corner / HUBER
    residual = np.clip(residuals(fit.free[None], runs)[0] / fit.corner, -1, 1)
    inside = float(np.mean(np.abs(residual) < 1))
    ratio = max(inside, 0.05) / max(float(np.mean((residual * HUBER) ** 2)) * len(runs) / dof, 1e-300)
    rise = (huber(residuals(held, runs), fit.corner).sum(1) - fit.objective) / unit**2
    distance = np.sign(value - best) * np.sqrt(2 * ratio * np.maximum(rise, 0))
    return Profile(name, value, distance, float(scipy.special.stdtrit(dof, 0.975)), inside)
