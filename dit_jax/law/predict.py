# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""All methods fitted to one table, checked by holding budgets out, and the predictions they support."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.extrapolate import Candidate, Errors, Extrapolation, Spread
from dit_jax.law.flags import REFUSALS, interval95
from dit_jax.law.frontier import Frontier, fit_frontier
from dit_jax.law.isoflop import Isoflop, fit_isoflop
from dit_jax.law.parametric import Parametric, fit_parametric
from dit_jax.law.slices import Noise, slices
from dit_jax.law.table import Table

BINS = 5  # of compute, where runs do not share budgets
SURPRISE = 1 / 6  # half the frontier's: every run on either axis has borne the surface out
FEWEST_BUDGETS = 3  # for a frontier to be held out against


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """Every method on one table; `extrapolation` is None where no method can predict a loss."""

    table: Table
    noise: Noise
    parametric: Parametric
    isoflop: Isoflop
    frontier: Frontier
    extrapolation: Extrapolation | None

    def optimum(self, flops: float) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "draws 2"]] | None:
        """Log params and log tokens of the best run at a budget, with draws; None where unknown."""
        if self.isoflop.lines is not None:
            return self.isoflop.at(flops)
        if self.parametric.best is not None:
            return self.parametric.best.optimum(flops)[0][0], self.parametric.draws.optimum(flops)[0]
        return None

    def predict(self, flops: float) -> dict[str, object]:
        """One entry of `predictions` in `law.json`; what cannot be known is None."""
        at = self.extrapolation.predict(np.log([flops]))
        params, tokens = _size(self.optimum(flops))
        return {
            "flops": float(flops),
            "params": params[0],
            "tokens": tokens[0],
            "lr": self._hyperparameter(self.table.lr, flops),
            "batch": self._hyperparameter(self.table.batch, flops),
            "loss": float(np.exp(at.mean[0])),
            "loss_pi95": np.exp(at.interval95()[:, 0]).tolist(),
            "params_ci95": params[1],
            "tokens_ci95": tokens[1],
            "params_flat": self._flat(params[0]),
        }

    def _hyperparameter(self, column: Float[np.ndarray, " runs"] | None, flops: float) -> float | None:
        """A power law in compute through the values of the best run on each budget."""
        best = [one.rows[np.argmin(self.table.loss[one.rows])] for one in self.isoflop.vertices]
        best = [] if column is None else [i for i in best if column[i] > 0]
        if len(best) < 2:
            return None
        slope, level = np.polyfit(np.log(self.table.flops[best]), np.log(column[best]), 1)
        return float(np.exp(level + slope * np.log(flops)))

    def _flat(self, params: float | None) -> list[float] | None:
        """Sizes that cost less than one seed's noise, by the parabola of the largest budget."""
        found = [one for one in self.isoflop.vertices if one.parabola is not None]
        if params is None or not found:
            return None
        bend = found[-1].parabola.coefficients[2] / np.exp(found[-1].vertex[2])
        reach = float(np.sqrt(self.noise.seed / bend))
        return [params * float(np.exp(-reach)), params * float(np.exp(reach))]


def fit_law(table: Table, draws: int = 300, seed: int = 0) -> Law:
    """Fits every method; one that cannot be fitted says so in its status.

    Args:
      table: the runs.
      draws: of each bootstrap.
      seed: of the bootstraps: the same table and seed give the same law.
    """
    if len(table) == 0 or REFUSALS & set(table.flags):
        return _refused(table)
    found, noise = slices(table, draws, seed)
    isoflop, frontier = fit_isoflop(found, seed), fit_frontier(found, noise)
    parametric = fit_parametric(table, draws, seed)
    law = Law(table, noise, parametric, isoflop, frontier, None)
    return dataclasses.replace(law, extrapolation=_extrapolation(law, seed))


def _refused(table: Table) -> Law:
    flags = tuple(flag for flag in table.flags if flag in REFUSALS) or ("fewer_points_than_parameters",)
    empty = Frontier("refused", flags, np.empty(0), np.empty((1, 0)), float("nan"), {})
    nothing = Noise(float("nan"), float("nan"), 0)
    return Law(table, nothing, Parametric("refused", flags), Isoflop("refused", flags, ()), empty, None)


def _extrapolation(law: Law, seed: int) -> Extrapolation | None:
    """The frontier, joined by the surface where nothing speaks against that, else the surface alone.

    With the few rows of a small ladder the surface fits well and extrapolates badly: its own flags tell.
    """
    frontier, surface = law.frontier, law.parametric.best
    fitted = frontier.status != "refused"
    if surface is None or (fitted and law.parametric.status != "ok"):
        return frontier.extrapolation() if fitted else None
    errors = _surface_errors(law, seed)
    spread = functools.partial(_surface_spread, law.parametric)
    candidate = Candidate("parametric", SURPRISE, spread, errors)
    if fitted:
        alone = frontier.extrapolation()
        both = (*alone.candidates, candidate)
        tried = set(errors.cut) & set(alone.candidates[0].errors.cut)
        return dataclasses.replace(alone, candidates=both) if tried else alone
    last = float(np.log(law.table.flops.max()))
    ends = surface.optimum(np.exp(last - 0.5))[1], surface.optimum(np.exp(last + 0.5))[1]
    return Extrapolation((candidate,), float(abs(ends[1] - ends[0])[0]), last, law.parametric.scale)


def _surface_spread(parametric: Parametric, targets: Float[np.ndarray, " targets"]) -> Spread:
    best, draws = (
        np.stack([surface.optimum(float(np.exp(x)))[1] for x in targets], 1)
        for surface in (parametric.best, parametric.draws)
    )
    return Spread.of(best[0], draws)


def _surface_errors(law: Law, seed: int) -> Errors:
    """What the additive law, fitted below each cut, missed on average on each later budget near its best."""
    table = law.table
    x, groups = _groups(law)
    found = []
    for cut in range(2, len(groups)):
        below = table.flops <= table.flops[groups[cut - 1]].max()
        fit = fit_parametric(table.select(below), draws=50, seed=seed)
        if fit.best is None:
            continue
        for later in range(cut, len(groups)):
            rows = groups[later]
            places = np.log(table.params[rows]), np.log(table.tokens[rows])
            miss = float(np.mean(np.log(table.loss[rows]) - np.log(fit.best.loss(*places)[0])))
            noise = np.log(fit.draws.loss(*places)).mean(1).var() + fit.scale**2 / len(rows)
            found.append((x[cut - 1], miss, noise, x[later] - x[cut - 1]))
    return Errors(*np.array(found, float).reshape(-1, 4).T)


def _groups(law: Law) -> tuple[Float[np.ndarray, " groups"], list[Int[np.ndarray, " _"]]]:
    """Log FLOPs and runs by budget, those near the best; quantiles of compute for want of budgets."""
    near = [one for one in law.isoflop.vertices if one.parabola is not None]
    if len(near) >= FEWEST_BUDGETS:
        return np.log([one.flops for one in near]), [one.parabola.rows for one in near]
    log_flops = np.log(law.table.flops)
    groups = np.array_split(np.argsort(log_flops, kind="stable"), min(BINS, len(log_flops)))
    return np.array([log_flops[rows].mean() for rows in groups]), groups


def _size(
    optimum: tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "draws 2"]] | None,
) -> Sequence[tuple[float | None, list[float] | None]]:
    if optimum is None:
        return (None, None), (None, None)
    best, draws = np.exp(optimum[0]), np.exp(interval95(optimum[1]))
    return [(float(best[i]), draws[:, i].tolist()) for i in range(2)]
