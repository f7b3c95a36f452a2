# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The one look of all plots: colours, markers, numbers on axes, and legends that cover nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}
# Okabe and Ito's, which the colour-blind tell apart
BLUE, RED, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
BLACK, GREY = "0.15", "0.62"
# without its yellow, which is hard to see on white
SHADES = mpl.colors.ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.9, 256)))
MARKS: Mapping[str, Mapping[str, Any]] = {
    "runs": dict(marker="o", ms=4, mew=0, color=GREY),
    "not fitted": dict(marker="o", ms=5, mfc="white", mec=RED, mew=1.2),
    "left out": dict(marker="x", ms=5, mec=BLACK, mew=1.2, clip_on=False, zorder=5),
    "other lr or batch": dict(marker=".", ms=4, mew=0, color="0.8", zorder=1),
    "held out": dict(marker="*", ms=13, color=RED, mec="white", mew=0.6, zorder=6),
    "next run": dict(marker="P", ms=8, color=ORANGE, mec="black", mew=0.7, zorder=6),
    "best of a budget": dict(marker="D", ms=5.5, mfc=RED, mec=RED, mew=1.2, zorder=4),
    "best of a budget, flagged": dict(marker="D", ms=5.5, mfc="white", mec=RED, mew=1.2, zorder=4),
    "suspect": dict(marker="s", ms=8, mfc="none", mec=RED, mew=1.2, zorder=5),
    "best": dict(marker="*", ms=13, color=RED, mec="white", mew=0.6, zorder=6),
    "falls beyond the grid": dict(marker=">", ms=7, color=RED, mew=0, zorder=6),
    "best run": dict(marker="s", ms=10, mfc="none", mec=BLACK, mew=1.2, zorder=5),
    "predicted": dict(marker="s", ms=4.5, color=BLUE, mec="white", mew=0.5, zorder=5),
}
HALO = (withStroke(linewidth=2.5, foreground="white"),)


def mark(axes: Axes, kind: str, x: Any, y: Any, label: str | None = None, **changes: Any) -> None:
    """Points of a kind in `MARKS`, which is also their label; nothing where there are none."""
    if np.size(x):
        axes.plot(x, y, lw=0, label=label or kind, **{**MARKS[kind], **changes})


def count(value: float) -> str:
    """A number of parameters or tokens, as people say it: 1.07B."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit * 0.9995 <= value < 1e15:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}" if value < 1e3 and value >= 0.1 else power(value)


def percent(fraction: float) -> str:
    """Two digits of it, unless it is rounding."""
    return f"{100 * fraction:.2g} %" if fraction >= 1e-5 else "below 0.001 %"


def power(value: float) -> str:
    """A number as a power of ten, in mathtext."""
    mantissa, exponent = f"{value:.1e}".split("e")
    mantissa = mantissa.removesuffix(".0")
    front = "" if mantissa == "1" else rf"{mantissa}\times"
    return rf"${front}10^{{{int(exponent)}}}$"


def short(value: float) -> str:
    """A small number as it is typed: 2e-4."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def log_axis(axis: Axis, text: Callable[[float], str] = power) -> None:
    """Powers of ten, with steps between them where there are few; call it when the data are drawn."""
    decades = np.log10(np.divide(*reversed(axis.get_view_interval())))
    subs = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0,)
    ticks = LogLocator(subs=subs, numticks=9) if decades > 0.8 else MaxNLocator(4, steps=[1, 2, 5, 10])
    axis.set_major_locator(ticks)
    axis.set_minor_locator(LogLocator(subs=np.arange(2.0, 10.0), numticks=99))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def loss_axis(axis: Axis, shown: Float[np.ndarray, " values"], margin: float = 0.05) -> None:
    """A log axis with plain numbers: losses span less than a decade or two. Linear where one is negative."""
    if not len(shown) or not (shown > 0).all():
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    reach = max(shown.max() / shown.min(), 1.02) ** margin
    axis.axes.set(**{f"{axis.axis_name}lim": (shown.min() / reach, shown.max() * reach)})
    axis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def shades(flops: Float[np.ndarray, " budgets"]) -> ScalarMappable:
    """A colour for every budget, and the colour bar's scale."""
    low, high = (flops.min(), flops.max()) if len(flops) else (1.0, 10.0)
    low, high = (low / 2, high * 2) if high < 1.2 * low else (low, high)
    return ScalarMappable(LogNorm(low, high), SHADES)


def colour_bar(figure: Figure, axes: Axes, scale: ScalarMappable, label: str = "training FLOPs") -> None:
    bar = figure.colorbar(scale, ax=axes, label=label, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    log_axis(bar.ax.yaxis)


def legend(figure: Figure, *axes: Axes, columns: int = 4) -> None:
    """Below the axes, one entry for each label."""
    found = {name: handle for one in axes for handle, name in zip(*one.get_legend_handles_labels())}
    if found:
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=min(columns, len(found))
        )
