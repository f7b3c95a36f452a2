# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How far to trust an extrapolation: what forms missed when they were asked to predict runs already made.

Rolling origin: fit to the budgets below a cut, predict those above, for every cut. The error per unit of
log distance weighs the forms against each other and sets how the interval grows with distance.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Float

PRIOR_DOF = 2  # what the prior of the discrepancy weighs, in held-out budgets
FLOOR = 0.02  # of the slope per unit of log distance: no form is trusted beyond it
SHARPNESS = 2.0  # weights go as mean squared error to the power of minus this


@dataclasses.dataclass(frozen=True)
class Errors:
    """Held-out errors in log loss, one entry per (cut, later budget).

    Attributes:
      cut: log FLOPs of the last fitted budget.
      error: log of the measured loss over the predicted one.
      noise: the variance that the noise of the runs alone would give the error.
      distance: log FLOPs from the cut to the budget predicted.
    """

    cut: Float[np.ndarray, " pairs"]
    error: Float[np.ndarray, " pairs"]
    noise: Float[np.ndarray, " pairs"]
    distance: Float[np.ndarray, " pairs"]

    @property
    def rate(self) -> float:
        """Mean squared error per squared log distance; 0 without pairs."""
        return float(np.mean((self.error / self.distance) ** 2)) if len(self.error) else 0.0

    @property
    def noise_rate(self) -> float:
        return float(np.mean(self.noise / self.distance**2)) if len(self.error) else 0.0

    def at(self, cuts: Sequence[float]) -> "Errors":
        """The errors of these cuts only."""
        keep = np.isin(self.cut, cuts)
        return Errors(*(getattr(self, field.name)[keep] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Spread:
    """What one candidate predicts: log loss at each target, and its variance from the noise of the runs."""

    mean: Float[np.ndarray, " targets"]
    variance: Float[np.ndarray, " targets"]

    @classmethod
    def of(cls, best: Float[np.ndarray, " targets"], draws: Float[np.ndarray, "draws targets"]) -> "Spread":
        return cls(best, np.nanvar(draws, axis=0))


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Log loss at each target.

    `noise` is the sd that the noise of the runs leaves, `discrepancy` the scale, with `dof` degrees of
    freedom, of what no form may follow.
    """

    mean: Float[np.ndarray, " targets"]
    noise: Float[np.ndarray, " targets"]
    discrepancy: Float[np.ndarray, " targets"]
    dof: int

    @property
    def half_width(self) -> Float[np.ndarray, " targets"]:
        """Of the 95 % prediction interval, log loss."""
        return np.hypot(1.96 * self.noise, scipy.special.stdtrit(self.dof, 0.975) * self.discrepancy)

    def interval95(self) -> Float[np.ndarray, "2 targets"]:
        """Ends of the 95 % prediction interval, log loss."""
        return np.stack([self.mean - self.half_width, self.mean + self.half_width])


def weigh(candidates: Sequence[Errors], slope: float) -> Float[np.ndarray, " candidates"]:
    """Weights that add up to one, equal where nothing was held out."""
    floor = np.mean([errors.noise_rate for errors in candidates]) + (FLOOR * slope) ** 2 + 1e-12
    merit = (np.array([errors.rate for errors in candidates]) + floor) ** -SHARPNESS
    return merit / merit.sum()


def blend(weights: Float[np.ndarray, " candidates"], candidates: Sequence[Spread]) -> Spread:
    """The weighted prediction; its variance holds the candidates' own and their disagreement."""
    means = np.stack([one.mean for one in candidates])
    mean = weights @ means
    own = np.stack([one.variance for one in candidates])
    return Spread(mean, weights @ (own + (means - mean) ** 2))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A way to predict: log loss at log FLOPs, and what it missed when tried.

    `surprise` is the prior sd of how the slope ahead differs from the latest one, relative to it.
    """

    name: str
    surprise: float
    spread: Callable[[Float[np.ndarray, " targets"]], Spread]
    errors: Errors


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """Candidates weighed against each other, with an interval that widens away from the data.

    Attributes:
      candidates: compared on the cuts that all of them have.
      slope: of log loss against log FLOPs at the last budget, its size.
      last: log FLOPs of the last budget.
      noise: relative sd of one run's loss.
    """

    candidates: tuple[Candidate, ...]
    slope: float
    last: float
    noise: float

    @property
    def errors(self) -> list[Errors]:
        cuts = set.intersection(*(set(one.errors.cut) for one in self.candidates))
        return [one.errors.at(sorted(cuts)) for one in self.candidates]

    @property
    def weights(self) -> dict[str, float]:
        """By candidate, adding up to one."""
        return dict(zip((one.name for one in self.candidates), weigh(self.errors, self.slope).tolist()))

    def predict(self, targets: Float[np.ndarray, " targets"]) -> Prediction:
        """The loss of one run at the best size for each target, log FLOPs.

        The discrepancy per log distance is what held-out budgets showed beyond their noise, together with
        a prior that keeps the interval wide while few budgets speak.
        """
        errors, weights = self.errors, weigh(self.errors, self.slope)
        spread = blend(weights, [one.spread(targets) for one in self.candidates])
        held_out = len(np.unique(errors[0].cut))
        excess = float(weights @ [max(one.rate - one.noise_rate, 0.0) for one in errors])
        prior = self.slope * float(weights @ [one.surprise for one in self.candidates])
        rate = (PRIOR_DOF * prior**2 + held_out * excess) / (PRIOR_DOF + held_out)
        discrepancy = np.sqrt(rate) * np.maximum(targets - self.last, 0)
        noise = np.sqrt(spread.variance + self.noise**2)
        return Prediction(spread.mean, noise, discrepancy, PRIOR_DOF + held_out)
