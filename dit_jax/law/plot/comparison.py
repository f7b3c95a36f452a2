# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Architectures at equal FLOPs, in one picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dit_jax.law.plot.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, STYLE

COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)


def plot_comparison(
    comparison: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], path: str | pathlib.Path
) -> None:
    """Loss against compute: the best size of each architecture at each budget, with every run behind it.

    Hollow points lie at the edge of the sizes that were tried. Bars are two standard errors over seeds.

    Args:
      comparison: from `compare`.
      rows: of the record.
      path: of the PNG.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2))
        axes = figure.subplots()
        names = sorted({entry["architecture"] for entry in comparison["entries"]})
        for name, colour in zip(names, _colours(len(names))):
            runs = [r for r in rows if r["architecture"] == name and r["status"] == "finished"]
            axes.plot(
                [r["flops"] for r in runs], [r["loss"] for r in runs], ".", ms=3, color=colour, alpha=0.3
            )
            entries = [e for e in comparison["entries"] if e["architecture"] == name]
            x, y = ([entry[key] for entry in entries] for key in ("flops", "loss"))
            axes.errorbar(
                x, y, yerr=[2 * (e["loss_se"] or 0) for e in entries], color=colour, lw=1.4, capsize=2
            )
            axes.plot(x, y, "o", ms=5, color=colour, label=name)
            edge = [(e["flops"], e["loss"]) for e in entries if e["flags"]]
            if edge:
                axes.plot(*zip(*edge), "o", ms=5, mfc="white", mec=colour)
        axes.set(xscale="log", yscale="log", xlabel="training FLOPs", ylabel="validation loss")
        axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.2f"))
        axes.yaxis.set_minor_formatter(mpl.ticker.FormatStrFormatter("%.2f"))
        axes.set_title("the best size of each architecture at equal FLOPs")
        axes.legend()
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _colours(count: int) -> Sequence[Any]:
    return COLOURS[:count] if count <= len(COLOURS) else mpl.colormaps["turbo"](np.linspace(0, 1, count))
