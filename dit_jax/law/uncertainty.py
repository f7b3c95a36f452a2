# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How sure the numbers of a law are: a bootstrap clustered by training run, and profile likelihood."""

import dataclasses

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Bool, Float, Int

from dit_jax.law.forms import COEFFICIENTS, EXPONENTS, Form
from dit_jax.law.minimise import HUBER, Fit, huber, refit, residuals, slopes
from dit_jax.law.surface import Runs

POINTS = 61  # of a profile
SPAN = 8.0  # of a profile, in standard errors either side of the best
WIDEN = 4.0  # times, where an end of a profile is inside the interval yet
MOST_WIDENED = 3
INTERVAL_SDS = 3.92  # from end to end of a 95 % interval

Cluster = Int[np.ndarray, " runs"]


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
        """Where the distance crosses the limit for the first time; the end of the profile where it does not."""
        best = int(np.argmin(np.abs(self.distance)))
        sides = slice(best, None, -1), slice(best, None)
        return [_crossing(self.value[side], np.abs(self.distance[side]), self.limit) for side in sides]

    @property
    def closed(self) -> Bool[np.ndarray, " 2"]:
        """Whether the interval ends within the profile, below and above."""
        return np.abs(self.distance[[0, -1]]) >= self.limit


def _crossing(value: np.ndarray, distance: np.ndarray, limit: float) -> float:
    beyond = np.flatnonzero(distance >= limit)
    last = int(beyond[0]) if len(beyond) else len(value) - 1
    return float(np.interp(limit, distance[max(last - 1, 0) : last + 1], value[max(last - 1, 0) : last + 1]))


