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
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
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
    slices = fit.isoflop.vertices
    with _figure(path, (6.4, 4.2)) as figure:
        axes = figure.subplots()
        shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.86, max(len(slices), 2)))
        for one, shade in zip(slices, shades):
            _budget(axes, fit.table, one, shade)
        others = table.flops > fit.table.flops.max(initial=0) if slices else table.flops > 0
        if others.any():
            _dots(axes, table.params[others], table.loss[others], label="not fitted")
        for flagged, face, label in ((False, RED, "best size"), (True, "white", "the same, flagged")):
            found = [np.exp(one.vertex[[0, 2]]) for one in slices if bool(set(one.flags) - NOTES) == flagged]
            if found:
                _diamonds(axes, *np.transpose(found), face, label)
        if len(table):
            axes.legend(title="FLOPs", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.set_title(_title("Loss against size, budget by budget", law))
        axes.set(xscale="log", xlabel="active parameters", ylabel="validation loss")
        axes.xaxis.set_minor_locator(mpl.ticker.LogLocator(subs=(2.0, 5.0)))  # more labels would overlap
        _plain_log(axes, table.loss)


def plot_loss_compute(table: Table, law: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """All runs, the best of each budget, the prediction with its 95 % band, and a held-out run if made."""
    fit = _fit(table, _heldout_flops(law))
    with _figure(path, (6.4, 4.2)) as figure:
        axes = figure.subplots()
        _dots(axes, table.flops, table.loss)
        shown = [table.loss]
        if fit.extrapolation is not None:
            first = fit.frontier.x[0] if len(fit.frontier.x) else -np.inf
            log_flops = _reach(table, law)
            shown += _extrapolation(axes, fit, log_flops[log_flops >= first])
        _marked(axes, law)
        _room(axes, table.flops)
        axes.set_title(_title("Loss against compute", law))
        axes.set(xscale="log", xlabel="training FLOPs", ylabel="validation loss")
        axes.legend(loc="lower left")
        _plain_log(axes, np.concatenate(shown))


def plot_allocation(table: Table, law: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """The best size and its tokens for every budget, with 95 % bands and the predicted budgets."""
    fit = _fit(table, _heldout_flops(law))
    with _figure(path, (8.4, 3.2)) as figure:
        both = figure.subplots(1, 2)
        for i, (key, name) in enumerate((("params", "active parameters"), ("tokens", "tokens"))):
            axes = both[i]
            _dots(axes, table.flops, getattr(table, key))
            if fit.optimum(1.0) is not None:
                _allocation(axes, fit, _reach(table, law), i)
            _optima(axes, law, key)
            _room(axes, table.flops)
            axes.set_title(f"Best {name}{_exponent(law, 'ab'[i])}")
            axes.set(xscale="log", yscale="log", xlabel="training FLOPs", ylabel=name)
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


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray, color: Any = GREY, label: str = "runs") -> None:
    axes.plot(x, y, "o", ms=4, color=color, mew=0, label=label)


def _diamonds(axes: Axes, x: np.ndarray, y: np.ndarray, face: str, label: str) -> None:
    axes.plot(x, y, "D", ms=5.5, mfc=face, mec=RED, mew=1.2, lw=0, zorder=4, label=label)


def _budget(axes: Axes, table: Table, one: Slice, shade: Float[np.ndarray, " 4"]) -> None:
    _dots(axes, table.params[one.rows], table.loss[one.rows], shade, f"{one.flops:.2g}")
    if one.parabola is not None:
        near = np.log(table.params[one.parabola.rows])
        log_params = np.linspace(near.min(), near.max(), 100)
        axes.plot(np.exp(log_params), one.parabola.loss(log_params), color=shade)


def _extrapolation(axes: Axes, fit: Law, log_flops: Float[np.ndarray, " points"]) -> list[np.ndarray]:
    at = fit.extrapolation.predict(log_flops)
    low, high = np.exp(at.interval95())
    flops, loss = np.exp(log_flops), np.exp(at.mean)
    _band(axes, flops, low, high, "95 % prediction interval")
    inside = log_flops <= fit.extrapolation.last
    axes.plot(flops[inside], loss[inside], color=BLUE, label="law")
    axes.plot(flops[~inside], loss[~inside], "--", color=BLUE)
    if len(fit.frontier.x):
        best = np.exp(fit.frontier.x), np.exp(fit.frontier.y[0])
        axes.plot(*best, "o", ms=5, lw=0, mfc="white", mec=BLUE, mew=1.4, label="best of a budget")
    return [low, high]


def _band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, label: str) -> None:
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, lw=0, label=label)


def _marked(axes: Axes, law: Mapping[str, Any]) -> None:
    for i, one in enumerate(law["predictions"]):
        ends = [[one["loss"] - one["loss_pi95"][0]], [one["loss_pi95"][1] - one["loss"]]]
        bar = axes.errorbar(one["flops"], one["loss"], ends, fmt="s", ms=4, color=BLUE, capsize=3, lw=1)
        bar.set_label("predicted" if i == 0 else "")
    heldout = law.get("heldout")
    if heldout and heldout["loss_measured"] is not None:
        label = f"held out: {heldout['loss_measured']:.3g}, predicted {heldout['loss_predicted']:.3g}"
        point = heldout["flops"], heldout["loss_measured"]
        axes.plot(*point, "*", ms=13, color=RED, mec="white", mew=0.6, lw=0, zorder=5, label=label)


def _allocation(axes: Axes, fit: Law, log_flops: Float[np.ndarray, " points"], column: int) -> None:
    optima = [fit.optimum(float(np.exp(x))) for x in log_flops]
    low, high = np.exp([interval95(draws[:, column]) for _, draws in optima]).T
    flops = np.exp(log_flops)
    _band(axes, flops, low, high, "95 % interval")
    axes.plot(flops, np.exp([best[column] for best, _ in optima]), color=BLUE, label="law")


def _optima(axes: Axes, law: Mapping[str, Any], key: str) -> None:
    for flagged, face, label in ((False, RED, "best of a budget"), (True, "white", "the same, flagged")):
        found = [v for v in law["methods"]["isoflop"]["vertices"] if bool(set(v["flags"]) - NOTES) == flagged]
        if found:
            _diamonds(axes, *np.array([(v["flops"], v[key]) for v in found]).T, face, label)
    targets = [one for one in law["predictions"] if one[key] is not None]
    if targets:
        values = [one["flops"] for one in targets], [one[key] for one in targets]
        axes.plot(*values, "s", ms=4, lw=0, color=BLUE, label="predicted")


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
    return what if law["status"] != "refused" else f"{what} (no law could be fitted)"


def _room(axes: Axes, flops: Float[np.ndarray, " runs"]) -> None:
    """A single budget has no extent of its own, and no run no place on a log axis."""
    if not len(flops):
        axes.set(xlim=(1, 10), ylim=(1, 10))
    elif np.ptp(np.log(flops)) < SAME_BUDGET:
        axes.set_xlim(flops.min() / 12, flops.max() * 12)


def _plain_log(axes: Axes, shown: Float[np.ndarray, " values"]) -> None:
    """A log y axis with plain numbers: a loss spans less than a decade or two."""
    if not len(shown) or not (shown > 0).all():
        return
    axes.set_yscale("log")
    axes.set_ylim(shown.min() * 0.95, shown.max() * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
