# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a law: isoFLOP curves, loss against compute, and how to spend a budget.

Each takes the runs, the `law_json` document made of them, and the PNG to write. Runs of the held-out
budget may be among them: they are shown, and not fitted. A refused law still shows its runs.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dit_jax.law.flags import NOTES, interval95
from dit_jax.law.predict import Law, fit_law
from dit_jax.law.slices import SAME_BUDGET, Slice
from dit_jax.law.table import Table

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
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
    "legend.title_fontsize": 8,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
}
RED, BLUE, GREY = "#c1272d", "#0f5e9c", "0.7"


def plot_all(table: Table, law: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
    """Writes `isoflop.png`, `loss_compute.png` and `allocation.png` into a folder, which is made."""
    folder = pathlib.Path(folder)
    plot_isoflop(table, law, folder / "isoflop.png")
    plot_loss_compute(table, law, folder / "loss_compute.png")
    plot_allocation(table, law, folder / "allocation.png")


def plot_isoflop(table: Table, law: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Loss against size on every budget, with its parabola and vertex; hollow where the vertex is flagged."""
    fit = _fit(table, _heldout_flops(law))
    with _figure(path, (6.4, 4.2)) as figure:
        axes = figure.subplots()
        shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.86, max(len(fit.isoflop.vertices), 2)))
        for one, shade in zip(fit.isoflop.vertices, shades):
            _budget(axes, fit.table, one, shade)
        beyond = table.flops > fit.table.flops.max(initial=0) * np.exp(SAME_BUDGET)
        if beyond.any():
            axes.plot(table.params[beyond], table.loss[beyond], "o", ms=4, color=GREY, mew=0, label="held out")
        for one in fit.isoflop.vertices:
            face = "white" if set(one.flags) - NOTES else RED
            axes.plot(*np.exp(one.vertex[[0, 2]]), "D", ms=6, mfc=face, mec=RED, mew=1.2, zorder=4)
        axes.set(xscale="log", xlabel="active parameters", ylabel="validation loss", title=_title("Loss against size, budget by budget", law))
        axes.plot([], [], "D", ms=6, mfc=RED, mec=RED, label="best size")
        if any(set(one.flags) - NOTES for one in fit.isoflop.vertices):
            axes.plot([], [], "D", ms=6, mfc="white", mec=RED, label="flagged")
        axes.legend(title="FLOPs", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        _plain_log(axes, axes.yaxis, table.loss)


def plot_loss_compute(table: Table, law: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """All runs, the best of each budget, the extrapolation with its 95 % band, and a held-out run where made."""
    fit = _fit(table, _heldout_flops(law))
    with _figure(path, (6.4, 4.2)) as figure:
        axes = figure.subplots()
        axes.plot(table.flops, table.loss, "o", ms=3.5, color=GREY, mew=0, label="runs")
        shown = [table.loss]
        if fit.extrapolation is not None:
            shown += _extrapolation(axes, fit, _reach(table, law))
        _marked(axes, law)
        axes.set(xscale="log", xlabel="training FLOPs", ylabel="validation loss", title=_title("Loss against compute", law))
        axes.legend(loc="lower left")
        _plain_log(axes, axes.yaxis, np.concatenate(shown))


def plot_allocation(table: Table, law: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """The best size and its tokens for every budget, with 95 % bands and the predicted budgets."""
    fit = _fit(table, _heldout_flops(law))
    with _figure(path, (8.4, 3.2)) as figure:
        both = figure.subplots(1, 2)
        for i, (axes, key, name) in enumerate(zip(both, ("params", "tokens"), ("active parameters", "tokens"))):
            axes.plot(table.flops, getattr(table, key), "o", ms=3.5, color=GREY, mew=0, label="runs")
            if fit.optimum(1.0) is not None:
                _allocation(axes, fit, _reach(table, law), i)
            _optima(axes, law, key)
            title = f"Best {name}{_exponent(law, 'ab'[i])}"
            axes.set(xscale="log", yscale="log", xlabel="training FLOPs", ylabel=name, title=title)
            axes.margins(x=0.08)
        figure.legend(*both[0].get_legend_handles_labels(), loc="outside right upper")


@functools.lru_cache(maxsize=2)  # the three figures of a sweep share one fit
def _fit(table: Table, heldout_flops: float) -> Law:
    return fit_law(table.select(np.log(table.flops) < np.log(heldout_flops) - SAME_BUDGET))


def _heldout_flops(law: Mapping[str, Any]) -> float:
    return law["heldout"]["flops"] if law.get("heldout") else np.inf


@contextlib.contextmanager
def _figure(path: str | os.PathLike[str], size: tuple[float, float]) -> Iterator[Figure]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)  # without pyplot the canvas is Agg, and nothing is kept open
        yield figure
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")


def _budget(axes: Axes, table: Table, one: Slice, shade: Sequence[float]) -> None:
    axes.plot(table.params[one.rows], table.loss[one.rows], "o", ms=4, color=shade, mew=0, label=f"{one.flops:.2g}")
    if one.parabola is not None:
        near = np.log(table.params[one.parabola.rows])
        log_params = np.linspace(near.min(), near.max(), 100)
        axes.plot(np.exp(log_params), one.parabola.loss(log_params), color=shade)


def _extrapolation(axes: Axes, fit: Law, log_flops: Float[np.ndarray, " points"]) -> list[np.ndarray]:
    at = fit.extrapolation.predict(log_flops)
    low, high = np.exp(at.interval95())
    beyond = log_flops >= np.log(fit.table.flops.max())
    axes.fill_between(np.exp(log_flops), low, high, color=BLUE, alpha=0.15, lw=0, label="95 % prediction interval")
    axes.plot(np.exp(log_flops[~beyond]), np.exp(at.mean[~beyond]), color=BLUE, label="law")
    axes.plot(np.exp(log_flops[beyond]), np.exp(at.mean[beyond]), "--", color=BLUE)
    if len(fit.frontier.x):
        best = np.exp(fit.frontier.x), np.exp(fit.frontier.y[0])
        axes.plot(*best, "o", ms=5, mfc="white", mec=BLUE, mew=1.4, label="best of a budget")
    return [low, high]


def _marked(axes: Axes, law: Mapping[str, Any]) -> None:
    for i, one in enumerate(law["predictions"]):
        ends = [[one["loss"] - one["loss_pi95"][0]], [one["loss_pi95"][1] - one["loss"]]]
        label = "predicted" if i == 0 else None
        axes.errorbar(one["flops"], one["loss"], ends, fmt="s", ms=4, color=BLUE, capsize=3, lw=1, label=label)
    heldout = law.get("heldout")
    if heldout and heldout["loss_measured"] is not None:
        label = f"held out: {heldout['loss_measured']:.3g}, predicted {heldout['loss_predicted']:.3g}"
        point = heldout["flops"], heldout["loss_measured"]
        axes.plot(*point, "*", ms=13, color=RED, mec="white", mew=0.6, zorder=5, label=label)


def _allocation(axes: Axes, fit: Law, log_flops: Float[np.ndarray, " points"], column: int) -> None:
    optima = [fit.optimum(float(np.exp(x))) for x in log_flops]
    bands = np.exp([interval95(draws[:, column]) for _, draws in optima])
    flops = np.exp(log_flops)
    axes.fill_between(flops, *bands.T, color=BLUE, alpha=0.15, lw=0, label="95 % interval")
    axes.plot(flops, np.exp([best[column] for best, _ in optima]), color=BLUE, label="law")


def _optima(axes: Axes, law: Mapping[str, Any], key: str) -> None:
    for flagged, face, label in ((False, RED, "best of a budget"), (True, "white", "the same, flagged")):
        found = [v for v in law["methods"]["isoflop"]["vertices"] if bool(set(v["flags"]) - NOTES) == flagged]
        if found:
            values = [v["flops"] for v in found], [v[key] for v in found]
            axes.plot(*values, "D", ms=5, mfc=face, mec=RED, mew=1.2, lw=0, label=label)
    targets = [one for one in law["predictions"] if one[key] is not None]
    if targets:
        values = [one["flops"] for one in targets], [one[key] for one in targets]
        axes.plot(*values, "s", ms=4, color=BLUE, label="predicted")


def _exponent(law: Mapping[str, Any], name: str) -> str:
    for method in ("isoflop", "parametric"):
        found = law["methods"][method]["exponents"]
        if found:
            low, high = law["methods"][method]["exponents_ci95"][name]
            return f" $\\propto C^{{{found[name]:.2f}}}$  [{low:.2f}, {high:.2f}]"
    return ""


def _reach(table: Table, law: Mapping[str, Any]) -> Float[np.ndarray, " points"]:
    """Log FLOPs from the first run to the last budget asked about."""
    ahead = [one["flops"] for one in law["predictions"]]
    ahead += [law["heldout"]["flops"]] if law.get("heldout") else []
    return np.linspace(np.log(table.flops.min()), np.log(max([table.flops.max(), *ahead])), 120)


def _title(what: str, law: Mapping[str, Any]) -> str:
    return what if law["status"] != "refused" else f"{what} (no law: {', '.join(law['flags'])})"


def _plain_log(axes: Axes, axis: Axis, shown: Float[np.ndarray, " values"]) -> None:
    """A log axis with plain numbers: a loss spans less than a decade or two."""
    if not (shown > 0).all():
        return
    axes.set_yscale("log")
    axes.set_ylim(shown.min() * 0.95, shown.max() * 1.05)
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
