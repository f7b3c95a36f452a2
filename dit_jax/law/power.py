# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Power laws y = k x1^p1 x2^p2 ..., as papers print them or fitted by least squares in logs."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Float

SPREAD = 0.05  # log units, and of the widest direction: with less, an exponent is not identified
EXPONENT_SD = 0.5  # prior sd of an exponent that the data say nothing of
PRIOR_DOF = 2  # what the given variances weigh against the scatter about the law, in points

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class PowerLaw:
    """`log y = level + sum of exponents * (log x - centre)`.

    Attributes:
      exponents: by variable; 0 for one whose effect the data do not tell.
      identified: the variables whose effect they tell.
      centre: mean log of each variable.
      level: log y at the centre.
      covariance: of the level and the exponents, variances of what is not identified included; None where
        the law came without one.
      dof: degrees of freedom of the covariance.
      residual: log measured over fitted y.
    """

    exponents: Mapping[str, float]
    identified: tuple[str, ...]
    centre: Float[np.ndarray, " variables"]
    level: float
    covariance: Float[np.ndarray, "coefficients coefficients"] | None = None
    dof: int = 0
    residual: Float[np.ndarray, " points"] = dataclasses.field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, coefficient: float, exponents: Mapping[str, float], unit: float = 1.0) -> "PowerLaw":
        """A law as printed: `coefficient * product of (x / unit)^exponent`."""
        centre = np.full(len(exponents), np.log(unit))
        return cls(dict(exponents), tuple(exponents), centre, float(np.log(coefficient)))

    @property
    def coefficient(self) -> float:
        """k, for variables in units of one."""
        return float(np.exp(self.level - np.array(list(self.exponents.values())) @ self.centre))

    def exponents_ci95(self) -> dict[str, Interval]:
        """95 % intervals of the identified exponents; empty where the law came without a covariance."""
        if self.covariance is None:
            return {}
        reach = self._quantile() * np.sqrt(np.diag(self.covariance)[1:])
        both = zip(self.exponents.items(), reach)
        return {name: (p - float(r), p + float(r)) for (name, p), r in both if name in self.identified}

    def at(self, *x: float) -> tuple[float, Interval | None]:
        """The value at one point, and the 95 % interval of the mean there.

        Args:
          x: the variables, in the order of `exponents`.

        Returns:
          The value, and its interval: it widens away from the data, also along what they say nothing of;
          None where the law came without a covariance.
        """
        step = np.append(1.0, np.log(x) - self.centre)
        mean = self.level + step[1:] @ np.array(list(self.exponents.values()))
        if self.covariance is None:
            return float(np.exp(mean)), None
        reach = self._quantile() * np.sqrt(step @ self.covariance @ step)
        return float(np.exp(mean)), (float(np.exp(mean - reach)), float(np.exp(mean + reach)))

    def _quantile(self) -> float:
        return float(scipy.special.stdtrit(self.dof, 0.975))


def fit_power(
    x: Mapping[str, Float[np.ndarray, " points"]],
    y: Float[np.ndarray, " points"],
    sd: Float[np.ndarray, " points"] | None = None,
) -> PowerLaw:
    """Least squares in logs, over as many of the variables as the points can tell apart.

    The first variables are kept the longest: sizes and tokens on one ray give a law in the size.

    Args:
      x: positive variables by name.
      y: positive values, one at least.
      sd: of log y, the points' weights; the scatter about the law still corrects their scale. None weighs
        all alike, and takes the scale from the scatter alone.
    """
    log_x = np.log(np.stack(list(x.values()), 1))
    log_y, names = np.log(y), list(x)
    prior_dof = 0 if sd is None else PRIOR_DOF
    weight = np.ones(len(y)) if sd is None else np.asarray(sd) ** -2.0
    centre = weight @ log_x / weight.sum()
    used = _identified(log_x)
    design = np.column_stack([np.ones(len(y)), (log_x - centre)[:, used]])
    inverse = np.linalg.inv(design.T * weight @ design)
    coefficients = inverse @ (design.T * weight) @ log_y
    residual = log_y - design @ coefficients
    dof = len(y) - len(coefficients) + prior_dof
    covariance = None
    if dof > 0:
        scale = (weight @ residual**2 + prior_dof) / dof
        covariance = _unknown(log_x)
        kept = np.ix_([0, *(i + 1 for i in used)], [0, *(i + 1 for i in used)])
        covariance[kept] += scale * inverse
    exponents = dict.fromkeys(names, 0.0) | {names[i]: float(c) for i, c in zip(used, coefficients[1:])}
    identified = tuple(names[i] for i in used)
    return PowerLaw(exponents, identified, centre, float(coefficients[0]), covariance, dof, residual)


def _identified(log_x: Float[np.ndarray, "points variables"]) -> list[int]:
    """The first variables that vary, each by itself and apart from those before it.

    One may take the last point there is; a further one needs a point to spare.
    """
    used: list[int] = []
    for i in range(log_x.shape[1]):
        spread = _directions(log_x[:, [*used, i]])[0]
        enough = len(used) + 2 + bool(used) <= len(log_x)
        if enough and spread.min() > SPREAD * max(spread.max(), 1.0):
            used.append(i)
    return used


def _directions(
    log_x: Float[np.ndarray, "points variables"],
) -> tuple[Float[np.ndarray, " variables"], Float[np.ndarray, "variables variables"]]:
    """The spread of the points (rms, log units) along each principal direction, and those directions."""
    centred = log_x - log_x.mean(0)
    square, directions = np.linalg.eigh(centred.T @ centred / len(log_x))
    return np.sqrt(np.maximum(square, 0.0)), directions.T


def _unknown(log_x: Float[np.ndarray, "points variables"]) -> Float[np.ndarray, "coefficients coefficients"]:
    """The prior covariance of the exponents along the directions in which no point lies."""
    spread, directions = _directions(log_x)
    empty = directions[spread <= SPREAD * max(spread.max(), 1.0)]
    covariance = np.zeros((log_x.shape[1] + 1,) * 2)
    covariance[1:, 1:] = EXPONENT_SD**2 * empty.T @ empty
    return covariance
