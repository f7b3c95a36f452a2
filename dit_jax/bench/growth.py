# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How the time of a training step grows with tokens, width, depth and batch."""

import dataclasses
import statistics
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dit_jax.bench.measure import measured
from dit_jax.bench.sizes import SIZES, Size
from dit_jax.bench.steps import config_of, our_step
from dit_jax.sweep.flops import step_flops

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


def growth_case(dial: str, config: ConfigDict, rounds: int, base: Size = SIZES["S"]) -> dict[str, Any]:
    """Seconds of training steps at `FACTORS` of a dial, measured in turn.

    Returns:
      A row as `measured` gives it, of the largest; `curve` has for each its factor, seconds and FLOPs, and `exponent`
      is that of the time in the FLOPs: 1 where the speed stays, below where larger is more efficient.
    """
    sizes = [grown(base, dial, factor) for factor in FACTORS]
    steps = [our_step("train", size, config)[0] for size in sizes]
    runs = [[step() for step in steps] for _ in range(rounds)]
    curve = [
        {"factor": factor, "seconds": statistics.median(values), "flops": flops_of(size, config)}
        for factor, size, values in zip(FACTORS, sizes, zip(*runs), strict=True)
    ]
    flops, seconds = (np.log([point[name] for point in curve]) for name in ("flops", "seconds"))
    exponent = float(np.polyfit(flops, seconds, 1)[0])
    return measured(f"growth_{dial}", "s", [row[-1] for row in runs], curve=curve, exponent=exponent)


def flops_of(size: Size, config: ConfigDict) -> int:
    """Of a training step."""
    return step_flops(config_of(size, config), size.latent_shape)
