# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates and batches that were tried at one size and number of tokens."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dit_jax.law.bowl import Bowl
from dit_jax.law.hyper import NAMES, Setting
from dit_jax.law.plot.scene import Scene
from dit_jax.law.plot.style import BLACK, BLUE, HALO, MARKS, RED, SHADES, count, legend, log_axis, mark, short
from dit_jax.law.table import Table

MOST_PANELS = 6
LABELS = {"lr": "peak learning rate", "batch": "batch"}
TEXTS = {"lr": short, "batch": count}
RISES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # of the loss above its least, drawn as contours
FAR = 1.25  # times the least loss
MARGIN = np.log(1.7)  # about the cells
POINTS = 80
BEYOND = "falls beyond the grid"


def plot_settings(scene: Scene) -> Figure | None:
    """Losses over lr and batch at each size that was tuned, up to six of them; None where none was.

    The best stands with its 95 % interval, or an arrow at the edge of the grid says where it may lie.
    """
    every = sorted(scene.law.settings, key=lambda one: (one.flops, one.params))
    cells = [(one, scene.at(one.params, one.tokens)) for one in every]
    cells = [(one, runs) for one, runs in cells if _varied(one, runs)]
    if not cells:
        return None
    places = np.linspace(0, len(cells) - 1, min(len(cells), MOST_PANELS)).round().astype(int)
    shown = [cells[i] for i in places]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.4 + 3.2 * columns, 0.8 + 2.9 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (one, runs) in zip(panels, shown):
        _panel(figure, axes, one, runs)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    inside = sum(one.inside for one in every)
    some = f" ({len(shown)} shown)" if len(shown) < len(every) else ""
    figure.suptitle(f"The best lies inside the grid at {inside} of {len(every)} sizes{some}", size=10)
    legend(figure, *panels[: len(shown)], columns=5 if columns > 1 else 2)
    return figure


def _panel(figure: Figure, axes: Axes, one: Setting, runs: Table) -> None:
    names = _varied(one, runs)
    if len(names) == 2:
        _plane(figure, axes, one, runs)
    else:
        _line(axes, one, runs, names[0])
    best = ", ".join(f"{name} {TEXTS[name](value)}" for name, value in one.best.items())
    place = f"$N$ = {count(one.params)}, $D$ = {count(one.tokens)}"
    axes.set_title(f"{place}\n{best or 'best not inside the grid'}", size=9)


def _varied(one: Setting, runs: Table) -> tuple[str, ...]:
    if one.bowl is not None:
        return one.bowl.axes
    columns = {name: getattr(runs, name) for name in NAMES}
    return tuple(name for name, column in columns.items() if column is not None and len({*column}) > 1)


def _ends(one: Setting, runs: Table, name: str) -> Float[np.ndarray, " 2"]:
    """Log of the least and the greatest value tried."""
    if one.bowl is not None:
        return one.bowl.grid[:, one.bowl.axes.index(name)]
    return np.log([getattr(runs, name).min(), getattr(runs, name).max()])


def _plane(figure: Figure, axes: Axes, one: Setting, runs: Table) -> None:
    x, y = (_ends(one, runs, name) + np.array([-MARGIN, MARGIN]) for name in NAMES)
    axes.set(xscale="log", yscale="log", xlim=np.exp(x), ylim=np.exp(y))
    norm = Normalize(runs.loss.min(), _ceiling(runs))
    cells = axes.scatter(
        runs.lr, runs.batch, c=runs.loss, norm=norm, cmap=SHADES, s=60, marker="s", lw=0, label="runs"
    )
    bar = figure.colorbar(cells, ax=axes, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    bar.set_label("loss", size=8)
    if one.bowl is not None:
        _contours(axes, one.bowl, x, y)
    least = np.argmin(runs.loss)
    mark(axes, "best run", runs.lr[least], runs.batch[least])
    if one.inside:
        center = one.best["lr"], one.best["batch"]
        axes.plot(one.ci95["lr"], [center[1]] * 2, color=RED)
        axes.plot([center[0]] * 2, one.ci95["batch"], color=RED, label="95 % interval")
        mark(axes, "best", *center)
    elif one.bowl is not None:
        _arrow(axes, one.bowl)
    axes.set(xlabel=LABELS["lr"], ylabel=LABELS["batch"])
    _few_ticks(axes.xaxis, TEXTS["lr"])
    _few_ticks(axes.yaxis, TEXTS["batch"])


def _ceiling(runs: Table) -> float:
    """The greatest loss shown: diverged runs would leave the others one colour."""
    return float(min(runs.loss.max(), FAR * runs.loss.min()))


def _contours(axes: Axes, bowl: Bowl, x: np.ndarray, y: np.ndarray) -> None:
    lr, batch = np.meshgrid(np.exp(np.linspace(*x, POINTS)), np.exp(np.linspace(*y, POINTS)))
    loss = bowl.loss({"lr": lr.ravel(), "batch": batch.ravel()}).reshape(lr.shape)
    rises = loss / bowl.bottom - 1
    lines = axes.contour(lr, batch, rises, RISES, colors="0.35", linewidths=0.9, zorder=3)
    for text in axes.clabel(lines, fmt=lambda rise: f"+{100 * rise:g} %", fontsize=7):
        text.set_path_effects(HALO)


def _arrow(axes: Axes, bowl: Bowl) -> None:
    """From the edge of the grid towards where the quadratic falls."""
    start = np.clip(bowl.vertex, *bowl.grid)
    way = bowl.vertex - start
    if not way.any():
        return
    axes.plot([], [], lw=0, label=BEYOND, **MARKS[BEYOND])
    end = start + 0.9 * MARGIN * way / np.abs(way).max()
    arrow = dict(arrowstyle="-|>", color=RED, lw=1.8, shrinkA=0, shrinkB=0, mutation_scale=14)
    axes.annotate("", np.exp(end), np.exp(start), arrowprops=arrow, zorder=6)


def _line(axes: Axes, one: Setting, runs: Table, name: str) -> None:
    values = getattr(runs, name)
    mark(axes, "runs", values, runs.loss, color=BLACK)
    ends = _ends(one, runs, name)
    if one.bowl is not None:
        along = np.exp(np.linspace(*ends, POINTS))
        axes.plot(along, one.bowl.loss({name: along}), color=BLUE, label="quadratic")
    low, high = runs.loss.min(), _ceiling(runs)
    axes.set(xscale="log", ylim=(low - 0.15 * (high - low), high + 0.1 * (high - low)))
    if one.inside:
        axes.axvspan(*one.ci95[name], color=RED, alpha=0.15, lw=0, label="95 % interval")
        mark(axes, "best", one.best[name], one.loss)
    elif one.bowl is not None:
        above = one.bowl.vertex[0] >= ends[1]
        mark(axes, BEYOND, np.exp(ends[int(above)]), low, marker=">" if above else "<")
    axes.set(xlabel=LABELS[name], ylabel="validation loss")
    _few_ticks(axes.xaxis, TEXTS[name])


def _few_ticks(axis: Axis, text: Callable[[float], str]) -> None:
    log_axis(axis, text)
    if axis.axis_name == "x":
        axis.set_tick_params(labelsize=8)
