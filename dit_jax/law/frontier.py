# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of the best run at each budget, L(C), and what it becomes beyond the data."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dit_jax.law.curves import CURVES, fit_saturating, local_power
from dit_jax.law.extrapolate import Candidate, Errors, Extrapolation, Spread, blend, weigh
from dit_jax.law.flags import interval95, is_short, is_weak, status
from dit_jax.law.slices import Noise, Slice
from dit_jax.law.table import Table

SURPRISE = 1 / 3  # pilots turned by up to 0.6 of the slope from one half decade to the next
FEWEST_MINIMA = 3
MAX_CUTS = 6  # tried where there are many budgets


@dataclasses.dataclass(frozen=True, eq=False)
class Frontier:
    """Best log loss against log FLOPs, budgets upwards, with every form tried below every cut.

    Attributes:
      x: log FLOPs of each budget.
      y: log loss of each; the first row is the estimate, the others are draws of its noise.
      noise: relative sd of one run's loss.
      tries: by number of budgets fitted, what each form predicts at the budgets above.
    """

    status: str
    flags: tuple[str, ...]
    x: Float[np.ndarray, " budgets"]
    y: Float[np.ndarray, "draws budgets"]
    noise: float
    tries: Mapping[int, Float[np.ndarray, "forms draws _"]]

    @property
    def slope(self) -> float:
        """Of log loss against log FLOPs at the last budget, its size."""
        ahead = local_power(self.x, self.y[:1], self.x[-1] + np.array([0.0, 1.0]))[0]
        return float(abs(ahead[1] - ahead[0]))

    def below(self, cut: int) -> "Frontier":
        """The frontier of the first `cut` budgets."""
        tries = {c: values[..., : cut - c] for c, values in self.tries.items() if c < cut}
        return dataclasses.replace(self, x=self.x[:cut], y=self.y[:, :cut], tries=tries)

    def errors(self) -> list[Errors]:
        """What each form missed at the budgets above each cut."""
        misses = {cut: self.y[:, cut:] - values for cut, values in self.tries.items()}
        return [
            self._errors({cut: (miss[form, 0], miss[form, 1:].var(0)) for cut, miss in misses.items()})
            for form in range(len(CURVES))
        ]

    def spread(self, targets: Float[np.ndarray, " targets"]) -> Spread:
        """The forms blended by their held-out errors, at log FLOPs."""
        return self._blend(_try(self.x, self.y, targets))

    def blended_errors(self) -> Errors:
        """What the blend, itself weighed below each cut, missed above it."""
        found = {}
        for cut, values in self.tries.items():
            spread = self.below(cut)._blend(values)
            found[cut] = self.y[0, cut:] - spread.mean, spread.variance + self.y[1:, cut:].var(0)
        return self._errors(found)

    def _blend(self, values: Float[np.ndarray, "forms draws targets"]) -> Spread:
        return blend(weigh(self.errors(), self.slope), [Spread.of(one[0], one[1:]) for one in values])

    def _errors(self, found: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Errors:
        rows = [
            np.stack([np.full_like(miss, self.x[cut - 1]), miss, noise, self.x[cut:] - self.x[cut - 1]])
            for cut, (miss, noise) in found.items()
        ]
        return Errors(*np.concatenate([np.empty((4, 0)), *rows], 1))

    def extrapolation(self) -> Extrapolation:
        """The frontier by itself as a prediction."""
        return Extrapolation((self.candidate(),), self.slope, float(self.x[-1]), self.noise)

    def candidate(self) -> Candidate:
        return Candidate("frontier", SURPRISE, self.spread, self.blended_errors(), self._claims)

    def _claims(self) -> Float[np.ndarray, " pairs"]:
        return np.concatenate([np.empty(0), *(self._claim(cut) for cut in self.tries)])

    def _claim(self, cut: int) -> Float[np.ndarray, " later"]:
        """How far off the frontier of the first budgets thought it might be; two claim nothing."""
        if cut < 3:
            return np.full(len(self.x) - cut, np.inf)
        return self.below(cut).extrapolation().predict(self.x[cut:]).half_width()

    def thinned(self, draws: int) -> "Frontier":
        """With no more than some of the draws."""
        tries = {cut: values[:, : draws + 1] for cut, values in self.tries.items()}
        return dataclasses.replace(self, y=self.y[: draws + 1], tries=tries)

    def extended(self, x: float, y: Float[np.ndarray, " draws"]) -> "Frontier":
        """With one more budget above the others."""
        more = np.append(self.x, x), np.column_stack([self.y, y])
        return dataclasses.replace(self, x=more[0], y=more[1], tries=_tries(*more))

    def summary(self) -> dict[str, object]:
        """This method's part of `law.json`: E + coefficient C^-exponent, the saturating form."""
        head = {"status": self.status, "flags": list(self.flags)}
        if self.status == "refused":
            return head | {"params": None, "ci95": None}
        names = ("E", "coefficient", "exponent")
        values = dict(zip(names, self._saturating()))
        return head | {
            "params": {name: float(value[0]) for name, value in values.items()},
            "ci95": {name: interval95(value[1:]).tolist() for name, value in values.items()},
        }

    def _saturating(self) -> tuple[Float[np.ndarray, " draws"], ...]:
        floor, scale, exponent = _saturating_or_power(self.x, self.y)
        return floor, scale * np.exp(exponent * self.x.mean()), exponent


def fit_frontier(slices: Sequence[Slice], noise: Noise) -> Frontier:
    """The frontier of the budgets that have a minimum inside their grid.

    Where fewer than three have, the best run of every budget stands for its minimum, and that is flagged.

    Args:
      slices: of `dit_jax.law.slices`, budgets upwards.
      noise: of the same runs.
    """
    usable = [one for one in slices if one.parabola is not None]
    at_the_edge = len(usable) < FEWEST_MINIMA and len(slices) > len(usable)
    usable = [one for one in slices if one.num_sizes > 2] if at_the_edge else usable
    x = np.log([one.flops for one in usable])
    columns = [np.append(one.vertex[2], one.draws[:, 2]) for one in usable]
    y = np.stack(columns, 1) if usable else np.empty((1, 0))
    flags = ["one_budget"] if len(slices) == 1 else []
    if len(usable) < 2:
        flags += dict.fromkeys(flag for one in slices for flag in one.flags)
        return Frontier("refused", tuple(flags), x, y, noise.seed, {})
    flags += ["a2_optimum_outside_grid"] if at_the_edge else []
    flags += ["a2_zero_dof"] if len(usable) == 2 else []
    flags += ["short_compute_span"] if is_short(np.exp(x)) else []
    floor = _saturating_or_power(x, y)[0]
    flags += ["E_weakly_identified"] if is_weak(floor[0], interval95(floor[1:])) else []
    return Frontier(status(flags), tuple(flags), x, y, noise.seed, _tries(x, y))


def best_runs(table: Table, slices: Sequence[Slice]) -> Table:
    """One row a budget, for laws of compute alone: the minimum of each that has one inside its grid.

    Where fewer than three have, the best run of each; the table itself where its runs share no budgets.
    """
    inside = [one for one in slices if one.parabola is not None]
    chosen = inside if len(inside) >= FEWEST_MINIMA else slices
    if not chosen:
        return table
    nearest = [one.rows[np.argmin(np.abs(np.log(table.params[one.rows]) - one.vertex[0]))] for one in chosen]
    rows = table.select(np.isin(np.arange(len(table)), nearest))
    order = np.argsort(nearest)
    params, tokens, loss = np.exp([chosen[i].vertex for i in order]).T
    flops = np.array([chosen[i].flops for i in order])
    return dataclasses.replace(rows, params=params, tokens=tokens, flops=flops, loss=loss)


def _try(x, y, targets: Float[np.ndarray, " targets"]) -> Float[np.ndarray, "forms draws targets"]:
    return np.stack([form(x, y, targets) for form in CURVES.values()])


def _tries(x, y) -> dict[int, Float[np.ndarray, "forms draws _"]]:
    cuts = np.unique(np.linspace(2, len(x) - 1, MAX_CUTS).astype(int)).tolist() if len(x) > 2 else []
    return {cut: _try(x[:cut], y[:, :cut], x[cut:]) for cut in cuts}


def _saturating_or_power(x, y) -> tuple[Float[np.ndarray, " draws"], ...]:
    """E, scale at the mean and exponent; E is 0 where two budgets cannot tell it."""
    if len(x) > 2:
        return fit_saturating(x, y)
    ends = local_power(x, y, np.array([x.mean(), x.mean() + 1]))
    return np.zeros(len(y)), np.exp(ends[:, 0]), ends[:, 0] - ends[:, 1]
