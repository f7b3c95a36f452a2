# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the columns of a table tell against its runs, before anything is fitted."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.read import Column, Rows

FINISHED = frozenset({"", "nan", "finished", "completed", "done"})
KNOWN_ENDS = frozenset({"diverged", "failed", "pruned"})
TOLERANCE = 0.01  # relative, of token counts: whole steps
SAME = 0.005  # relative, of sizes and tokens called equal
SAME_BUDGET = 0.05  # relative, of FLOPs: whole steps again

NOISE_POINTS = 6  # to estimate noise from
FEW = 3  # points that an estimate of noise may be short of
FEWEST = 8  # runs, to fit a surface of five parameters for that
EXPONENTS = (0.1, 0.2, 0.3, 0.45, 0.7, 1.0)
RISE = 5.5  # noise sds from a loss to all those at more tokens
LEAST_RISE = 0.005  # log loss: less is rounding
UNKNOWN_RISE = 0.03  # log loss, where the noise is not known
OUTLIER_RISE = np.log(1.3)  # of one run alone: that is an outlier, and no trend in tokens

Where = dict[int, str]  # what is wrong, by the index of the run
Labels = Int[np.ndarray, " runs"]


def by_status(rows: Rows) -> tuple[Rows, list[tuple[int, str]], list[str]]:
    """Finished rows, (row, reason) of the others, and the flags that their status raises."""
    status = {n: str(row.get("status") or "").strip().lower() for n, row in rows}
    finished = [(n, row) for n, row in rows if status[n] in FINISHED]
    dropped = [(n, f"status {row['status']}") for n, row in rows if status[n] not in FINISHED]
    others = set(status.values()) - FINISHED
    found = {"diverged_outlier": "diverged" in others, "suspected_unfinished": bool(others - KNOWN_ENDS)}
    return finished, dropped, [flag for flag, seen in found.items() if seen]


def labels(count: int, *columns: Column | None) -> Labels:
    """A number for each different row of values; a missing value is a value of its own."""
    known = [np.nan_to_num(column, nan=-1.0) for column in columns if column is not None]
    if not known or not count:
        return np.zeros(count, int)
    return np.unique(np.stack(known, 1), axis=0, return_inverse=True)[1].ravel()


def wrong_horizons(tokens: Column, schedule_tokens: Column | None) -> Where:
    """Runs whose learning-rate schedule was made for another number of tokens than they saw.

    Their loss is not what a run of that length reaches (Hoffmann et al. 2022, arXiv 2203.15556).
    """
    if schedule_tokens is None:
        return {}
    differ = np.abs(schedule_tokens / tokens - 1) > TOLERANCE
    return {
        int(i): f"a schedule for {schedule_tokens[i]:.4g} tokens and {tokens[i]:.4g} seen"
        for i in np.flatnonzero(differ)
    }


def repeats(tokens: Column, unique_tokens: Column | None) -> Where:
    """Runs that saw data more than once, which are worth less (Muennighoff et al. 2023, arXiv 2305.16264)."""
    if unique_tokens is None:
        return {}
    again = unique_tokens < tokens * (1 - TOLERANCE)
    return {int(i): f"{tokens[i] / unique_tokens[i]:.3g} epochs" for i in np.flatnonzero(again)}


def rises(params: Column, tokens: Column, loss: Column, noise: float | None, comparable: Labels) -> Where:
    """Runs that do worse than one of their size with fewer tokens, beyond the noise.

    A single one between better runs is no rise but an outlier.

    Args:
      params, tokens, loss: of the runs, positive.
      noise: sd of a log loss; None where unknown.
      comparable: runs are held against those of the same label only.
    """
    least = UNKNOWN_RISE if noise is None else max(RISE * noise, LEAST_RISE)
    found: Where = {}
    above: list[float] = []
    for best in _lines(tokens, params, SAME, loss, comparable):
        lowest = np.minimum.accumulate(loss[best])
        rise = np.log(loss[best] / lowest)
        high = rise > least
        lasts = high & (np.r_[high[1:], True] | np.r_[False, high[:-1]])
        above += rise[lasts].tolist()
        found |= {
            int(best[k]): f"loss {loss[best[k]]:.4g}, {lowest[k]:.4g} with fewer tokens"
            for k in np.flatnonzero(lasts)
        }
    return {} if len(above) == 1 and above[0] > OUTLIER_RISE else found


