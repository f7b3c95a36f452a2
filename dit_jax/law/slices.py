# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The runs of each budget, and the best size on it: isoFLOP curves.

At a fixed budget the loss against log(params) is close to a parabola near its minimum (Hoffmann et al.
2022, arXiv 2203.15556, approach 2).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.akima import interpolated, neighbour_noise, prefers_interpolation
from dit_jax.law.checks import seed_noise
from dit_jax.law.flags import interval95
from dit_jax.law.parabola import Curves, Parabola, Points, fit_curves
from dit_jax.law.table import Table
from dit_jax.law.vertex import Minimum, smooth

SAME_BUDGET = 0.1  # log FLOPs, from end to end: rounding a run to whole steps moves it by less
SCATTERED = 0.2, 7  # as wide as this where so many sizes lie together: points off a figure miss by 10 %
DEFAULT_NOISE = 0.01  # of the loss, where neither repeats nor residuals tell
ESTIMATORS = ("parabola", "corrected", "akima")


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """One budget: its runs, the curve through them, and its lowest point.

    Attributes:
      flops: the budget.
      rows: all runs on it, as indices into the table.
      grid: log params of the smallest and the largest that may be fitted.
      parabola: through the runs near the best, for the bend there; None where the runs have no minimum
        inside the grid, and the vertex is then the best run.
      vertex: log params, log tokens and log loss at the minimum.
      draws: what the noise of the runs makes of the vertex.
      sd: of log params at the vertex, for its weight among the others.
      flags: `a2_*`, see `dit_jax.law.flags`.
      num_sizes: different ones among the runs that may be fitted.
      curve: the loss at log params, along what the vertex was read from.
      curve_rows: runs that it was fitted to.
    """

    flops: float
    rows: Int[np.ndarray, " points"]
    grid: tuple[float, float]
    parabola: Parabola | None
    vertex: Float[np.ndarray, " 3"]
    draws: Float[np.ndarray, "draws 3"]
    sd: float
    flags: tuple[str, ...]
    num_sizes: int
    curve: Callable[[Float[np.ndarray, " sizes"]], Float[np.ndarray, " sizes"]] | None = None
    curve_rows: Int[np.ndarray, " near"] | None = None


@dataclasses.dataclass(frozen=True)
class Noise:
    """Relative noise of a loss: `fit` of a run about its curve, `seed` of one run to the next."""

    fit: float
    seed: float
    dof: int


def budgets(table: Table) -> list[Int[np.ndarray, " _"]]:
    """Indices of the runs of each budget, budgets upwards.

    A column `isoflop_budget` says which runs share one, and the others are on none. Without it those do whose
    FLOPs lie together, the most sizes first: runs between two budgets do not join them.
    """
    named = table.isoflop_budget
    if named is not None and np.isfinite(named).any():
        return [np.flatnonzero(named == value) for value in np.unique(named[np.isfinite(named)])]
    left, groups = np.argsort(table.flops, kind="stable"), []
    exact = 2 * len(set(np.round(np.log(table.flops), 3))) <= len(
        table
    )  # such budgets may lie close together
    for width, fewest in ((SAME_BUDGET, 1),) if exact else (SCATTERED, (SAME_BUDGET, 1)):
        while len(left):
            chosen, sizes = _densest(np.log(table.flops[left]), table.params[left], width)
            if sizes < fewest:
                break
            groups.append(left[chosen])
            left = np.delete(left, chosen)
    return sorted(groups, key=lambda group: np.log(table.flops[group]).mean())


def _flops(table: Table, group: Int[np.ndarray, " points"]) -> float:
    """Of a budget: what it is called, else what its runs took on average."""
    named = None if table.isoflop_budget is None else table.isoflop_budget[group[0]]
    return float(named if named and np.isfinite(named) else np.exp(np.log(table.flops[group]).mean()))


def are_shared(slices: Sequence["Slice"]) -> bool:
    """Whether most runs were made on budgets of several sizes; else what lies together does so by chance."""
    runs = sum(len(one.rows) for one in slices)
    several, pairs = (sum(len(one.rows) for one in slices if one.num_sizes >= least) for least in (3, 2))
    return 2 * several >= runs or 5 * pairs >= 4 * runs


def _densest(
    log_flops: Float[np.ndarray, " runs"], params: Float[np.ndarray, " runs"], width: float
) -> tuple[slice, int]:
    """The stretch of sorted runs, less than `width` from end to end, with most sizes, and their number."""
    ends = np.searchsorted(log_flops, log_flops + width)
    sizes = [len(set(params[first:end])) for first, end in enumerate(ends)]
    first = int(np.argmax(sizes))
    return slice(first, int(ends[first])), sizes[first]


