# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting a form to runs, and the proof that the fit is one.

The objective is Huber on log residuals. Optimisers stop early on it and report success, so an end is believed
only when several distinct starts agree on it, its gradient is small, it has left its start, and neither
summing nor averaging the objective moves it.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import scipy  # scipy.optimize loads when first used
from jaxtyping import Float

from dit_jax.law.surface import Runs, predicted, terms

HUBER = 1.345  # corner over sd: 95 % efficient on Gaussian residuals
SMALLEST_SCALE = 1e-6  # log units: below it residuals are rounding
STEEPNESS = 0.05, 1.2  # of exponents to start from
GRID = {1: 12, 2: 6, 3: 4}  # how many, by number of terms
BROKEN, BREAKS, WIDTHS = 5, 5, (0.3, 1.0)  # exponents, breaks and their widths to start a broken law from
REPEATS = np.log([3.0, 15.0, 60.0])  # R* to start from
NEWTON = 5  # steps at the end of a fit
STATIONARY = 1e-4  # of the gradient's largest possible size
TOLERANCES = {"xtol": 1e-13, "ftol": 1e-13, "gtol": 1e-13, "max_nfev": 500}

Law = Float[np.ndarray, " free"]
Laws = Float[np.ndarray, "laws free"]


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """The best law of a form: its free numbers, the Huber corner, and what was proved of it."""

    free: Law
    corner: float
    objective: float
    starts_agreeing: int
    converged: bool


def huber(residual: np.ndarray, corner: float) -> np.ndarray:
    """Half the square up to the corner, straight beyond it."""
    size = np.abs(residual)
    return np.where(size <= corner, size**2 / 2, corner * (size - corner / 2))


def residuals(free: Laws, runs: Runs) -> Float[np.ndarray, "laws runs"]:
    """Log predicted over measured loss."""
    return predicted(free @ runs.form.expand.T, runs)[0] - runs.log_loss


def slopes(free: Laws, runs: Runs) -> Float[np.ndarray, "laws runs free"]:
    """Of `residuals` in the free numbers."""
    return predicted(free @ runs.form.expand.T, runs, slopes=True)[1] @ runs.form.expand


def minimise(runs: Runs, delta: float | None = None) -> Fit:
    """Fits a form from every start.

    Args:
      runs: what to fit.
      delta: the Huber corner in log units; None takes it from the residuals' own scale, for a fixed one acts
        as least squares on one set of losses and as least absolute deviations on another.
    """
    first, corner = starts(runs), delta or 1.0
    law = first
    for _ in range(0 if delta else 4):  # the scale and the fit settle on each other
        law = _descend(law, runs, corner)[:1]
        corner = HUBER * max(scale(residuals(law, runs)[0], len(runs.form.free)), SMALLEST_SCALE)
    ends = _descend(first, runs, corner)
    best = polish(ends[0], runs, corner)
    averaged = polish(ends[0], runs, corner, 1 / len(runs))
    agreeing = sum(_same(end, best, runs, corner) for end in ends)
    moved = bool((np.abs(first - best) > 1e-6).any(1).all())
    proved = (
        agreeing > 1 and moved and _same(averaged, best, runs, corner) and is_stationary(best, runs, corner)
    )
    return Fit(best, corner, float(huber(residuals(best[None], runs), corner).sum()), agreeing, proved)


def scale(residual: Float[np.ndarray, " runs"], spent: int = 0) -> float:
    """A robust sd, of all but the smallest residuals: as many as numbers were spent on making them small."""
    size = np.sort(np.abs(residual - np.median(residual)))
    return 1.4826 * float(np.median(size[min(spent, len(size) - 1) :]))


def refit(
    free: Laws,
    runs: Runs,
    corner: float,
    *,
    weights: Float[np.ndarray, "laws runs"] | float = 1.0,
    hold: str | None = None,
    log_loss: Float[np.ndarray, "*laws runs"] | None = None,
    steps: int = 60,
) -> Laws:
    """Reweighted Levenberg-Marquardt on all laws at once: SciPy has no batch, and a bootstrap is one.

    Args:
      free: where to start, one law a row.
      runs: what to fit.
      corner: of Huber's function, log units.
      weights: of each run in each law.
      hold: a number to leave as it is.
      log_loss: of the runs, one row a law; None takes what they measured.
      steps: taken at most; a step that does not improve a law is shortened instead.
    """
    target = runs.log_loss if log_loss is None else log_loss
    moving = np.array([name != hold for name in runs.form.free])
    expand = runs.form.expand
    low, high = runs.bounds
    damping, told = np.full(len(free), 1e-3), 0
    guess, jacobian = predicted(free @ expand.T, runs, slopes=True)
    cost = (weights * huber(guess - target, corner)).sum(1)
    for _ in range(steps):
        residual, slope = guess - target, (jacobian @ expand)[..., moving]
        weight = weights / np.maximum(np.abs(residual) / corner, 1)
        information = np.swapaxes(slope * weight[..., None], 1, 2) @ slope
        gradient = ((weight * residual)[:, None] @ slope)[:, 0]
        diagonal = np.einsum("lpp->lp", information)
        information = information + (damping[:, None] * diagonal + 1e-12)[..., None] * np.eye(moving.sum())
        proposal = free.copy()
        proposal[:, moving] -= np.linalg.solve(information, gradient[..., None])[..., 0]
        proposal = np.clip(proposal, low, high)
        new_guess, new_jacobian = predicted(proposal @ expand.T, runs, slopes=True)
        proposed = (weights * huber(new_guess - target, corner)).sum(1)
        better = proposed <= cost
        gain = np.where(better, cost - proposed, 0) > 1e-12 * cost
        free, cost = np.where(better[:, None], proposal, free), np.where(better, proposed, cost)
        guess = np.where(better[:, None], new_guess, guess)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        damping = np.clip(np.where(better, damping / 5, damping * 10), 1e-12, 1e6)
        told = 0 if gain.any() else told + 1
        if told > 8:  # so many shortened steps have found nothing
            break
    return free


