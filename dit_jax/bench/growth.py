# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How the time of a training step grows with tokens, width, depth and batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dit_jax.bench.measure import measured
from dit_jax.bench.sizes import SIZES, Size
from dit_jax.bench.steps import Rounds, in_turn, our_step
from dit_jax.bench.works import flops_of

FACTORS = (1, 2, 4)


def grown(size: Size, dial: str, factor: int) -> Size:
    """A size `factor` times as large along a dial: `tokens`, `width` (and heads), `depth` or `batch`."""
    frames, rows, columns = size.grid
    return {
        "tokens": dataclasses.replace(size, grid=(frames, factor * rows, columns)),
        "width": dataclasses.replace(size, width=factor * size.width, heads=factor * size.heads),
        "depth": dataclasses.replace(size, depth=factor * size.depth),
        "batch": dataclasses.replace(size, batch=factor * size.batch),
    }[dial]


def growth_case(dial: str, config: ConfigDict, told: Rounds, base: Size = SIZES["S"]) -> dict[str, Any]:
    """Seconds of training steps at `FACTORS` of a dial, measured in turn.

    Returns:
      A row as `measured` gives it, of the largest; `curve` has for each its factor, seconds (median, least and most)
      and FLOPs. `exponent` is that of the time in the FLOPs: 1 where the speed stays, below where larger is more
      efficient; `exponent_low` and `exponent_high` are the least and the most of any one round.
    """
    sizes = [grown(base, dial, factor) for factor in FACTORS]
    steps = {factor: our_step("train", size, config)[0] for factor, size in zip(FACTORS, sizes)}
    runs, flops = in_turn(steps, told, {}), [float(flops_of(size, config)) for size in sizes]
    rounds = np.array([_exponent(flops, seconds) for seconds in zip(*runs.values(), strict=True)])
    curve = [
        {"factor": factor, "seconds": float(np.median(s)), "min": min(s), "max": max(s), "flops": count}
        for (factor, s), count in zip(runs.items(), flops, strict=True)
    ]
    return measured(
        f"growth_{dial}",
        "s",
        runs[FACTORS[-1]],
        curve=curve,
        exponent=_exponent(flops, [point["seconds"] for point in curve]),
        exponent_low=rounds.min(),
        exponent_high=rounds.max(),
    )


def _exponent(flops: Sequence[float], seconds: Sequence[float]) -> float:
    return float(np.polyfit(np.log(flops), np.log(seconds), 1)[0])
