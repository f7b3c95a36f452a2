# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets: the loss over sizes at each, the loss of the best, and how to split it into size and tokens."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dit_jax.law.flags import interval95
from dit_jax.law.plot.scene import Scene, flagged
from dit_jax.law.plot.style import (
    BLUE,
    colour_bar,
    count,
    legend,
    log_axis,
    loss_axis,
    mark,
    power,
    shades,
)
from dit_jax.law.slices import SAME_BUDGET, Slice

FAR = 1.5  # times the greatest loss fitted: a poor lr need not be shown beyond it
SYMBOLS = {"params": ("N", "a", "active parameters"), "tokens": ("D", "b", "tokens")}


def plot_isoflop(scene: Scene) -> Figure:
    """Loss against size on every budget, with its curve and best size; hollow where that is flagged."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.subplots()
    scale = shades(scene.runs.flops)
    axes.scatter(scene.runs.params, scene.runs.loss, s=16, lw=0, c=scale.to_rgba(scene.runs.flops))
    for one in scene.law.isoflop.vertices:
        _curve(axes, scene, one, scale.to_rgba(one.flops))
    shown = _others(axes, scene, "params")
    for doubted, kind in ((False, "best of a budget"), (True, "best of a budget, flagged")):
        found = [one.vertex for one in scene.budgets if flagged(one) == doubted]
        mark(axes, kind, *np.exp(np.reshape(found, (-1, 3))[:, [0, 2]]).T)
    if len(scene.runs):
        colour_bar(figure, axes, scale)
    axes.set_title(scene.title(f"Loss against size on each budget{_exponent(scene, 'params')}"))
    axes.set(xscale="log", xlabel="active parameters", ylabel="validation loss")
    _room(axes, scene.runs.params)
    log_axis(axes.xaxis, count)
    loss_axis(axes.yaxis, shown)
    legend(figure, axes)
    return figure


def plot_loss_compute(scene: Scene) -> Figure:
    """All runs, the best of each budget, the prediction with its 95 % band, and a held-out run if made."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.subplots()
    mark(axes, "runs", scene.runs.flops, scene.runs.loss)
    shown = [_others(axes, scene, "flops")]
    if scene.law.extrapolation is not None:
        shown += _extrapolation(axes, scene)
    _marked(axes, scene)
    _room(axes, scene.runs.flops)
    axes.set_title(scene.title(_forecast(scene)))
    axes.set(xscale="log", xlabel="training FLOPs", ylabel="validation loss")
    log_axis(axes.xaxis)
    loss_axis(axes.yaxis, np.concatenate(shown))
    legend(figure, axes)
    return figure


def plot_allocation(scene: Scene) -> Figure:
    """The best size and its tokens for every budget, with 95 % bands and the predicted budgets."""
    figure = Figure(figsize=(8.4, 3.8))
    both = figure.subplots(1, 2)
    for column, (axes, (key, (_, _, name))) in enumerate(zip(both, SYMBOLS.items())):
        mark(axes, "runs", scene.runs.flops, getattr(scene.runs, key))
        mark(axes, "not fitted", scene.unseen.flops, getattr(scene.unseen, key))
        if len(scene.runs) and scene.law.optimum(1.0) is not None:
            _allocation(axes, scene, column)
        _optima(axes, scene, key, column)
        _room(axes, scene.runs.flops)
        axes.set_title(scene.title(f"Best {name}{_exponent(scene, key)}"))
        axes.set(xscale="log", yscale="log", xlabel="training FLOPs", ylabel=name)
        log_axis(axes.xaxis)
        log_axis(axes.yaxis, count)
    legend(figure, *both, columns=6)
    return figure


def _curve(axes: Axes, scene: Scene, one: Slice, shade: tuple[float, ...]) -> None:
    if one.curve is not None:
        near = np.log(scene.runs.params[one.curve_rows])
        log_params = np.linspace(near.min(), near.max(), 100)
        axes.plot(np.exp(log_params), one.curve(log_params), color=shade)


def _others(axes: Axes, scene: Scene, key: str) -> Float[np.ndarray, " runs"]:
    """Runs that were not fitted; those left out that are off the others' scale stand at the top edge.

    Returns:
      The losses that the axis must have room for.
    """
    for kind, table in (("other lr or batch", scene.untuned), ("not fitted", scene.unseen)):
        mark(axes, kind, getattr(table, key), table.loss)
    shown = np.concatenate([scene.runs.loss, scene.unseen.loss])
    near = scene.untuned.loss[scene.untuned.loss < FAR * shown.max(initial=0.0)]
    shown = np.concatenate([shown, near])
    top = shown.max(initial=0.0)
    mark(axes, "left out", getattr(scene.left_out, key), np.minimum(scene.left_out.loss, top))
    return shown


