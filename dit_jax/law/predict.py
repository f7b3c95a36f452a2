# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""All methods fitted to one table, checked by holding budgets out, and the predictions they support."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dit_jax.law.broken import FEWEST_FOR_BREAK
from dit_jax.law.extrapolate import Candidate, Extrapolation
from dit_jax.law.flags import REFUSALS, interval95
from dit_jax.law.forms import FORMS
from dit_jax.law.frontier import Frontier, best_runs, fit_frontier
from dit_jax.law.hyper import HyperLaw, Setting, best_settings, fit_hyper
from dit_jax.law.isoflop import Isoflop, fit_isoflop
from dit_jax.law.minimise import scale
from dit_jax.law.parametric import Parametric, fit_parametric
from dit_jax.law.select import FEWEST_HELD_OUT, FOILS, candidate, extrapolation, groups
from dit_jax.law.slices import Noise, are_shared, slices
from dit_jax.law.table import Table

APART = 0.02  # of exponents: less is of no consequence, however sure
RIVALS = ("tied", *FOILS)  # of the additive law, on any table
LAWS = (*FORMS, "frontier")  # what may be asked for by name


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """Every method on one table.

    Attributes:
      table: the runs that were fitted.
      parametric: the law asked for, the additive one by default.
      rivals: other forms on the same runs, by name.
      extrapolation: None where no method can predict a loss.
      tried: every surface held out in turn.
      settings: the best lr and batch wherever several were tried.
      hyper: laws of "lr" and "batch", None where unknown.
    """

    table: Table
    noise: Noise
    parametric: Parametric
    isoflop: Isoflop
    frontier: Frontier
    extrapolation: Extrapolation | None
    rivals: Mapping[str, Parametric] = dataclasses.field(default_factory=dict)
    tried: Mapping[str, Candidate] = dataclasses.field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    hyper: Mapping[str, HyperLaw | None] = dataclasses.field(default_factory=dict)

    @property
    def disagrees(self) -> bool:
        """Whether the intervals of the exponent by surface and by isoFLOP lie apart."""
        if self.isoflop.lines is None or self.parametric.best is None:
            return False
        surface = self.parametric.draws.exponents()
        if surface is None:
            return False
        (low, high), (least, most) = interval95(surface["a"]), interval95(self.isoflop.draws[:, 1, 0])
        return bool(max(low, least) - min(high, most) > APART)

    def optimum(self, flops: float) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "draws 2"]] | None:
        """Log params and log tokens of the best run at a budget, with draws; None where unknown."""
        if self.isoflop.lines is not None:
            return self.isoflop.at(flops)
        if self.parametric.best is None or (best := self.parametric.best.optimum(flops)[0]) is None:
            return None
        return best[0], self.parametric.draws.optimum(flops)[0]

    def predict(self, flops: float) -> dict[str, object]:
        """One entry of `predictions` in `law.json`; what cannot be known is None."""
        at = self.extrapolation.predict(np.log([flops]))
        params, tokens = _size(self.optimum(flops))
        lr, batch = (self._setting(name, params[0], tokens[0]) for name in ("lr", "batch"))
        return {
            "flops": float(flops),
            "params": params[0],
            "tokens": tokens[0],
            "lr": lr[0],
            "batch": batch[0],
            "loss": float(np.exp(at.mean[0])),
            "loss_pi95": np.exp(at.interval95()[:, 0]).tolist(),
            "loss_ci95": np.exp(at.interval95(of_a_run=False)[:, 0]).tolist(),
            "params_ci95": params[1],
            "tokens_ci95": tokens[1],
            "lr_ci95": lr[1],
            "batch_ci95": batch[1],
            "params_flat": self._flat(params[0]),
        }

    def _setting(
        self, name: str, params: float | None, tokens: float | None
    ) -> tuple[float | None, list[float] | None]:
        law = self.hyper.get(name)
        if law is None or params is None:
            return None, None
        return law.at(params, tokens)

    def _flat(self, params: float | None) -> list[float] | None:
        """Sizes that cost less than one seed's noise, by the parabola of the largest budget."""
        found = [one for one in self.isoflop.vertices if one.parabola is not None]
        if params is None or not found:
            return None
        bend = found[-1].parabola.coefficients[2] / np.exp(found[-1].vertex[2])
        reach = float(np.sqrt(self.noise.seed / bend))
        return [params * float(np.exp(-reach)), params * float(np.exp(reach))]


