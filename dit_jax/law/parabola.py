# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Smooth curves through the runs of every budget, and the size at which each is lowest.

Where the loss is `E + A / N^alpha + B / D^beta`, the runs of a budget lie on
`c + a exp(-alpha u) + b exp(beta u)` with `u = log N`: a parabola with unequal arms. The two exponents are
those of the surface, so all budgets share them; the rest is linear, budget by budget.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

WINDOWS = np.log(10) * np.array([0.5, 0.75, 1.0, np.inf])  # log params either side of the best run
WINDOW_SIZES = 5  # at the least, where the grid is coarse
LACK_OF_FIT = 3.0  # a wider window serves until residuals grow by so many of their standard errors
SAME_SIZE = 0.01  # log params: sizes read off a figure differ by less
EXACT = 1e-7  # of the loss: residuals no larger are the rounding of a file
# Exponents before the runs are seen: 95 % between .11 and .8, where published ones lie. They count where
# grids are too short or too noisy to tell, and are alike for both arms: such a curve is symmetric.
PRIOR, PRIOR_SD = np.log(0.3), 0.5
STEP = 1e-3  # of log exponents, in derivatives


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """The runs of one budget: `rows` of the table, log params, log tokens and loss."""

    rows: Int[np.ndarray, " points"]
    log_params: Float[np.ndarray, " points"]
    log_tokens: Float[np.ndarray, " points"]
    loss: Float[np.ndarray, " points"]

    @property
    def sizes(self) -> Float[np.ndarray, " sizes"]:
        """Different log params, upwards."""
        return self.means[0]

    @property
    def cell(self) -> float:
        """Mean log ratio of neighbouring sizes."""
        return float(np.ptp(self.sizes) / (len(self.sizes) - 1))

    @property
    def means(
        self,
    ) -> tuple[Float[np.ndarray, " sizes"], Float[np.ndarray, " sizes"], Int[np.ndarray, " sizes"]]:
        """Sizes, the mean log loss of the runs of each, and how many they are."""
        order = np.argsort(self.log_params, kind="stable")
        log_params, log_loss = self.log_params[order], np.log(self.loss[order])
        which = np.cumsum(np.diff(log_params, prepend=log_params[0]) > SAME_SIZE)
        counts = np.bincount(which)
        return np.bincount(which, log_params) / counts, np.bincount(which, log_loss) / counts, counts

    @property
    def best(self) -> float:
        """Log params of the best run, the middle one of equals."""
        return float(np.median(self.log_params[self.loss == self.loss.min()]))

    def select(self, keep: Bool[np.ndarray, " points"]) -> "Points":
        return Points(*(getattr(self, field.name)[keep] for field in dataclasses.fields(self)))

    def near(self, reach: float) -> "Points | None":
        """The runs about the best, five sizes at the least; None where fewer than three sizes are."""
        distance = np.sort(np.abs(self.sizes - self.best))
        if len(distance) < 3:
            return None
        reach = max(reach, distance[min(WINDOW_SIZES, len(distance)) - 1]) + SAME_SIZE
        return self.select(np.abs(self.log_params - self.best) <= reach)


@dataclasses.dataclass(frozen=True, eq=False)
class Parabola:
    """`loss = c0 + c1 f1(u) + c2 f2(u)` with `u = log(params) - centre`, through the runs in `rows`.

    See `basis`: `f1` and `f2` are `u` and `u^2` where both `exponents` are 0.
    """

    rows: Int[np.ndarray, " near"]
    centre: float
    coefficients: Float[np.ndarray, " 3"]
    exponents: Float[np.ndarray, " 2"]

    def loss(self, log_params: Float[np.ndarray, " sizes"]) -> Float[np.ndarray, " sizes"]:
        return basis(log_params - self.centre, self.exponents) @ self.coefficients