def slices(
    table: Table,
    draws: int = 400,
    seed: int = 0,
    *,
    estimator: str | None = None,
    window: float | None = None,
    noise: float | None = None,
) -> tuple[list[Slice], Noise]:
    """Finds each budget's best size and draws it under the pooled noise.

    Left to choose, it takes curves of which one family fits all budgets, corrected for unequal arms, and
    interpolates where no such curve fits and the runs are quiet and dense.

    Args:
      table: runs with positive losses.
      draws: bootstrap draws of every vertex.
      seed: of the draws.
      estimator: "parabola", "corrected" or "akima"; None chooses.
      window: log params either side of the best run that a smooth curve is fitted to, `inf` for all; None
        takes the widest that it fits. Interpolation needs none.
      noise: relative sd of one run's loss, where it is known; None measures it.

    Raises:
      ValueError: there is no such estimator.
    """
    if estimator not in (None, *ESTIMATORS):
        raise ValueError(f"estimator is {estimator!r}: give one of {', '.join(ESTIMATORS)}")
    groups = budgets(table)
    points = _points(table, groups)
    rng = np.random.default_rng(seed)
    quiet = neighbour_noise(points) if noise is None else noise
    if estimator is None:
        estimator = "akima" if prefers_interpolation(points, quiet, rng) else "corrected"
    curves = fit_curves(points, estimator == "corrected", window)
    measured = _noise(table, curves, quiet if estimator == "akima" else noise)
    # One scale for all the slices of a draw: they share its uncertainty.
    wide = np.sqrt(measured.dof / rng.chisquare(measured.dof, draws)) if measured.dof else 1.0
    scale = np.broadcast_to(measured.fit * wide, draws)
    if estimator == "akima":
        minima, notes = interpolated(points, scale, rng), ()
    else:
        minima, unequal = smooth(curves, points, scale, rng)
        notes = ("a2_biased",) if unequal else ()
    return [_slice(table, *one, scale, rng, notes) for one in zip(groups, points, minima)], measured


def _points(table: Table, groups: list[Int[np.ndarray, " _"]]) -> list[Points]:
    """The runs of each budget that count: finished, and of a size's hyperparameters those that serve it best.

    Losses are moved to the mean FLOPs of their budget, which whole steps miss by a few per cent. They move
    along the frontier: near the best size more compute helps alike, whether the size follows it or not. Where
    budgets have names, runs are taken to be on them.
    """
    groups = [_tuned(table, _finished(table, group)) for group in groups]
    log_flops = np.log(table.flops)
    slope = 0.0
    if len(groups) > 1 and table.isoflop_budget is None:
        centres = np.array([log_flops[group].mean() for group in groups])
        best = np.log([table.loss[group].min() for group in groups])
        slope = min(np.polyfit(centres, best, 1)[0], 0.0)
    found = []
    for group in groups:
        loss = table.loss[group] * np.exp(slope * (log_flops[group].mean() - log_flops[group]))
        found.append(Points(group, np.log(table.params[group]), np.log(table.tokens[group]), loss))
    return found


def _finished(table: Table, group: Int[np.ndarray, " points"]) -> Int[np.ndarray, " kept"]:
    """Without the runs that look unfinished, unless all of the budget's do."""
    kept = group[~table.suspect_mask("suspected_unfinished")[group]]
    return kept if len(kept) else group


def _tuned(table: Table, group: Int[np.ndarray, " points"]) -> Int[np.ndarray, " kept"]:
    """Of a size tried with several learning rates or batches, the runs of the best one."""
    tried = [column[group] for column in (table.lr, table.batch) if column is not None]
    if not tried:
        return group
    setting = np.unique(np.nan_to_num(np.stack(tried, 1), nan=-1.0), axis=0, return_inverse=True)[1].ravel()
    loss, params = table.loss[group], table.params[group]
    keep = np.zeros(len(group), bool)
    for size in np.unique(params):
        same = params == size
        means = {one: loss[same & (setting == one)].mean() for one in np.unique(setting[same])}
        keep |= same & (setting == min(means, key=means.get))
    return group[keep]


def _noise(table: Table, curves: Curves, known: float | None) -> Noise:
    seed, seed_dof = seed_noise(np.log(table.loss), table.setting)
    fit, dof = curves.noise, max(round(curves.dof), 0)
    if known is not None:
        return Noise(known, known if seed is None else seed, 0)
    if fit is None:
        measured = table.loss_se is not None and np.isfinite(table.loss_se).any()
        fit = seed or (float(np.nanmedian(table.loss_se / table.loss)) if measured else DEFAULT_NOISE)
    return Noise(fit, fit if seed is None else seed, dof or seed_dof)


def _slice(
    table: Table,
    group: Int[np.ndarray, " points"],
    points: Points,
    found: Minimum | None,
    scale: Float[np.ndarray, " draws"],
    rng: np.random.Generator,
    notes: tuple[str, ...],
) -> Slice:
    sizes = points.sizes
    head = _flops(table, group), group, (float(sizes[0]), float(sizes[-1]))
    flags = ("a2_too_few_points",) if len(sizes) < 4 else ()
    if found is not None:
        flags = flags or _position_flags(found, head[2]) + notes
        return Slice(
            *head,
            found.parabola,
            found.vertex,
            found.draws,
            found.sd,
            flags,
            len(sizes),
            found.curve,
            found.rows,
        )
    best = np.argmin(points.loss)
    vertex = np.array([points.log_params[best], points.log_tokens[best], np.log(points.loss[best])])
    noise = scale[:, None] * rng.standard_normal((len(scale), 1)) * [0, 0, 1]
    flags = flags or ("a2_optimum_outside_grid",)
    return Slice(*head, None, vertex, vertex + noise, np.inf, flags, len(sizes))


def _position_flags(found: Minimum, grid: tuple[float, float]) -> tuple[str, ...]:
    low, high = interval95(found.draws[:, 0])
    uncertain = low < grid[0] or high > grid[1]
    off_centre = abs(found.vertex[0] - (grid[0] + grid[1]) / 2) > (grid[1] - grid[0]) / 4
    seen = (("a2_vertex_uncertain", uncertain), ("a2_off_centre", off_centre))
    return tuple(flag for flag, raised in seen if raised)
