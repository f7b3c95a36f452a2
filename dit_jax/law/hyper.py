# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate and batch that suit each size and number of tokens, and the laws they follow.

Where one (N, D) was trained at several of them, the loss near its least is a quadratic in their logs; the
optima of many (N, D) then follow power laws (as Yin et al. 2024, arXiv 2411.17470, find for video DiTs).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.bowl import Bowl, Draws, fit_bowl, pooled_noise
from dit_jax.law.checks import labels
from dit_jax.law.power import Interval, PowerLaw, fit_power
from dit_jax.law.slices import budgets
from dit_jax.law.table import SETTING, Table

NAMES = ("lr", "batch")
TUNED = (*NAMES, "warmup")  # what may differ among the runs of one (N, D)
FEWEST_SETTINGS = 2  # fewer optima give no exponent
RULE = 0.02  # log units: values this close to a law in N and D were set by it

Rows = Int[np.ndarray, " _"]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """The best hyperparameters of one (N, D), out of several that were tried.

    Attributes:
      params, tokens, flops: of its runs.
      rows: its runs, as indices into the table.
      bowl: the quadratic through them; None where they do not determine one.
      best: the hyperparameters that varied at the optimum; empty where none lies inside the grid.
      ci95: their 95 % intervals.
      loss: at the optimum, else of the best run.
      loss_ci95: of the loss at the optimum; None where there is none.
      flags: `hyperparameters_at_edge` where the grid holds no optimum.
    """

    params: float
    tokens: float
    flops: float
    rows: Rows
    bowl: Bowl | None
    best: Mapping[str, float]
    ci95: Mapping[str, Interval]
    loss: float
    loss_ci95: Interval | None
    flags: tuple[str, ...]

    @property
    def inside(self) -> bool:
        return bool(self.best)


@dataclasses.dataclass(frozen=True, eq=False)
class HyperLaw:
    """A hyperparameter as a power law in params and tokens.

    `tuned` laws run through optima. The others run through what was used, which need not be the best: their
    flag is `hyperparameters_not_tuned`.
    """

    power: PowerLaw
    tuned: bool

    @property
    def flags(self) -> tuple[str, ...]:
        return () if self.tuned else ("hyperparameters_not_tuned",)

    def at(self, params: float, tokens: float) -> tuple[float, Interval | None]:
        """The value at a size and tokens, and its 95 % interval; None where the runs followed a rule."""
        return self.power.at(params, tokens)

    def summary(self) -> dict[str, object]:
        """Numbers and text for `law.json`."""
        intervals = self.power.exponents_ci95()
        return {
            "flags": list(self.flags),
            "tuned": self.tuned,
            "coefficient": self.power.coefficient,
            "exponents": {name: self.power.exponents[name] for name in self.power.identified},
            "exponents_ci95": {name: list(ends) for name, ends in intervals.items()},
        }


def best_settings(table: Table, draws: int = 400, seed: int = 0) -> tuple[Table, tuple[Setting, ...]]:
    """Finds the best hyperparameters of each (N, D) that was trained at several, and keeps its best run.

    The optimum is the bottom of a quadratic in log lr and log batch (of one of them where one varies). The
    run kept is the one nearest it, its loss moved to the bottom's: the least measured loss is low by luck.
    Runs there that differ only in their seed all stay. Where the grid holds no optimum the best run stays as
    it was measured, and `hyperparameters_at_edge` is flagged.

    Args:
      table: runs with positive losses.
      draws: of each optimum under the noise of the runs.
      seed: of the draws.

    Returns:
      The table with one setting for each (N, D), the same object where nothing was tried twice, and what was
      found for each (N, D) that varied.
    """
    groups = _groups(table)
    if not groups:
        return table, ()
    bowls = [fit_bowl(_values(table, rows, axes), table.loss[rows]) for rows, axes in groups]
    shaken = pooled_noise(bowls, table, draws, np.random.default_rng(seed))
    found = [_setting(table, rows, bowl, shaken) for (rows, _), bowl in zip(groups, bowls)]
    keep, loss = np.ones(len(table), bool), table.loss.copy()
    for (rows, axes), setting in zip(groups, found):
        chosen = _chosen(table, rows, axes, setting)
        keep[rows] = False
        keep[chosen] = True
        if setting.inside:  # several seeds keep their scatter
            loss[chosen] *= setting.loss / loss[chosen].mean()
    flags = dict.fromkeys((*table.flags, *(flag for setting in found for flag in setting.flags)))
    return dataclasses.replace(table, loss=loss, flags=tuple(flags)).select(keep), tuple(found)


