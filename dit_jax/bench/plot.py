# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What was measured, in one picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dit_jax.law.plot.style import BLUE, GREEN, ORANGE, RED, SKY, STYLE

COLOURS = (BLUE, RED, GREEN, ORANGE, SKY)


def plot_bench(rows: Sequence[Mapping[str, Any]], path: str | pathlib.Path) -> None:
    """Speeds of steps beside the peers' and a matmul's, and the growth of a step's time, as a PNG.

    Args:
      rows: of the cases that were measured; those of neither kind are left out.
      path: of the PNG.
    """
    steps = [row for row in rows if "flops_per_second" in row]
    growth = [row for row in rows if "curve" in row]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _steps(left, steps)
        _growth(right, growth)
        figure.savefig(path, dpi=150)


def _steps(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for k, row in enumerate(rows):
        speeds = [row["flops"] / peer["median"] / 1e9 for peer in row["peers"].values()]
        axes.plot([k] * len(speeds), speeds, "_", ms=14, color=RED, label="peers" if k == 0 else None)
        bounds = [row["flops"] / row[name] / 1e9 for name in ("max", "min")]
        axes.plot([k, k], bounds, color=BLUE, lw=1)
        axes.plot(k, row["flops_per_second"] / 1e9, "o", color=BLUE, label="dit_jax" if k == 0 else None)
        peak = row["matmul_flops_per_second"] / 1e9
        axes.plot(k, peak, "^", color="grey", label="square product" if k == 0 else None)
    axes.set_xticks(range(len(rows)), [row["name"] for row in rows], rotation=45)
    axes.set(ylabel="GFLOP/s", ylim=(0, None))
    if rows:
        axes.legend()


def _growth(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for row, colour in zip(rows, COLOURS):
        flops, seconds = ([point[name] for point in row["curve"]] for name in ("flops", "seconds"))
        bounds = np.transpose([[p["seconds"] - p["min"], p["max"] - p["seconds"]] for p in row["curve"]])
        low, high = row["exponent_low"], row["exponent_high"]
        name = row["name"].removeprefix("growth_")
        label = f"{name}: exponent {row['exponent']:.2f} ({low:.2f} to {high:.2f})"
        axes.errorbar(flops, seconds, bounds, fmt="o-", color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="FLOPs of a training step", ylabel="seconds")
    if rows:
        axes.legend()
