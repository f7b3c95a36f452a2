# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Laws tried on budgets they had not seen."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from dit_jax.law.extrapolate import Candidate
from dit_jax.law.plot.scene import NAMES, Scene
from dit_jax.law.plot.style import BLACK, log_axis, percent, shades

MOST_PANELS = 6


def plot_holdout(scene: Scene) -> Figure | None:
    """What each law, fitted below a cut, missed on the budgets above; None without a prediction or cuts.

    A line starts on zero at its cut, so its length is the distance of the prediction.
    """
    if scene.law.extrapolation is None or not (found := _candidates(scene)):
        return None
    columns = {1: 1, 2: 2, 4: 2}.get(len(found), 3)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(max(1.0 + 2.7 * columns, 4.6), 1.0 + 2.2 * rows))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    scale = shades(np.exp(np.concatenate([one.errors.cut for one in found])))
    weights = scene.law.extrapolation.weights
    for axes, one in zip(panels.flat, found):
        _panel(axes, one, scale)
        weight = f"weight {weights[one.name]:.2f}" if one.name in weights else "not used"
        axes.set_title(f"{_name(scene, one)}\nrmse {percent(one.errors.rmse)}, {weight}", size=9)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(len(found) - columns, 0) : len(found)]:
        axes.tick_params(labelbottom=True)  # also above a place left empty
    log_axis(panels.flat[0].xaxis)
    figure.supxlabel("FLOPs of the budget predicted; a line starts at its cut", size=9)
    figure.supylabel("measured above predicted loss, %", size=9)
    figure.suptitle("What laws fitted below a cut missed above it", size=10)
    return figure


def _candidates(scene: Scene) -> list[Candidate]:
    """Those in use first, none twice."""
    every = {one.name: one for one in (*scene.law.extrapolation.candidates, *scene.law.tried.values())}
    return [one for one in every.values() if len(one.errors.cut)][:MOST_PANELS]


def _panel(axes: Axes, one: Candidate, scale: ScalarMappable) -> None:
    axes.axhline(0, color=BLACK, lw=0.8)
    for cut in np.unique(one.errors.cut):
        errors = one.errors.at([cut])
        order = np.argsort(errors.distance)
        x = np.exp(np.append(cut, cut + errors.distance[order]))
        y = 100 * np.expm1(np.append(0.0, errors.error[order]))
        axes.plot(x, y, "o-", color=scale.to_rgba(np.exp(cut)), ms=4, markevery=slice(1, None))
        axes.plot(x[0], 0, "|", color=scale.to_rgba(np.exp(cut)), ms=8, mew=1.5)
    axes.set_xscale("log")


def _name(scene: Scene, one: Candidate) -> str:
    return NAMES[scene.law.parametric.form.name if one.name == "parametric" else one.name]