def basis(u: Float[np.ndarray, "..."], exponents: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 3"]:
    """Spans 1, exp(-alpha u) and exp(beta u) by functions that become 1, u and u^2 as both exponents vanish."""
    if not exponents.any():
        return np.stack([np.ones_like(u), u, u**2], -1)
    alpha, beta = exponents[..., 0], exponents[..., 1]
    left, right, both = np.expm1(-alpha * u), np.expm1(beta * u), alpha + beta
    return np.stack([np.ones_like(left), (right - left) / both, 2 * (right / beta + left / alpha) / both], -1)


def lowest(
    coefficients: Float[np.ndarray, "draws 3"], exponents: Float[np.ndarray, "draws 2"]
) -> Float[np.ndarray, " draws"]:
    """`u` at the minimum; infinite, downhill, where there is none."""
    c0, c1, c2 = coefficients.T
    alpha, beta = exponents.T
    left, right = 2 * c2 - alpha * c1, 2 * c2 + beta * c1  # the weights of the two arms
    convex = (c2 > 1e-12 * np.abs(c0)) & (left > 0) & (right > 0)
    left, right = np.where(convex, left, 1.0), np.where(convex, right, 1.0)
    both = alpha + beta
    bent = np.log(left / right) / np.where(both > 0, both, 1.0)
    straight = -c1 / np.where(convex, 2 * c2, 1.0)
    return np.where(convex, np.where(both > 0, bent, straight), np.where(c1 > 0, -np.inf, np.inf))


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """A curve through a window of each budget, all with the same exponents.

    Arrays are padded to the budget with most runs, where `inside` is False and the others 0.

    Attributes:
      budgets: which of the budgets given have a window.
      near: their windows.
      spent: degrees of freedom that the exponents took, 0 to 2, since the prior bears a part.
    """

    budgets: tuple[int, ...]
    near: tuple[Points, ...]
    centres: Float[np.ndarray, " budgets"]
    u: Float[np.ndarray, "budgets runs"]
    inside: Bool[np.ndarray, "budgets runs"]
    loss: Float[np.ndarray, "budgets runs"]
    exponents: Float[np.ndarray, " 2"]
    spent: float = 0.0

    @classmethod
    def through(cls, points: Sequence[Points], reach: float, corrected: bool) -> "Curves":
        """Fits windows of `reach` log params; with `corrected` the arms may differ, else they are parabolas."""
        windows = [one.near(reach) for one in points]
        budgets = tuple(i for i, one in enumerate(windows) if one is not None)
        near = tuple(windows[i] for i in budgets)
        shape = len(near), max((len(one.rows) for one in near), default=0)
        u, loss, inside = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
        centres = np.array([one.best for one in near])
        for i, one in enumerate(near):
            n = len(one.rows)
            u[i, :n], loss[i, :n], inside[i, :n] = one.log_params - centres[i], one.loss, True
        curves = cls(budgets, near, centres, u, inside, loss, np.zeros(2))
        return curves._bent() if corrected and curves.dof > 0 else curves

    @property
    def dof(self) -> float:
        return float(self.inside.sum()) - 3 * len(self.near) - self.spent

    @property
    def noise(self) -> float | None:
        """Relative sd of the runs about their curves; None without a degree of freedom."""
        if self.dof <= 0:
            return None
        return float(np.sqrt((self.residual(self.exponents) ** 2).sum() / self.dof))

    @property
    def plausible(self) -> bool:
        """Whether the exponents are near enough to others' that the curves, and not a misfit, ask for them."""
        return not self.exponents.any() or bool((np.abs(np.log(self.exponents) - PRIOR) < 2 * PRIOR_SD).all())

    @property
    def parabolas(self) -> list[Parabola]:
        coefficients = self.solve(self.exponents, self.loss)[0]
        return [
            Parabola(one.rows, float(centre), c, self.exponents)
            for one, centre, c in zip(self.near, self.centres, coefficients)
        ]

    def solve(
        self, exponents: Float[np.ndarray, "... 2"], loss: Float[np.ndarray, "... budgets runs"]
    ) -> tuple[Float[np.ndarray, "... budgets 3"], Float[np.ndarray, "... budgets runs"]]:
        """Coefficients by least squares, and fitted losses."""
        design = basis(self.u, exponents[..., None, None, :]) * self.inside[..., None]
        q, r = np.linalg.qr(design)
        right = np.einsum("...np,...n->...p", q, loss)
        return np.linalg.solve(r, right[..., None])[..., 0], np.einsum("...np,...p->...n", q, right)

    def residual(self, exponents: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... budgets runs"]:
        """Of every run against its curve, relative."""
        fitted = self.solve(exponents, self.loss)[1]
        return np.where(self.inside, self.loss - fitted, 0.0) / np.where(self.inside, fitted, 1.0)

    def _bent(self) -> "Curves":
        """With the exponents that the runs and the prior favour, the noise estimated along with them."""
        scale = max(self.noise, EXACT)
        x = np.full(2, PRIOR)
        for _ in range(8):
            x = scipy.optimize.least_squares(_objective, x, _slope, args=(self, scale), x_scale=PRIOR_SD).x
            told = self.jacobian(x).T @ self.jacobian(x) / scale**2
            spent = float(np.trace(np.linalg.solve(told + np.eye(2) / PRIOR_SD**2, told)))
            found = dataclasses.replace(self, exponents=np.exp(x), spent=spent)
            before, scale = scale, max(found.noise or scale, EXACT)
            if abs(np.log(scale / before)) < 0.05:
                break
        return found

    def jacobian(self, x: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "runs 2"]:
        """Of the residuals, by the log exponents."""
        steps = STEP * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        ends = self.residual(np.exp(x + steps)).reshape(4, -1)
        return np.stack([ends[0] - ends[1], ends[2] - ends[3]], 1) / (2 * STEP)

    def draws(
        self, scale: Float[np.ndarray, " draws"], rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "draws budgets 3"], Float[np.ndarray, "draws 2"]]:
        """What noise of relative sd `scale` makes of the coefficients and the exponents they share."""
        fitted = self.solve(self.exponents, self.loss)[1]
        noise = scale[:, None, None] * rng.standard_normal((len(scale), *self.u.shape)) * self.inside
        loss = fitted * (1 + noise)
        exponents = np.broadcast_to(self.exponents, (len(scale), 2))
        if self.exponents.any():
            exponents = self._shaken(fitted, loss, scale, rng)
        return self.solve(exponents, loss)[0], exponents

    def _shaken(self, fitted, loss, scale, rng) -> Float[np.ndarray, "draws 2"]:
        """One Gauss-Newton step from the estimate, for noise in the runs and for the width of the prior."""
        x = np.log(self.exponents)
        slope = self.jacobian(x)
        again = self.solve(self.exponents, loss)[1]
        residual = ((loss - again) / np.where(self.inside, fitted, 1.0)).reshape(len(loss), -1)
        variance = np.maximum(scale, EXACT)[:, None] ** 2
        information = slope.T @ slope / variance[..., None] + np.eye(2) / PRIOR_SD**2
        push = -residual @ slope / variance + rng.standard_normal((len(loss), 2)) / PRIOR_SD
        step = np.linalg.solve(information, push[..., None])[..., 0]
        return np.exp(x + step)


def _objective(x: Float[np.ndarray, " 2"], curves: Curves, scale: float) -> Float[np.ndarray, " terms"]:
    return np.append(curves.residual(np.exp(x)).ravel() / scale, (x - PRIOR) / PRIOR_SD)


def _slope(x: Float[np.ndarray, " 2"], curves: Curves, scale: float) -> Float[np.ndarray, "terms 2"]:
    return np.vstack([curves.jacobian(x) / scale, np.eye(2) / PRIOR_SD])


def fit_curves(points: Sequence[Points], corrected: bool, window: float | None = None) -> Curves:
    """Curves over the widest window that still fits as well as the narrowest, or over the one given.

    A wide window is biased, since no loss keeps to one curve for long; a narrow one is noisy.
    """
    if window is not None:
        return Curves.through(points, window, corrected)
    chosen = Curves.through(points, WINDOWS[0], corrected)
    allowed = (1 + LACK_OF_FIT / np.sqrt(2 * max(chosen.dof, 1))) * max(chosen.noise or 0, EXACT)
    for reach in WINDOWS[1:]:
        wider = Curves.through(points, reach, corrected)
        if (wider.noise or 0) <= allowed and wider.plausible:
            chosen = wider
    return chosen
