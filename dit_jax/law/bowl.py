# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The quadratic that the loss follows near the best of a grid of hyperparameters."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dit_jax.law.flags import interval95
from dit_jax.law.table import Table

FEWEST = {1: 3, 2: 7}  # cells, by hyperparameters that vary
REACH = np.log(2)  # log units from the best cell over which a run's say falls off: losses rise unevenly
EXCESS = 0.1  # of the loss above the best, likewise
DEFAULT_NOISE = 0.01  # of the loss, where neither residuals, repeats nor standard errors tell


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """Relative noise of one run's loss: its sd, a draw at a time, and where the draws come from."""

    scale: Float[np.ndarray, " draws"]
    rng: np.random.Generator


@dataclasses.dataclass(frozen=True, eq=False)
class Bowl:
    """`loss = c0 + g u + u H u / 2` with `u = log(values) - centre`, by weighted least squares.

    Attributes:
      axes: names of the hyperparameters.
      centre: their logs at the best cell.
      grid: log of the least and of the greatest value of each.
      coefficients: of 1, of u, and of the products of two of u.
      project: from losses of the runs to coefficients.
      residual: relative, of each run.
      weights: of each run, the nearest and the best weighing most.
      noise_trace: the mean of the weighted squared residuals and half their variance, under unit noise.
    """

    axes: tuple[str, ...]
    centre: Float[np.ndarray, " axes"]
    grid: Float[np.ndarray, "2 axes"]
    coefficients: Float[np.ndarray, " coefficients"]
    project: Float[np.ndarray, "coefficients runs"]
    residual: Float[np.ndarray, " runs"]
    weights: Float[np.ndarray, " runs"]
    noise_trace: tuple[float, float]

    @property
    def hessian(self) -> Float[np.ndarray, "axes axes"]:
        return _hessians(self.coefficients[None], len(self.axes))[0]

    @property
    def vertex(self) -> Float[np.ndarray, " axes"]:
        """Log of the best values; where the bowl has no bottom, as far downhill as the grid is wide."""
        return self._bottoms(self.coefficients[None])[0][0]

    @property
    def bottom(self) -> float:
        return float(self._bottoms(self.coefficients[None])[1][0])

    @property
    def inside(self) -> bool:
        """Whether the loss has a least value strictly inside the grid."""
        convex = np.linalg.eigvalsh(self.hessian).min() > 0
        return bool(convex and (self.grid[0] < self.vertex).all() and (self.vertex < self.grid[1]).all())

    def loss(self, values: Mapping[str, Float[np.ndarray, " points"]]) -> Float[np.ndarray, " points"]:
        """The quadratic at hyperparameters."""
        u = np.log(np.stack([values[axis] for axis in self.axes], 1)) - self.centre
        return _products(u) @ self.coefficients

    def intervals(self, draws: Draws) -> tuple[Float[np.ndarray, "2 axes"], tuple[float, float]]:
        """95 % intervals of the log of the best values, and of the loss there."""
        num_runs = self.project.shape[1]
        shaken = draws.scale[:, None] * self.bottom * draws.rng.standard_normal((len(draws.scale), num_runs))
        vertices, bottoms = self._bottoms(self.coefficients + shaken @ self.project.T)
        low, high = interval95(bottoms)
        return interval95(vertices), (float(low), float(high))

    def _bottoms(
        self, coefficients: Float[np.ndarray, "draws coefficients"]
    ) -> tuple[Float[np.ndarray, "draws axes"], Float[np.ndarray, " draws"]]:
        """Log of the best values, kept within one grid's width of the grid, and the loss there.

        A bowl that opens downwards in some direction has its best far downhill in it.
        """
        axes = len(self.axes)
        curvature, directions = np.linalg.eigh(_hessians(coefficients, axes))
        least = 1e-9 * np.abs(curvature).max(1, keepdims=True) + 1e-300
        downhill = np.einsum("dij,di->dj", directions, -coefficients[:, 1 : 1 + axes])
        u = np.einsum("dij,dj->di", directions, downhill / np.maximum(curvature, least))
        low, high = self.grid - self.centre
        inside = np.clip(u, low, high)  # a quadratic says nothing of the loss beyond
        loss = (_products(inside) * coefficients).sum(1)
        return self.centre + np.clip(u, 2 * low - high, 2 * high - low), loss