def starts(runs: Runs) -> Laws:
    """Laws for exponents on a grid: the rest is linear then (variable projection)."""
    form, k, weight = runs.form, len(runs.form.columns), np.exp(-runs.log_loss)
    shapes = np.array([[0.0] * (k + form.floor) + [*one] for one in _shapes(runs)])
    for shape, columns in zip(shapes, terms(shapes @ form.expand.T, runs)[0]):
        columns = np.vstack([np.ones_like(weight), columns]) if form.floor else columns
        linear, _ = scipy.optimize.nnls((columns * weight).T, np.ones_like(weight))
        shape[: k + form.floor] = linear
        shape[form.floor : k + form.floor] = np.log(np.maximum(linear[form.floor :], 1e-3))
    return shapes


def _shapes(runs: Runs) -> Iterable[tuple[float, ...]]:
    """What follows the coefficients: exponents, and R* or a break among the runs where there is one."""
    form, k = runs.form, len(runs.form.columns)
    if form.broken:
        both = itertools.permutations(np.geomspace(*STEEPNESS, BROKEN), 2)
        places = np.quantile(runs.x, np.linspace(0, 1, BREAKS + 2)[1:-1])
        return [(*one, place, w) for one, place, w in itertools.product(both, places, np.log(WIDTHS))]
    exponents = itertools.product(np.geomspace(*STEEPNESS, GRID[k]), repeat=1 if form.tied else k)
    return [(*one, r) for one in exponents for r in REPEATS] if form.repeats else exponents


def polish(start: Law, runs: Runs, corner: float, unit: float = 1.0) -> Law:
    """SciPy's trust region; residuals in units of the corner, so its tolerances suit any table."""
    low, high = runs.bounds
    size = np.sqrt(unit)
    end = scipy.optimize.least_squares(
        lambda free: size * residuals(free[None], runs)[0] / corner,
        np.clip(start, low + 1e-12, high - 1e-12),
        jac=lambda free: size * slopes(free[None], runs)[0] / corner,
        bounds=(low, high),
        loss="huber",
        f_scale=size,
        x_scale="jac",
        **TOLERANCES,
    )
    return _settled(min(end.x, start, key=lambda law: _cost(law, runs, corner)), runs, corner)


def _settled(law: Law, runs: Runs, corner: float) -> Law:
    """After Newton's steps on the runs within the corner: where nearly all lie beyond it others stop short."""
    low, high = runs.bounds
    for _ in range(NEWTON):
        residual, slope = residuals(law[None], runs)[0] / corner, slopes(law[None], runs)[0]
        inside, moving = np.abs(residual) < 1, (law > low + 1e-9) & (law < high - 1e-9)
        within = slope[inside][:, moving] / corner
        gradient = np.clip(residual, -1, 1) @ slope[:, moving]
        step = np.zeros_like(law)
        step[moving] = np.linalg.lstsq(corner * within.T @ within, gradient, rcond=None)[0]
        proposal = np.clip(law - step, low, high)
        if not _cost(proposal, runs, corner) <= _cost(law, runs, corner):
            break
        law = proposal
    return law


def _cost(law: Law, runs: Runs, corner: float) -> float:
    return float(huber(residuals(law[None], runs), corner).sum())


def is_stationary(free: Law, runs: Runs, corner: float) -> bool:
    """Whether the gradient is small beside what residuals at the corner could make it."""
    slope = slopes(free[None], runs)[0]
    gradient = np.clip(residuals(free[None], runs)[0] / corner, -1, 1) @ slope
    low, high = runs.bounds
    inside = (free > low + 1e-6) & (free < high - 1e-6)
    return bool((np.abs(gradient) <= STATIONARY * np.abs(slope).sum(0))[inside].all())


def condition(free: Law, runs: Runs) -> float:
    """Condition of the information matrix with its diagonal scaled to one."""
    slope = slopes(free[None], runs)[0]
    lengths = np.maximum(np.linalg.norm(slope, axis=0), 1e-300)
    return float(np.linalg.cond(slope / lengths) ** 2)


def _descend(first: Laws, runs: Runs, corner: float) -> Laws:
    """Where every start ends, the lowest first."""
    ends = refit(first, runs, corner)
    return ends[np.argsort(huber(residuals(ends, runs), corner).sum(1))]


def _same(end: Law, best: Law, runs: Runs, corner: float) -> bool:
    costs = [huber(residuals(law[None], runs) / corner, 1.0).sum() for law in (end, best)]
    close = np.abs(end - best) <= 1e-3 * np.maximum(np.abs(best), 1)
    return bool(costs[0] <= costs[1] * (1 + 1e-5) + 1e-6 and close.all())