def _extrapolation(axes: Axes, scene: Scene) -> list[np.ndarray]:
    fit = scene.law
    first = fit.frontier.x[0] if len(fit.frontier.x) else -np.inf
    log_flops = scene.reach[scene.reach >= first]
    at = fit.extrapolation.predict(log_flops)
    low, high = np.exp(at.interval95())
    flops, loss = np.exp(log_flops), np.exp(at.mean)
    _band(axes, flops, low, high, "95 % prediction interval")
    inside = log_flops <= fit.extrapolation.last
    axes.plot(flops[inside], loss[inside], color=BLUE, label="law")
    axes.plot(flops[~inside], loss[~inside], "--", color=BLUE)
    best = np.exp(fit.frontier.x), np.exp(fit.frontier.y[0])
    mark(axes, "predicted", *best, "best of a budget", marker="o", ms=5, mfc="white", mec=BLUE, mew=1.4)
    return [low, high]


def _band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, label: str) -> None:
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, lw=0, label=label)


def _marked(axes: Axes, scene: Scene) -> None:
    for one in scene.document["predictions"]:
        axes.plot([one["flops"]] * 2, one["loss_pi95"], color=BLUE, lw=1)
        mark(axes, "predicted", one["flops"], one["loss"])
    heldout = scene.document["heldout"]
    if heldout:
        mark(axes, "held out", heldout["flops"], heldout["loss_measured"])


def _forecast(scene: Scene) -> str:
    heldout, ahead = scene.document["heldout"], scene.document["predictions"]
    if heldout:
        measured, at = f"{heldout['loss_measured']:#.4g} measured", heldout
    elif ahead:
        measured, at = None, {"loss_predicted": ahead[-1]["loss"], **ahead[-1]}
    else:
        return "Loss against compute"
    low, high = at["loss_pi95"]
    said = (
        f"Loss {at['loss_predicted']:#.4g} [{low:#.4g}, {high:#.4g}] predicted at {power(at['flops'])} FLOPs"
    )
    return f"{said}, {measured}" if measured else said


def _allocation(axes: Axes, scene: Scene, column: int) -> None:
    flops = np.exp(scene.reach)
    optima = [scene.law.optimum(float(one)) for one in flops]
    low, high = np.exp([interval95(draws[:, column]) for _, draws in optima]).T
    _band(axes, flops, low, high, "95 % interval")
    axes.plot(flops, np.exp([best[column] for best, _ in optima]), color=BLUE, label="law")


def _optima(axes: Axes, scene: Scene, key: str, column: int) -> None:
    for doubted, kind in ((False, "best of a budget"), (True, "best of a budget, flagged")):
        found = [(one.flops, np.exp(one.vertex[column])) for one in scene.budgets if flagged(one) == doubted]
        mark(axes, kind, *np.reshape(found, (-1, 2)).T)
    targets = [(one["flops"], one[key]) for one in scene.document["predictions"] if one[key] is not None]
    mark(axes, "predicted", *np.reshape(targets, (-1, 2)).T)


def _exponent(scene: Scene, key: str) -> str:
    """Of the method that `Law.optimum` uses, with its 95 % interval."""
    letter, name, _ = SYMBOLS[key]
    for method in ("isoflop", "parametric"):
        found = scene.document["methods"][method]
        if found["exponents"]:
            low, high = found["exponents_ci95"][name]
            return f": ${letter}^* \\propto C^{{{found['exponents'][name]:.2f}}}$ [{low:.2f}, {high:.2f}]"
    return ""


def _room(axes: Axes, values: Float[np.ndarray, " runs"]) -> None:
    """A single value has no extent of its own, and no run no place on a log axis."""
    if not len(values):
        axes.set(xlim=(1, 10), ylim=(1, 10))
        axes.text(0.5, 0.5, "no runs", transform=axes.transAxes, ha="center")
    elif np.ptp(np.log(values)) < SAME_BUDGET:
        axes.set_xlim(min(values.min() / 12, axes.get_xlim()[0]), max(values.max() * 12, axes.get_xlim()[1]))