def fit_bowl(
    values: Mapping[str, Float[np.ndarray, " runs"]], loss: Float[np.ndarray, " runs"]
) -> Bowl | None:
    """The quadratic through the runs of one (N, D); None where they do not determine one.

    Args:
      values: of each hyperparameter that varies, positive.
      loss: of each run; several runs may share their values.
    """
    log_values = np.log(np.stack(list(values.values()), 1))
    axes = log_values.shape[1]
    few = len(np.unique(log_values, axis=0)) < FEWEST[axes]
    if few or min(len(np.unique(column)) for column in log_values.T) < 3:
        return None
    centre = log_values[np.argmin(loss)]
    design = _products(log_values - centre)
    weights = _weights((log_values - centre) / REACH, loss, design.shape[1])
    root = np.sqrt(weights)[:, None]
    if np.linalg.matrix_rank(design * root) < design.shape[1]:
        return None
    project = np.linalg.pinv(design * root) * root.T
    coefficients = project @ loss
    remove = np.eye(len(loss)) - design @ project
    spread = remove.T * weights @ remove
    trace = float(np.trace(spread)), float((spread**2).sum())
    grid = np.stack([log_values.min(0), log_values.max(0)])
    residual = remove @ loss / loss
    return Bowl(tuple(values), centre, grid, coefficients, project, residual, weights, trace)


def pooled_noise(bowls: Sequence[Bowl | None], table: Table, draws: int, rng: np.random.Generator) -> Draws:
    """The noise that all bowls share, from what they leave over, with its own uncertainty."""
    variance, dof = _variance(bowls)
    if not dof:
        measured = table.loss_se is not None and np.isfinite(table.loss_se).any()
        sd = float(np.nanmedian(table.loss_se / table.loss)) if measured else DEFAULT_NOISE
        return Draws(np.full(draws, sd), rng)
    return Draws(np.sqrt(variance * dof / rng.chisquare(dof, draws)), rng)


def _variance(bowls: Sequence[Bowl | None]) -> tuple[float, float]:
    """The relative variance of one run's loss, and its degrees of freedom; 0 where nothing is left over.

    They are those of a scaled chi-squared with the same mean and variance (Satterthwaite 1946).
    """
    found = [bowl for bowl in bowls if bowl is not None]
    mean, square = np.array([bowl.noise_trace for bowl in found]).reshape(-1, 2).sum(0)
    if mean < 1e-6:  # as many cells as coefficients
        return 0.0, 0.0
    squares = sum(float(bowl.weights @ bowl.residual**2) for bowl in found)
    return squares / mean, mean**2 / square


def _weights(
    u: Float[np.ndarray, "runs axes"], loss: Float[np.ndarray, " runs"], coefficients: int
) -> Float[np.ndarray, " runs"]:
    """Least where a quadratic no longer holds: far from the best cell, or far above its loss."""
    excess = loss / loss.min() - 1
    scale = max(EXCESS, np.sort(excess)[min(coefficients, len(loss) - 1)])
    return np.exp(-(u**2).sum(1) / 2 - (excess / scale) ** 2 / 2)


def _products(u: Float[np.ndarray, "points axes"]) -> Float[np.ndarray, "points coefficients"]:
    """1, each u, and each product of two of them."""
    first, second = np.triu_indices(u.shape[1])
    return np.column_stack([np.ones(len(u)), u, u[:, first] * u[:, second]])


def _hessians(coefficients: Float[np.ndarray, "draws coefficients"], axes: int) -> np.ndarray:
    first, second = np.triu_indices(axes)
    half = np.zeros((len(coefficients), axes, axes))
    half[:, first, second] = coefficients[:, 1 + axes :]
    return half + half.transpose(0, 2, 1)
