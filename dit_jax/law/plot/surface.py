# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the fitted surface makes of the runs, and how sure its floor is."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dit_jax.law import minimise
from dit_jax.law.plot.scene import NAMES, Scene
from dit_jax.law.plot.style import (
    BLACK,
    BLUE,
    RED,
    count,
    legend,
    log_axis,
    loss_axis,
    mark,
    percent,
    power,
)
from dit_jax.law.table import Table

MOST_DISTANCE = 4.5  # standard errors shown
BINS = 30
ROUNDING = 1e-6  # of a loss: runs without noise leave no width to a profile


def plot_predicted(scene: Scene) -> Figure | None:
    """The surface's loss against the measured one, of fitted and of other runs; None without a surface."""
    if scene.law.parametric.best is None:
        return None
    figure = Figure(figsize=(5.0, 4.9))
    axes = figure.subplots()
    runs = scene.law.parametric.table
    fitted = runs.loss, runs.loss * np.exp(-scene.law.parametric.residual)
    unseen = scene.unseen.loss, _loss(scene, scene.unseen)
    mark(axes, "runs", *fitted, f"fitted, rmse {_rmse(*fitted)}", color=BLUE)
    if len(scene.unseen):
        mark(axes, "not fitted", *unseen, f"not fitted, rmse {_rmse(*unseen)}")
    both = np.concatenate([*fitted, *unseen])
    axes.axline((both.min(),) * 2, (both.max(),) * 2, color=BLACK, lw=0.8, zorder=1, label="as predicted")
    for axis in (axes.xaxis, axes.yaxis):
        loss_axis(axis, both)
    axes.set_aspect("equal")
    axes.set_title(f"{NAMES[scene.law.parametric.form.name]} against what was measured")
    axes.set(xlabel="measured validation loss", ylabel="fitted or predicted loss")
    legend(figure, axes, columns=3)
    return figure


def plot_residuals(scene: Scene) -> Figure | None:
    """Measured over fitted loss less one, against compute and size; None without a surface."""
    residual = scene.law.parametric.residual
    if residual is None:
        return None
    figure = Figure(figsize=(8.4, 3.8))
    both = figure.subplots(1, 2, sharey=True)
    sd = 100 * minimise.scale(residual)
    left_out = _excess(scene, scene.left_out)
    fitted, unseen = 100 * np.expm1(residual), _excess(scene, scene.unseen)
    room = np.concatenate([fitted, unseen, [-3 * sd, 3 * sd, -0.01, 0.01]])
    ends = 1.15 * room.min(), 1.15 * room.max()
    runs = scene.law.parametric.table
    doubted = np.isin(runs.row, [one["row"] for one in scene.document["rows"]["suspect"]])
    for axes, key, text in ((both[0], "flops", power), (both[1], "params", count)):
        axes.axhspan(-1.96 * sd, 1.96 * sd, color=BLUE, alpha=0.12, lw=0, label="0 ± 1.96 robust sd")
        axes.axhline(0, color=BLACK, lw=0.8)
        x = getattr(runs, key)
        mark(axes, "runs", x, fitted, "fitted", color=BLUE)
        mark(axes, "suspect", x[doubted], fitted[doubted])
        mark(axes, "not fitted", getattr(scene.unseen, key), unseen)
        mark(axes, "left out", getattr(scene.left_out, key), np.clip(left_out, *ends))
        axes.set(xscale="log", ylim=ends)
        log_axis(axes.xaxis, text)
    both[0].set_title(f"Measured above fitted loss: robust sd {percent(sd / 100)}")
    both[0].set(xlabel="training FLOPs", ylabel="residual, %")
    both[1].set(xlabel="active parameters")
    legend(figure, *both, columns=5)
    return figure


def plot_floor(scene: Scene) -> Figure | None:
    """How far the fit is from its best as E is held elsewhere, over the bootstrap; None without an E or noise."""
    found = scene.law.parametric.floor
    if found is None or np.ptp(found.value) < ROUNDING:
        return None
    figure = Figure(figsize=(5.6, 4.2))
    axes = figure.subplots()
    low, high = found.ci95
    ends = np.interp([-MOST_DISTANCE, MOST_DISTANCE], found.distance, found.value)
    axes.set(xlim=ends, ylim=(0, MOST_DISTANCE))
    heights, edges = np.histogram(scene.law.parametric.draws.theta[:, 0], BINS, ends)
    heights = heights / heights.max(initial=1) * 0.8 * found.limit  # below the limit, whatever their number
    axes.stairs(heights, edges, fill=True, color="0.85", label="bootstrap draws")
    axes.axvspan(low, high, color=BLUE, alpha=0.12, lw=0, label="95 % interval")
    axes.plot(found.value, np.abs(found.distance), color=BLUE, label="profile")
    axes.axhline(found.limit, color=BLACK, lw=0.9, ls="--", label=f"95 % limit, {found.limit:.2f}")
    best = float(scene.law.parametric.best.theta[0, 0])
    axes.plot(best, 0, "D", color=RED, ms=6, clip_on=False, zorder=5, label="best fit", lw=0)
    axes.set_title(f"Irreducible loss $E$ = {best:#.4g} [{low:#.4g}, {high:#.4g}]")
    axes.set(xlabel="$E$", ylabel="distance from the best fit, standard errors")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    legend(figure, axes, columns=3)
    return figure


def _loss(scene: Scene, table: Table) -> Float[np.ndarray, " runs"]:
    return scene.law.parametric.best.loss(np.log(table.params), np.log(table.tokens))[0]


def _excess(scene: Scene, table: Table) -> Float[np.ndarray, " runs"]:
    """Measured loss above the surface's, per cent."""
    return 100 * (table.loss / _loss(scene, table) - 1)


def _rmse(measured: np.ndarray, fitted: np.ndarray) -> str:
    return percent(float(np.sqrt(np.mean(np.log(measured / fitted) ** 2))))