def bootstrap(
    fit: Fit, runs: Runs, cluster: Cluster, draws: int, seed: int
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
    return np.clip(fit.free + wider * (cloud - fit.free), *runs.bounds)


def redrawn(fit: Fit, runs: Runs, cluster: Cluster, draws: int, seed: int) -> Float[np.ndarray, "draws free"]:
    """Refits to the fitted losses with noise drawn anew, its scale too: for few runs, all of which are needed.

    Takes what `bootstrap` takes.
    """
    _, which = np.unique(cluster, return_inverse=True)
    num = int(which.max()) + 1
    dof, rng = max(num - len(fit.free), 1), np.random.default_rng(seed)
    scale = fit.corner / HUBER * np.sqrt(num / rng.chisquare(dof, (draws, 1)))
    noise = scale * rng.standard_normal((draws, num))[:, which]
    fitted = runs.log_loss + residuals(fit.free[None], runs)
    return refit(np.tile(fit.free, (draws, 1)), runs, fit.corner, log_loss=fitted + noise)


def profile(fit: Fit, runs: Runs, name: str, error: float, cluster: Cluster) -> Profile:
    """Holds one number at places about its best, and fits the others anew.

    The robust likelihood ratio, divided by how much more the number varies between training runs than between
    rows where some rows share a run (as Rao and Scott 1981 do for clustered tables).

    Args:
      fit: the best law.
      runs: what it was fitted to.
      name: of the number, one of the form's free ones.
      error: its standard error, which sets how far to look.
      cluster: rows of one training run share a number.
    """
    place, rows = runs.form.free.index(name), len(runs)
    dof = max(len(np.unique(cluster)) - len(fit.free), 1)
    residual = np.clip(residuals(fit.free[None], runs)[0] / fit.corner, -1, 1)
    inside = float(np.mean(np.abs(residual) < 1))
    variance = float(((residual * HUBER) ** 2).sum()) / max(rows - len(fit.free), 1)
    ratio = max(inside, 0.05) / max(variance * _between(fit, runs, place, residual, cluster), 1e-300)
    limit, unit = float(scipy.special.stdtrit(dof, 0.975)), fit.corner / HUBER
    low, high = runs.bounds[:, place]
    reach = np.full(2, SPAN * error)
    for _ in range(MOST_WIDENED):
        ends = np.clip(fit.free[place] + reach * [-1, 1], low, high)
        value = np.unique(np.append(np.linspace(*ends, POINTS), fit.free[place]))
        rise = (_held(fit, runs, name, value) - fit.objective) / unit**2
        distance = np.sign(value - fit.free[place]) * np.sqrt(2 * ratio * np.maximum(rise, 0))
        found = Profile(name, value, distance, limit, inside)
        if (found.closed | (ends == [low, high])).all():
            break
        reach = np.where(found.closed, reach, WIDEN * reach)
    return found


def can_profile(form: Form, name: str) -> bool:
    """Whether a number of `Surface.params` is one of theta's, up to its unit; a broken law's A is not."""
    return not (form.broken and name in COEFFICIENTS)


def profile_interval(
    fit: Fit, runs: Runs, name: str, drawn: Float[np.ndarray, " 2"], cluster: Cluster
) -> list[float]:
    """The 95 % interval of one of `Surface.params`, which are per parameter, token and FLOP, by its profile.

    Args:
      fit: the best law.
      runs: what it was fitted to.
      name: of the number.
      drawn: its interval by the bootstrap, which sets how far to look.
      cluster: rows of one training run share a number.
    """
    if name in (*EXPONENTS, "alpha_after", "E"):
        return profile(fit, runs, name, float(np.ptp(drawn)) / INTERVAL_SDS, cluster).ci95
    if name in (*COEFFICIENTS, "flops_break"):
        fit, runs = _uncentred(fit, runs)
    error = float(np.ptp(np.log(np.maximum(drawn, 1e-300)))) / INTERVAL_SDS
    return np.exp(profile(fit, runs, name, error, cluster).ci95).tolist()


def _uncentred(fit: Fit, runs: Runs) -> tuple[Fit, Runs]:
    """The same law of the same runs, its numbers those of logs that are not about their means."""
    form, free, k = runs.form, fit.free.copy(), len(runs.form.columns)
    alpha = (form.expand @ free)[k + 1 : 2 * k + 1]
    moved = [form.free.index(name) for name in (("flops_break",) if form.broken else COEFFICIENTS[:k])]
    free[moved] += runs.centre if form.broken else alpha * runs.centre
    unique = None if runs.unique is None else runs.unique + runs.centre[1]
    new = dataclasses.replace(
        runs, x=runs.x + runs.centre[:, None], centre=np.zeros_like(runs.centre), unique=unique
    )
    return dataclasses.replace(fit, free=free), new


def _held(
    fit: Fit, runs: Runs, name: str, value: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """The least objective with a number held at each place."""
    place = runs.form.free.index(name)
    others = np.arange(len(fit.free)) != place
    slope = slopes(fit.free[None], runs)[0]
    follow = -np.linalg.lstsq(slope[:, others], slope[:, place], rcond=None)[0]
    free = np.tile(fit.free, (len(value), 1))
    free[:, others] += np.outer(value - fit.free[place], follow)
    free[:, place] = value
    held = refit(np.clip(free, *runs.bounds), runs, fit.corner, hold=name)
    return huber(residuals(held, runs), fit.corner).sum(1)


def _between(
    fit: Fit, runs: Runs, place: int, residual: Float[np.ndarray, " runs"], cluster: Cluster
) -> float:
    """Variance of a number from runs over that from rows; 1 where every row is a run."""
    _, which = np.unique(cluster, return_inverse=True)
    num, rows, spent = int(which.max()) + 1, len(runs), len(fit.free)
    if num == rows:
        return 1.0
    slope = slopes(fit.free[None], runs)[0]
    influence = residual * (slope @ np.linalg.pinv(slope.T @ slope)[:, place])
    summed = np.bincount(which, influence)
    few = num / max(num - spent, 1) * max(rows - spent, 1) / rows
    return float(few * (summed @ summed) / max(influence @ influence, 1e-300))
