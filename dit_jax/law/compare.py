# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Architectures against each other at equal FLOPs: the best loss of each at each budget, and how much compute
that is worth.

Runs of a sweep are validated on the same clips, noise and times, so that what differs from run to run is the
seed: its deviation is pooled over all repeated points, and every interval comes from it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

DRAWS = 2000


@dataclasses.dataclass(frozen=True)
class Best:
    """The best size of an architecture at a budget.

    Attributes:
      loss: mean over seeds.
      error: standard error of it, by the pooled deviation of seeds; NaN where no point was repeated.
      at_edge: the least or the largest size tried: a better one may lie beyond.
      row: of the record, of the first seed.
    """

    architecture: str
    flops: float
    loss: float
    error: float
    at_edge: bool
    row: Mapping[str, Any]


def best_by_budget(rows: Sequence[Mapping[str, Any]]) -> list[Best]:
    """The best size of every architecture at every budget, from finished rows with `architecture`, `width`,
    `budget_flops`, `seed` and `loss`.

    Raises:
      ValueError: there are none.
    """
    points: dict[tuple[str, float], dict[int, list[Mapping[str, Any]]]] = {}
    for row in rows:
        if row["status"] == "finished":
            sizes = points.setdefault((row["architecture"], row["budget_flops"]), {})
            sizes.setdefault(row["width"], []).append(row)
    if not points:
        raise ValueError("no run finished: there is nothing to compare")
    deviation = seed_deviation(rows)
    best = []
    for (architecture, flops), sizes in sorted(points.items()):
        losses = {width: np.mean([row["loss"] for row in same]) for width, same in sizes.items()}
        width = min(losses, key=losses.get)
        best.append(
            Best(
                architecture,
                flops,
                float(losses[width]),
                float(deviation / np.sqrt(len(sizes[width]))),
                width in (min(sizes), max(sizes)),
                min(sizes[width], key=lambda row: row["seed"]),
            )
        )
    return best


def seed_deviation(rows: Sequence[Mapping[str, Any]]) -> float:
    """Deviation of the loss from seed to seed, pooled over the points that were repeated."""
    repeats: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["status"] == "finished":
            point = (row["architecture"], row["budget_flops"], row["width"])
            repeats.setdefault(point, []).append(row["loss"])
    groups = [np.asarray(losses) for losses in repeats.values() if len(losses) > 1]
    if not groups:
        return float("nan")
    squares = sum(((losses - losses.mean()) ** 2).sum() for losses in groups)
    return float(np.sqrt(squares / sum(len(losses) - 1 for losses in groups)))


def compare(rows: Sequence[Mapping[str, Any]], reference: str, seed: int = 0) -> dict[str, Any]:
    """What each architecture reaches, and its compute relative to a reference's.

    `compute_worth` at a budget C is C'/C, where the reference reaches the same loss at C' (on straight lines
    between its budgets in log loss and log FLOPs, and beyond them): above 1 the architecture is the better.

    Args:
      rows: of the record.
      reference: an architecture among them.
      seed: of the draws that intervals come from.

    Raises:
      ValueError: the reference has fewer than two budgets.
    """
    best = best_by_budget(rows)
    line = sorted((b for b in best if b.architecture == reference), key=lambda b: b.flops)
    if len(line) < 2:
        raise ValueError(f"{reference} finished at {len(line)} budgets: two are needed to compare with it")
    rng, deviation = np.random.default_rng(seed), seed_deviation(rows)
    entries = []
    for b in best:
        worth, *drawn = _worth(b, line, rng)
        known = np.isfinite(b.error) and b.architecture != reference
        entries.append(
            {
                "architecture": b.architecture,
                "flops": b.flops,
                "loss": b.loss,
                "loss_se": None if np.isnan(b.error) else b.error,
                "params": b.row["params_active"],
                "params_total": b.row["params_total"],
                "width": b.row["width"],
                "seconds": b.row["seconds"],
                "text_gap": b.row.get("text_gap"),
                "flags": ["vertex_at_edge"] if b.at_edge else [],
                "compute_worth": float(worth),
                "compute_worth_ci95": np.quantile(drawn, (0.025, 0.975)).tolist() if known else None,
            }
        )
    return {
        "version": 1,
        "reference": reference,
        "seed_sd": None if np.isnan(deviation) else deviation,
        "entries": entries,
    }


def _worth(best: Best, line: Sequence[Best], rng: np.random.Generator) -> Float[np.ndarray, " draws"]:
    """Compute at which the line reaches the loss, over the FLOPs spent: the estimate, then draws of it."""
    at = np.log(_drawn(best, rng))
    y = np.log(np.stack([_drawn(b, rng) for b in line], -1))
    x = np.log([b.flops for b in line])
    y = np.minimum.accumulate(y - 1e-9 * np.arange(len(x)), -1)  # more compute is never worse
    piece = np.clip((y > at[:, None]).sum(-1) - 1, 0, len(x) - 2)
    here, there = (np.take_along_axis(y, (piece + i)[:, None], -1)[:, 0] for i in (0, 1))
    crossing = x[piece] + (at - here) / (there - here) * (x[piece + 1] - x[piece])
    return np.exp(crossing) / best.flops


def _drawn(best: Best, rng: np.random.Generator) -> Float[np.ndarray, " draws"]:
    error = 0.0 if np.isnan(best.error) else best.error
    noise = np.concatenate([[0.0], rng.normal(size=DRAWS)])
    return np.maximum(best.loss + error * noise, 1e-12)