def fit_law(
    table: Table,
    draws: int = 300,
    seed: int = 0,
    law: str | None = None,
    delta: float | None = None,
    isoflop: str | None = None,
) -> Law:
    """Fits every method; one that cannot be fitted says so in its status.

    Args:
      table: the runs.
      draws: of each bootstrap.
      seed: of the bootstraps: the same table and seed give the same law.
      law: one of `LAWS`, to predict by it alone; None lets those that apply compete.
      delta: the Huber corner in log units; None takes it from the noise.
      isoflop: how vertices are found, one of `dit_jax.law.slices.ESTIMATORS`; "parabola" is approach 2 as
        Hoffmann et al. 2022 published it, through whole grids, every vertex alike. None takes what suits.

    Raises:
      ValueError: there is no such law, or the table lacks a column that it needs.
    """
    if law is not None and law not in LAWS:
        raise ValueError(f"there is no law {law!r}: choose one of {', '.join(LAWS)}")
    if len(table) == 0 or REFUSALS & set(table.flags):
        return _refused(table)
    table, settings = best_settings(table)
    main = law if law in FORMS else "additive"

    def fit(some: Table, name: str = main) -> Parametric:
        return fit_parametric(some, draws, seed, delta, name)

    alone = FORMS[main].of_compute
    table, parametric = _without_outliers(table, lambda some: fit(some, "additive" if alone else main))
    plain = isoflop == "parabola"
    found, noise = slices(table, draws, seed, estimator=isoflop, window=np.inf if plain else None)
    if not (table.flops_trusted and are_shared(found)):  # there are no budgets then
        found = []
    best = best_runs(table, found)
    if alone:
        table, parametric = _of_best(table, best, fit, noise.seed)
    line, frontier = fit_isoflop(found, seed, plain), fit_frontier(found, noise)
    others = [] if law is not None or parametric.best is None else _rivals(table, len(best) if found else 0)
    rivals = {name: fit(best if FORMS[name].of_compute else table, name) for name in others}
    surfaces = {} if law == "frontier" else {"parametric": parametric, **rivals}
    used = fit_frontier([], noise) if law in FORMS else frontier
    tried = {
        name: candidate(name, one, groups(one, found), seed)
        for name, one in surfaces.items()
        if one.best is not None
    }
    parametric = parametric.after(tried["parametric"]) if "parametric" in tried else parametric
    ahead = extrapolation(table, used, surfaces, tried) if table.flops_trusted else None
    hyper = fit_hyper(table, settings)
    return Law(table, noise, parametric, line, frontier, ahead, rivals, tried, settings, hyper)


def _of_best(
    table: Table, best: Table, fit: Callable[[Table], Parametric], noise: float
) -> tuple[Table, Parametric]:
    """A law of compute alone: of the table where that has one run a budget, else of minima, which are quieter."""
    if best is table:
        return _without_outliers(table, fit)
    found = fit(best)
    return table, dataclasses.replace(found, scale=max(found.scale, noise))


def _without_outliers(table: Table, fit: Callable[[Table], Parametric]) -> tuple[Table, Parametric]:
    """Fits, leaves out what lies far above the fit, and fits again until nothing does."""
    found = fit(table)
    while found.best is not None:
        cleaned = table.without_outliers(found.residual, scale(found.residual))
        if len(cleaned) == len(table):
            return cleaned, found
        table, found = cleaned, fit(cleaned)
    return table, found


def _rivals(table: Table, budgets: int) -> list[str]:
    """Forms that a table, or the number of its budgets, gives reason to try."""
    found = list(RIVALS)
    if budgets >= FEWEST_FOR_BREAK + FEWEST_HELD_OUT:
        found.append("broken")
    if "epochs_gt_1_needs_repeat_law" in table.flags:
        found.append("repeated")
    return found + (["video"] if not FORMS["video"].missing(table) else [])


def _refused(table: Table) -> Law:
    flags = tuple(flag for flag in table.flags if flag in REFUSALS) or ("fewer_points_than_parameters",)
    empty = Frontier("refused", flags, np.empty(0), np.empty((1, 0)), float("nan"), {})
    nothing = Noise(float("nan"), float("nan"), 0)
    parametric = Parametric("refused", flags, FORMS["additive"], table)
    return Law(table, nothing, parametric, Isoflop("refused", flags, ()), empty, None)


def _size(
    optimum: tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "draws 2"]] | None,
) -> Sequence[tuple[float | None, list[float] | None]]:
    if optimum is None:
        return (None, None), (None, None)
    best, draws = np.exp(optimum[0]), np.exp(interval95(optimum[1]))
    return [(float(best[i]), draws[:, i].tolist()) for i in range(2)]
