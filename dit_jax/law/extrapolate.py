# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How far to trust an extrapolation: what forms missed when they were asked to predict runs already made.

Rolling origin: fit to the budgets below a cut, predict those above, for every cut. The error per unit of
log distance weighs the forms against each other and sets how the interval grows with distance.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Bool, Float

PRIOR_DOF = 2  # what the prior of the discrepancy weighs, in held-out budgets
UNTIED = 0.02  # of the best candidate's likelihood: below it there is no tie
FLOOR = 0.02  # of the slope per unit of log distance: no form is trusted beyond it
FAILED = 1.75  # intervals: a clean ladder in twenty misses by one, one in a thousand by so many
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
    def rmse(self) -> float | None:
        """Root mean squared error; None without pairs."""
        return float(np.sqrt(np.mean(self.error**2))) if len(self.error) else None

    @property
    def rate(self) -> float:
        """Mean squared error per squared log distance; 0 without pairs."""
        return float(np.mean((self.error / self.distance) ** 2)) if len(self.error) else 0.0

    @property
    def noise_rate(self) -> float:
        return float(np.mean(self.noise / self.distance**2)) if len(self.error) else 0.0

    @property
    def excess(self) -> float:
        """The part of `rate` that noise does not explain, nineteen times in twenty."""
        cuts = len(np.unique(self.cut))
        bound = scipy.special.chdtri(cuts, 0.05) / cuts if cuts else 0.0
        return max(self.rate - bound * self.noise_rate, 0.0)

    def log_likelihood(self, surprise: float) -> float:
        """Of the errors, were they noise and a slope off by `surprise`; later budgets of a cut share its say."""
        variance = self.noise + (surprise * self.distance) ** 2 + 1e-18
        each = -(self.error**2 / variance + np.log(variance)) / 2
        return float(len(np.unique(self.cut)) * each.mean()) if len(each) else 0.0

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
        low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)  # a few draws of a bootstrap run away
        return cls(best, ((high - low) / 3.92) ** 2)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Log loss at each target.

    `sd` is what the noise of the fitted runs leaves, `noise` that of one more run, `discrepancy` the scale,
    with `dof` degrees of freedom, of what no form may follow.
    """

    mean: Float[np.ndarray, " targets"]
    sd: Float[np.ndarray, " targets"]
    noise: float
    discrepancy: Float[np.ndarray, " targets"]
    dof: int

    def half_width(self, of_a_run: bool = True) -> Float[np.ndarray, " targets"]:
        """Of the 95 % interval, log loss: of the next run's loss, or of the law's own value."""
        spread = 1.96 * np.hypot(self.sd, self.noise * of_a_run)
        return np.hypot(spread, scipy.special.stdtrit(self.dof, 0.975) * self.discrepancy)

    def interval95(self, of_a_run: bool = True) -> Float[np.ndarray, "2 targets"]:
        """Ends of the 95 % interval, log loss."""
        half = self.half_width(of_a_run)
        return np.stack([self.mean - half, self.mean + half])


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

    `surprise` is the prior sd of how the slope ahead differs from the latest one, relative to it. `claim` gives
    `claims`, half widths of the 95 % intervals in which it expected the errors, when they are asked for.
    """

    name: str
    surprise: float
    spread: Callable[[Float[np.ndarray, " targets"]], Spread]
    errors: Errors
    claim: Callable[[], Float[np.ndarray, " pairs"]]

    @functools.cached_property
    def claims(self) -> Float[np.ndarray, " pairs"]:
        return self.claim()

    @property
    def inside(self) -> Bool[np.ndarray, " pairs"]:
        return np.abs(self.errors.error) <= self.claims

    @property
    def failed(self) -> bool:
        """Whether what was fitted below the last cut misses what lies above it by far."""
        latest = self.errors.cut == self.errors.cut.max(initial=-np.inf)
        return bool((np.abs(self.errors.error) > FAILED * self.claims)[latest].any())


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
        """By candidate, adding up to one: candidates that tie are averaged, and what is far behind is out.

        The likelihood of what was held out under each candidate's own claim of how far it may be off; equal
        where nothing was held out.
        """
        scores = np.array(
            [
                errors.log_likelihood(one.surprise * self.slope)
                for one, errors in zip(self.candidates, self.errors)
            ]
        )
        merit = np.exp(scores - scores.max())
        merit = np.where(merit < UNTIED, 0.0, merit)
        return dict(zip((one.name for one in self.candidates), (merit / merit.sum()).tolist()))

    @property
    def chosen(self) -> Candidate:
        """The candidate that weighs most."""
        weights = self.weights
        return max(self.candidates, key=lambda one: weights[one.name])

    def predict(self, targets: Float[np.ndarray, " targets"]) -> Prediction:
        """The loss of one run at the best size for each target, log FLOPs.

        The discrepancy per log distance is what held-out budgets showed beyond their noise, together with
        a prior that keeps the interval wide while few budgets speak.
        """
        errors, weights = self.errors, np.array(list(self.weights.values()))
        spread = blend(weights, [one.spread(targets) for one in self.candidates])
        held_out = len(np.unique(errors[0].cut))
        excess = float(weights @ [one.excess for one in errors])
        prior = self.slope * float(weights @ [one.surprise for one in self.candidates])
        rate = (PRIOR_DOF * prior**2 + held_out * excess) / (PRIOR_DOF + held_out)
        discrepancy = np.sqrt(rate) * np.maximum(targets - self.last, 0)
        own = np.sqrt(spread.variance)
        return Prediction(spread.mean, own, self.noise, discrepancy, PRIOR_DOF + held_out)
