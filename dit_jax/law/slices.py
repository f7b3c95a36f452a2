# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The runs of each budget, and the best size on it: isoFLOP parabolas.

At a fixed budget the loss against log(params) is close to a parabola near its minimum (Hoffmann et al.
2022, arXiv 2203.15556, approach 2).
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.flags import interval95
from dit_jax.law.table import Table

SAME_BUDGET = 0.1  # log FLOPs: rounding a run to whole steps moves it by less
WINDOWS = np.log(10) * np.array([0.5, 0.75, 1.0, np.inf])  # log params either side of the best run
WINDOW_SIZES = 5  # at the least, where the grid is coarse
LACK_OF_FIT = 1.4  # a wider window serves until residuals grow by so much
DEFAULT_NOISE = 0.01  # of the loss, where neither repeats nor residuals tell


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """One budget: its runs, the parabola through those near the best, and its vertex.

    Attributes:
      flops: the budget.
      rows: all runs on it, as indices into the table.
      grid: log params of the smallest and the largest.
      parabola: None where the runs have no minimum inside the grid; the vertex is then the best run.
      vertex: log params, log tokens and log loss at the minimum.
      draws: what the noise of the runs makes of the vertex.
      flags: `a2_*`, see `dit_jax.law.flags`.
      num_sizes: different ones among the runs.
    """

    flops: float
    rows: Int[np.ndarray, " points"]
    grid: tuple[float, float]
    parabola: "Parabola | None"
    vertex: Float[np.ndarray, " 3"]
    draws: Float[np.ndarray, "draws 3"]
    flags: tuple[str, ...]
    num_sizes: int


@dataclasses.dataclass(frozen=True)
class Noise:
    """Relative noise of a loss: `fit` of a run about its parabola, `seed` of one run to the next."""

    fit: float
    seed: float
    dof: int


@dataclasses.dataclass(frozen=True, eq=False)
class Parabola:
    """`loss = c0 + c1 u + c2 u^2` with `u = log(params) - centre`, through the runs in `rows`."""

    rows: Int[np.ndarray, " near"]
    centre: float
    coefficients: Float[np.ndarray, " 3"]
    project: Float[np.ndarray, "3 near"]  # from values at the runs to coefficients
    fitted: Float[np.ndarray, " near"]
    residual: Float[np.ndarray, " near"]  # relative

    def loss(self, log_params: Float[np.ndarray, " sizes"]) -> Float[np.ndarray, " sizes"]:
        return _powers(log_params - self.centre) @ self.coefficients