def noise_of(
    columns: tuple[Column, Column, Column, Column],
    setting: Labels,
    comparable: Labels,
    loss_se: Column | None,
) -> float | None:
    """The sd of a run's log loss, from the first of these that a table has; None where it has none.

    Runs that differ in their seed alone; how rough the loss is along a size or along a budget; the standard
    errors; the scatter about an additive surface. Standard errors do not come first, as runs that share a
    validation set share its error.

    Args:
      columns: params, tokens, flops and loss, positive.
      setting: runs of the same label differ in their seed alone.
      comparable: runs of different labels are never compared.
      loss_se: of the losses, where known.
    """
    params, tokens, flops, loss = columns
    log_loss = np.log(loss)
    if (seeds := seed_noise(log_loss, setting)[0]) is not None:
        return seeds
    found = []
    for along, across, tolerance in ((tokens, params, SAME), (params, flops, SAME_BUDGET)):
        lines = _lines(along, across, tolerance, loss, comparable)
        rough = [_third_differences(np.log(along[line]), log_loss[line]) for line in lines]
        if sum(map(len, rough)) >= NOISE_POINTS:
            rough = np.concatenate(rough)
            found.append(_robust_sd(rough) * (1 + FEW / len(rough)))
    if found:
        return min(found)  # points far apart are rough without noise
    if loss_se is not None and np.isfinite(loss_se).any():
        return float(np.nanmedian(loss_se / loss))
    return _surface_noise(params, tokens, loss)


def seed_noise(log_loss: Float[np.ndarray, " runs"], setting: Labels) -> tuple[float | None, int]:
    """The pooled sd among runs of one setting, and its degrees of freedom; None where no setting has two."""
    counts = np.bincount(setting)
    dof = int((counts - 1).sum()) if len(counts) else 0
    if not dof:
        return None, 0
    off = log_loss - (np.bincount(setting, log_loss) / counts)[setting]
    return float(np.sqrt((off**2).sum() / dof)), dof


def _lines(
    along: Column, across: Column, tolerance: float, loss: Column, comparable: Labels
) -> Iterator[Int[np.ndarray, " points"]]:
    """For every value of `across` the indices of the best run at each value of `along`, upwards."""
    for one in np.unique(comparable):
        for line in _alike(np.flatnonzero(comparable == one), across, tolerance):
            points = _alike(line, along, SAME)
            yield np.array([same[np.argmin(loss[same])] for same in points])


def _alike(
    runs: Int[np.ndarray, " some"], column: Column, tolerance: float
) -> list[Int[np.ndarray, " alike"]]:
    """Runs in groups of nearly the same value, values upwards."""
    groups: list[list[int]] = []
    for i in runs[np.argsort(column[runs], kind="stable")]:
        if groups and column[i] <= column[groups[-1][0]] * (1 + tolerance):
            groups[-1].append(i)
        else:
            groups.append([i])
    return [np.array(group) for group in groups]


def _third_differences(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " differences"]:
    """Of every four neighbours what no parabola explains, in units of one point's noise."""
    if len(x) < 4:
        return np.empty(0)
    near = np.lib.stride_tricks.sliding_window_view(x, 4)
    apart = near[:, :, None] - near[:, None, :] + np.eye(4)
    weights = 1 / apart.prod(2)  # of a divided difference
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return (weights * np.lib.stride_tricks.sliding_window_view(y, 4)).sum(1)


def _surface_noise(params: Column, tokens: Column, loss: Column) -> float | None:
    """Scatter about the best E + A / N^alpha + B / D^beta, less the run that fits worst.

    Exponents are on a grid, as the law is linear in the rest.
    """
    if len(loss) < FEWEST:
        return None
    n, d = np.log(params / params.mean()), np.log(tokens / tokens.mean())
    designs = [
        np.stack([np.ones_like(n), np.exp(-alpha * n), np.exp(-beta * d)], 1) / loss[:, None]
        for alpha in EXPONENTS
        for beta in EXPONENTS
    ]
    return min(map(_least_scatter, designs))


def _least_scatter(design: Float[np.ndarray, "runs columns"]) -> float:
    """The sd about a linear fit to ones with one run left out, the one that leaves it least."""
    hat = design @ np.linalg.pinv(design)
    residual = 1 - hat.sum(1)
    without = residual @ residual - residual**2 / np.maximum(1 - np.diag(hat), 1e-9)
    dof = len(residual) - 6  # three columns, two exponents, one run
    return float(np.sqrt(max(without.min(), 0.0) / dof))


def _robust_sd(values: Float[np.ndarray, " values"]) -> float:
    return 1.4826 * float(np.median(np.abs(values)))
