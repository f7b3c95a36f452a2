# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of the best run at each budget, L(C), and what it becomes beyond the data."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dit_jax.law.extrapolate import Candidate, Errors, Extrapolation, Spread, blend, weigh
from dit_jax.law.flags import interval95, status
from dit_jax.law.forms import FORMS, fit_saturating, local_power
from dit_jax.law.slices import Noise, Slice

E_WIDE = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Frontier:
    """Best log loss against log FLOPs, budgets upwards, and every form fitted below every cut.

    Attributes:
      x: log FLOPs of each budget.
      y: log loss of each; the first row is the estimate, the others are draws of its noise.
      noise: relative sd of one run's loss.
    """

    status: str
    flags: tuple[str, ...]
    x: Float[np.ndarray, " budgets"]
    y: Float[np.ndarray, "draws budgets"]
    noise: float

    @property
    def slope(self) -> float:
        """Of log loss against log FLOPs at the last budget."""
        ahead = local_power(self.x, self.y[:1], self.x[-1] + np.array([0.0, 1.0]))[0]
        return float(abs(ahead[1] - ahead[0]))

    def below(self, cut: int) -> "Frontier":
        """The frontier of the first `cut` budgets."""
        return dataclasses.replace(self, x=self.x[:cut], y=self.y[:, :cut])

    def spreads(self, targets: Float[np.ndarray, " targets"]) -> list[Spread]:
        """What each form predicts at log FLOPs."""
        found = [form(self.x, self.y, targets) for form in FORMS.values()]
        return [Spread.of(values[0], values[1:]) for values in found]

    def errors(self) -> list[Errors]:
        """What each form missed at the budgets above each cut."""
        pairs: list[list[tuple[float, ...]]] = [[] for _ in FORMS]
        for cut in range(2, len(self.x)):
            part, later = self.below(cut), self.x[cut:]
            for form, found in zip(FORMS.values(), pairs):
                misses = self.y[:, cut:] - form(part.x, part.y, later)
                distance = later - part.x[-1]
                found += zip(np.full(len(later), part.x[-1]), misses[0], misses[1:].var(0), distance)
        return [Errors(*np.array(found, float).reshape(-1, 4).T) for found in pairs]

    def spread(self, targets: Float[np.ndarray, " targets"]) -> Spread:
        """The forms blended by their held-out errors."""
        return blend(weigh(self.errors(), self.slope), self.spreads(targets))

    def blended_errors(self) -> Errors:
        """What the blend, itself weighed below each cut, missed above it."""
        found: list[tuple[float, ...]] = []
        for cut in range(2, len(self.x)):
            spread = self.below(cut).spread(self.x[cut:])
            noise = spread.variance + self.y[1:, cut:].var(0)
            distance = self.x[cut:] - self.x[cut - 1]
            found += zip(np.full(len(distance), self.x[cut - 1]), self.y[0, cut:] - spread.mean, noise, distance)
        return Errors(*np.array(found, float).reshape(-1, 4).T)

    def extrapolation(self) -> Extrapolation:
        """The frontier by itself as a prediction."""
        return Extrapolation((self.candidate(),), self.slope, float(self.x[-1]), self.noise)

    def candidate(self) -> Candidate:
        return Candidate("frontier", self.spread, self.blended_errors())

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

    Args:
      slices: of `dit_jax.law.slices`, budgets upwards.
      noise: of the same runs.
    """
    usable = [one for one in slices if one.parabola is not None]
    x = np.log([one.flops for one in usable])
    y = np.stack([np.append(one.vertex[2], one.draws[:, 2]) for one in usable], 1) if usable else np.empty((1, 0))
    flags = ["one_budget"] if len(slices) == 1 else []
    if len(usable) < 2:
        return Frontier("refused", (*flags, *_few(slices)), x, y, noise.seed)
    flags += ["a2_zero_dof"] if len(usable) == 2 else []
    flags += ["short_compute_span"] if np.ptp(x) < 0.95 * np.log(10) else []
    floor = _saturating_or_power(x, y)[0]
    low, high = interval95(floor[1:])
    flags += ["E_weakly_identified"] if high - low > E_WIDE * floor[0] or low < 0.01 * floor[0] else []
    return Frontier(status(flags), tuple(flags), x, y, noise.seed)


def _few(slices: Sequence[Slice]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(flag for one in slices for flag in one.flags))


def _saturating_or_power(x, y) -> tuple[Float[np.ndarray, " draws"], ...]:
    """E, scale at the mean and exponent; E is 0 where two budgets cannot tell it."""
    if len(x) > 2:
        return fit_saturating(x, y)
    ends = local_power(x, y, np.array([x.mean(), x.mean() + 1]))
    return np.zeros(len(y)), np.exp(ends[:, 0]), ends[:, 0] - ends[:, 1]