def budgets(table: Table) -> list[Int[np.ndarray, " _"]]:
    """Indices of the runs of each budget, budgets upwards; runs within 10 % share one."""
    order = np.argsort(table.flops, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        if groups and np.log(table.flops[i] / table.flops[groups[-1][0]]) < SAME_BUDGET:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [np.array(group) for group in groups]


def slices(table: Table, draws: int = 400, seed: int = 0) -> tuple[list[Slice], Noise]:
    """Fits each budget's parabola and draws its vertex under the pooled noise.

    Args:
      table: runs with positive losses.
      draws: bootstrap draws of every vertex.
      seed: of the draws.
    """
    groups = budgets(table)
    table = _levelled(table, groups)
    parabolas = _parabolas(table, groups)
    noise = _noise(table, parabolas)
    rng = np.random.default_rng(seed)
    # One scale for all the slices of a draw: they share its uncertainty.
    scale = noise.fit * np.sqrt(noise.dof / rng.chisquare(noise.dof, draws)) if noise.dof else noise.fit
    scale = np.broadcast_to(scale, draws)
    return [_slice(table, g, p, scale, rng) for g, p in zip(groups, parabolas)], noise


def _levelled(table: Table, groups: list[Int[np.ndarray, " _"]]) -> Table:
    """Losses moved to the mean FLOPs of their budget, which whole steps miss by a few per cent.

    They move along the frontier: near the best size more compute helps alike, whether the size follows it or
    not.
    """
    if len(groups) < 2:
        return table
    log_flops = np.log(table.flops)
    centres = np.array([log_flops[group].mean() for group in groups])
    best = np.log([table.loss[group].min() for group in groups])
    slope = min(np.polyfit(centres, best, 1)[0], 0.0)
    loss = table.loss.copy()
    for group, centre in zip(groups, centres):
        loss[group] *= np.exp(slope * (centre - log_flops[group]))
    return dataclasses.replace(table, loss=loss)


def _parabolas(table: Table, groups: list[Int[np.ndarray, " _"]]) -> list[Parabola | None]:
    """Parabolas over the widest window that still fits as well as the narrowest.

    A wide window is biased, since no loss is a parabola for long; a narrow one is noisy.
    """
    chosen = [_parabola(table, group, WINDOWS[0]) for group in groups]
    narrow, _ = _residual_noise(chosen)
    for window in WINDOWS[1:]:
        wider = [_parabola(table, group, window) for group in groups]
        if (_residual_noise(wider)[0] or 0) <= LACK_OF_FIT * (narrow or 0):
            chosen = wider
    return chosen


def _parabola(table: Table, group: Int[np.ndarray, " points"], window: float) -> Parabola | None:
    log_params, loss = np.log(table.params[group]), table.loss[group]
    centre = log_params[np.argmin(loss)]
    distance = np.abs(np.unique(log_params) - centre)
    if len(distance) < 3:
        return None
    reach = max(window, np.sort(distance)[min(WINDOW_SIZES, len(distance)) - 1]) + 1e-9
    near = group[np.abs(log_params - centre) <= reach]
    design = _powers(np.log(table.params[near]) - centre)
    project = np.linalg.pinv(design)
    coefficients = project @ table.loss[near]
    fitted = design @ coefficients
    return Parabola(near, float(centre), coefficients, project, fitted, table.loss[near] / fitted - 1)


def _powers(u: Float[np.ndarray, " points"]) -> Float[np.ndarray, "points 3"]:
    return np.vander(u, 3, increasing=True)


def _residual_noise(parabolas: list[Parabola | None]) -> tuple[float | None, int]:
    found = [p for p in parabolas if p is not None]
    dof = sum(len(p.rows) - 3 for p in found)
    return (float(np.sqrt(sum((p.residual**2).sum() for p in found) / dof)) if dof else None), dof


def _noise(table: Table, parabolas: list[Parabola | None]) -> Noise:
    fit, dof = _residual_noise(parabolas)
    seed, seed_dof = _replicate_noise(table)
    if fit is None:
        measured = table.loss_se is not None and np.isfinite(table.loss_se).any()
        fit = seed or (float(np.nanmedian(table.loss_se / table.loss)) if measured else DEFAULT_NOISE)
    return Noise(fit, fit if seed is None else seed, dof or seed_dof)


def _replicate_noise(table: Table) -> tuple[float | None, int]:
    """The pooled sd of log loss among runs that differ in nothing but their seed."""
    _, which = np.unique(np.stack([table.params, table.tokens, table.flops], 1), axis=0, return_inverse=True)
    which = which.ravel()
    counts = np.bincount(which)
    dof = int((counts - 1).sum())
    if not dof:
        return None, 0
    log_loss = np.log(table.loss)
    mean = np.bincount(which, log_loss) / counts
    return float(np.sqrt(((log_loss - mean[which]) ** 2).sum() / dof)), dof


def _slice(
    table: Table,
    group: Int[np.ndarray, " points"],
    parabola: Parabola | None,
    scale: Float[np.ndarray, " draws"],
    rng: np.random.Generator,
) -> Slice:
    log_params = np.log(table.params[group])
    grid = (float(log_params.min()), float(log_params.max()))
    flops = float(np.exp(np.log(table.flops[group]).mean()))
    num_sizes = len(np.unique(log_params))
    flags = ("a2_too_few_points",) if num_sizes < 4 else ()
    if parabola is not None and _has_minimum(parabola, grid):
        shaken = scale[:, None] * parabola.fitted * rng.standard_normal((len(scale), len(parabola.rows)))
        coefficients = parabola.coefficients + np.vstack([0 * parabola.fitted, shaken]) @ parabola.project.T
        vertex, *draws = _vertices(coefficients, parabola, table, grid)
        flags += _position_flags(np.array(draws)[:, 0], vertex[0], grid)
        return Slice(flops, group, grid, parabola, vertex, np.array(draws), flags, num_sizes)
    best = group[np.argmin(table.loss[group])]
    vertex = np.log([table.params[best], table.tokens[best], table.loss[best]])
    noise = scale[:, None] * rng.standard_normal((len(scale), 1)) * [0, 0, 1]
    flags += ("a2_optimum_outside_grid",) if parabola is not None else ()
    return Slice(flops, group, grid, None, vertex, vertex + noise, flags, num_sizes)


def _has_minimum(parabola: Parabola, grid: tuple[float, float]) -> bool:
    _, c1, c2 = parabola.coefficients
    return bool(c2 > 0 and grid[0] <= parabola.centre - c1 / (2 * c2) <= grid[1])


def _vertices(
    coefficients: Float[np.ndarray, "draws 3"], parabola: Parabola, table: Table, grid: tuple[float, float]
) -> Float[np.ndarray, "draws 3"]:
    """Log params, log tokens and log loss at each minimum, kept within one grid's width of the grid."""
    c0, c1, c2 = coefficients.T
    width = grid[1] - grid[0]
    convex = c2 > 1e-12 * np.abs(c0)
    downhill = np.where(c1 > 0, -np.inf, np.inf)  # no minimum: it lies at the lower end
    u = np.where(convex, -c1 / (2 * np.where(convex, c2, 1.0)), downhill)
    u = np.clip(u, grid[0] - width - parabola.centre, grid[1] + width - parabola.centre)
    inside = np.clip(u, *(np.array(grid) - parabola.centre))  # a parabola says nothing of the loss beyond
    loss = c0 + c1 * inside + c2 * inside**2
    log_tokens = _powers(u) @ (parabola.project @ np.log(table.tokens[parabola.rows]))
    return np.stack([parabola.centre + u, log_tokens, np.log(np.maximum(loss, 1e-3 * c0))], 1)


def _position_flags(
    draws: Float[np.ndarray, " draws"], vertex: float, grid: tuple[float, float]
) -> tuple[str, ...]:
    low, high = interval95(draws)
    uncertain = low < grid[0] or high > grid[1]
    off_centre = abs(vertex - (grid[0] + grid[1]) / 2) > (grid[1] - grid[0]) / 4
    found = (("a2_vertex_uncertain", uncertain), ("a2_off_centre", off_centre))
    return tuple(flag for flag, seen in found if seen)