def fit_hyper(table: Table, settings: Sequence[Setting]) -> dict[str, HyperLaw | None]:
    """How the learning rate and the batch grow with the size and the tokens.

    Args:
      table: as `best_settings` returns it.
      settings: likewise; where fewer than two of them tell the best value, the law is that of the runs.

    Returns:
      Laws of `lr` and `batch`; None where the table does not hold it.
    """
    return {name: _tuned(settings, name) or _used(table, name) for name in NAMES}


def _tuned(settings: Sequence[Setting], name: str) -> HyperLaw | None:
    found = [setting for setting in settings if name in setting.best]
    if len(found) < FEWEST_SETTINGS:
        return None
    places = {axis: np.array([getattr(one, axis) for one in found]) for axis in ("params", "tokens")}
    widths = np.array([np.log(one.ci95[name][1] / one.ci95[name][0]) for one in found])
    values = np.array([one.best[name] for one in found])
    return HyperLaw(fit_power(places, values, np.maximum(widths / (2 * 1.96), 1e-6)), tuned=True)


def _used(table: Table, name: str) -> HyperLaw | None:
    """The rule that every run follows, else a law through the best run of each budget."""
    column = getattr(table, name)
    known = np.zeros(len(table), bool) if column is None else column > 0
    if not known.any():
        return None
    table = table.select(known)
    rule = _power(table, name, np.arange(len(table)))
    if np.abs(rule.residual).max() < RULE:
        return HyperLaw(dataclasses.replace(rule, covariance=None), tuned=False)
    best = [rows[np.argmin(table.loss[rows])] for rows in budgets(table)]
    return HyperLaw(_power(table, name, np.array(best)), tuned=False)


def _power(table: Table, name: str, rows: Rows) -> PowerLaw:
    places = {axis: getattr(table, axis)[rows] for axis in ("params", "tokens")}
    return fit_power(places, getattr(table, name)[rows])


def _groups(table: Table) -> list[tuple[Rows, tuple[str, ...]]]:
    """The runs of each (N, D) at which a hyperparameter varied, and which did."""
    which = labels(len(table), *(getattr(table, name) for name in SETTING if name not in TUNED))
    found = [np.flatnonzero(which == i) for i in range(which.max(initial=-1) + 1)]
    varied = [(rows, tuple(name for name in NAMES if _varies(getattr(table, name), rows))) for rows in found]
    return [(rows, axes) for rows, axes in varied if axes]


def _varies(column: Float[np.ndarray, " runs"] | None, rows: Rows) -> bool:
    return column is not None and bool((column[rows] > 0).all() and np.ptp(column[rows]) > 0)


def _values(table: Table, rows: Rows, axes: Sequence[str]) -> dict[str, Float[np.ndarray, " _"]]:
    return {axis: getattr(table, axis)[rows] for axis in axes}


def _setting(table: Table, rows: Rows, bowl: Bowl | None, shaken: Draws) -> Setting:
    place = (float(column[rows].mean()) for column in (table.params, table.tokens, table.flops))
    if bowl is None or not bowl.inside:
        least = float(table.loss[rows].min())
        return Setting(*place, rows, bowl, {}, {}, least, None, ("hyperparameters_at_edge",))
    best, loss = np.exp(bowl.vertex), float(bowl.bottom)
    ends, loss_ends = bowl.intervals(shaken)
    ci95 = {axis: (float(low), float(high)) for axis, (low, high) in zip(bowl.axes, np.exp(ends).T)}
    values = {axis: float(value) for axis, value in zip(bowl.axes, best)}
    return Setting(*place, rows, bowl, values, ci95, loss, loss_ends, ())


def _chosen(table: Table, rows: Rows, axes: Sequence[str], setting: Setting) -> Rows:
    """The runs of the cell nearest the optimum, or of the cell with the least loss where there is none."""
    at = np.log(np.stack(list(_values(table, rows, axes).values()), 1))
    cells, which = np.unique(at, axis=0, return_inverse=True)
    which = which.ravel()
    if setting.inside:
        merit = (((cells - setting.bowl.vertex) / np.ptp(cells, axis=0)) ** 2).sum(1)
    else:
        merit = np.bincount(which, table.loss[rows]) / np.bincount(which)
    return rows[which == np.argmin(merit)]
