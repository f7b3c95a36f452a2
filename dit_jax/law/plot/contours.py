# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The fitted surface over size and tokens."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dit_jax.law.plot.scene import NAMES, Scene
from dit_jax.law.plot.style import BLACK, GREY, HALO, RED, SHADES, count, legend, log_axis, mark, power

POINTS = 120  # of a grid, each way
MARGIN = 1.4  # times the least and the greatest run
MOST_BUDGETS = 9  # drawn, else one a decade
LEVELS = 11


def plot_contours(scene: Scene) -> Figure | None:
    """Lines of equal loss over size and tokens, budgets, the best size of each, and the next run.

    None where no surface over sizes was fitted.
    """
    surface = scene.law.parametric.best
    if surface is None or surface.optimum(1.0)[0] is None:
        return None
    figure = Figure(figsize=(6.4, 5.0))
    axes = figure.subplots()
    ahead = scene.document["next_run"]
    ahead = ahead if ahead and ahead["params"] else None
    x, y = (_span(scene, key, ahead) for key in ("params", "tokens"))
    axes.set(xscale="log", yscale="log", xlim=np.exp(x), ylim=np.exp(y))
    _iso_loss(axes, scene, x, y)
    _diagonals(axes, scene, x, y)
    _frontier(axes, scene)
    axes.scatter(scene.runs.params, scene.runs.tokens, s=9, c=BLACK, lw=0, zorder=3, label="runs")
    mark(axes, "not fitted", scene.unseen.params, scene.unseen.tokens)
    mark(axes, "left out", scene.left_out.params, scene.left_out.tokens)
    if ahead:
        mark(axes, "next run", ahead["params"], ahead["tokens"], "proposed next run")
    axes.set_title(f"Loss over size and tokens, by {NAMES[surface.form.name]}")
    axes.set(xlabel="active parameters", ylabel="tokens")
    axes.grid(False)
    log_axis(axes.xaxis, count)
    log_axis(axes.yaxis, count)
    legend(figure, axes)
    return figure


def _span(scene: Scene, key: str, ahead: Mapping[str, float] | None) -> Float[np.ndarray, " 2"]:
    values = [*getattr(scene.runs, key), *getattr(scene.unseen, key), *([ahead[key]] if ahead else [])]
    return np.log([min(values) / MARGIN, max(values) * MARGIN])


def _iso_loss(axes: Axes, scene: Scene, x: np.ndarray, y: np.ndarray) -> None:
    n, d = np.meshgrid(np.linspace(*x, POINTS), np.linspace(*y, POINTS))
    loss = scene.law.parametric.best.loss(n.ravel(), d.ravel())[0].reshape(n.shape)
    found = np.concatenate([[loss.min()], scene.runs.loss])
    ends = np.log(found.min()), np.log(np.quantile(found, 0.98))
    levels = np.exp(np.linspace(*ends, LEVELS))
    rounded = np.unique([float(f"{level:.2g}") for level in levels])
    levels = rounded if 2 * len(rounded) > LEVELS else levels
    lines = axes.contour(np.exp(n), np.exp(d), loss, levels, cmap=SHADES, linewidths=1.3)
    for text in axes.clabel(lines, fmt="%.4g", fontsize=8):
        text.set_path_effects(HALO)


def _diagonals(axes: Axes, scene: Scene, x: np.ndarray, y: np.ndarray) -> None:
    """Where budgets lie, each named at its upper end, where lines of equal loss are steep."""
    t0, t1, t2 = scene.law.parametric.best.tokens_at
    ends = np.linspace(*x, 400)
    for i, one in enumerate(_shown_budgets(scene)):
        tokens = t0 + t1 * np.log(one) + t2 * ends
        inside = (tokens > y[0]) & (tokens < y[1])
        label = "budgets, FLOPs" if i == 0 else None
        axes.plot(np.exp(ends), np.exp(tokens), ":", color=GREY, lw=1, zorder=1, label=label)
        if inside.sum() > 40:
            at = np.flatnonzero(inside)[8]
            text = axes.text(
                np.exp(ends[at]), np.exp(tokens[at]), power(one), size=7.5, color="0.4", va="center"
            )
            text.set_path_effects(HALO)


def _shown_budgets(scene: Scene) -> Float[np.ndarray, " budgets"]:
    flops = np.array([one.flops for one in scene.budgets])
    if 0 < len(flops) <= MOST_BUDGETS:
        return flops
    low, high = np.log10([scene.runs.flops.min(), scene.runs.flops.max()])
    return 10.0 ** np.arange(np.ceil(low), high + 1)


def _frontier(axes: Axes, scene: Scene) -> None:
    surface = scene.law.parametric.best
    ends = np.log([scene.runs.flops.min() / 30, scene.runs.flops.max() * 1000])
    best = np.concatenate([surface.optimum(float(np.exp(c)))[0] for c in np.linspace(*ends, 40)])
    axes.plot(*np.exp(best).T, color=RED, lw=1.8, label="best split")
