# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Laws tried against each other on budgets they had not seen: rolling origin, in compute."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.extrapolate import Candidate, Errors, Extrapolation, Spread
from dit_jax.law.flags import interval95
from dit_jax.law.frontier import Frontier
from dit_jax.law.parametric import Parametric, fit_parametric
from dit_jax.law.slices import SAME_BUDGET, Slice
from dit_jax.law.table import Table

BINS = 5  # of compute, where runs do not share budgets
# The floor of what a surface that held-out budgets bear out may yet miss, of the loss's fall; what they show
# it to miss comes on top. More would take the intervals of simulated ladders beyond 99 % at 100 times the compute.
SURPRISE = 1 / 600
FEWEST_BUDGETS = 3  # for a frontier to be held out against
FEWEST_HELD_OUT = 2  # cuts, for a surface to count as borne out beside a frontier
DRAWS = 50  # of each law below a cut
MAX_CUTS = 6
FOILS = ("no_E",)  # tried, never used

Groups = tuple[Float[np.ndarray, " groups"], list[Int[np.ndarray, " _"]]]


def groups(surface: Parametric, slices: Sequence[Slice]) -> Groups:
    """Log FLOPs and runs by budget, those near the best; for want of budgets quantiles of compute.

    Each run of a law of compute alone is a budget's.
    """
    near = [one for one in slices if one.parabola is not None and not surface.form.of_compute]
    if len(near) >= FEWEST_BUDGETS:
        return np.log([one.flops for one in near]), [one.parabola.rows for one in near]
    log_flops = np.log(surface.table.flops)
    parts = len(log_flops) if surface.form.of_compute else min(BINS, len(log_flops))
    found = np.array_split(np.argsort(log_flops, kind="stable"), parts)
    return np.array([log_flops[rows].mean() for rows in found]), found


def candidate(name: str, surface: Parametric, groups: Groups, seed: int) -> Candidate:
    """A fitted surface as a way to predict, with what its form missed when it was tried.

    Args:
      name: what it is called among the others.
      surface: a fit that was not refused.
      groups: the budgets to hold out in turn.
      seed: of the fits below each cut.
    """
    errors = held_out(surface.table, surface.form.name, groups, seed)
    at = np.log(surface.table.flops.max()) + np.array([-0.5, 0.5])
    slope = abs(float(np.diff(surface_spread(surface, at).mean)[0]))

    def claim() -> Float[np.ndarray, " pairs"]:
        return 1.96 * np.sqrt(errors.noise + (SURPRISE * slope * errors.distance) ** 2)

    return Candidate(name, SURPRISE, functools.partial(surface_spread, surface), errors, claim)


def extrapolation(
    table: Table, frontier: Frontier, surfaces: Mapping[str, Parametric], tried: Mapping[str, Candidate]
) -> Extrapolation | None:
    """The frontier and every surface that nothing speaks against, weighed; None where there is neither.

    With the few rows of a small ladder a surface fits well and extrapolates badly: its own flags tell.

    Args:
      table: the runs.
      frontier: of the same runs.
      surfaces: the fits, by name.
      tried: those that were not refused, as candidates.
    """
    out = {*FOILS, *_contradicted(surfaces)}
    out |= {name for name, one in surfaces.items() if "not_converged" in one.flags}
    known = {name: one for name, one in tried.items() if name not in out}
    if frontier.status != "refused":
        alone = frontier.extrapolation()
        cuts = {*alone.candidates[0].errors.cut}
        good = [
            one
            for name, one in known.items()
            if surfaces[name].stands and len(cuts & {*one.errors.cut}) >= FEWEST_HELD_OUT
        ]
        if not good:
            return alone
        last, noise = max(alone.last, float(np.log(table.flops.max()))), surfaces[good[0].name].scale
        return Extrapolation((*alone.candidates, *good), alone.slope, last, noise)
    if not known:
        return None
    first = next(iter(known))
    last = float(np.log(table.flops.max()))
    slope = abs(float(np.diff(known[first].spread(last + np.array([-0.5, 0.5])).mean)[0]))
    return Extrapolation(tuple(known.values()), slope, last, surfaces[first].scale)


def _contradicted(surfaces: Mapping[str, Parametric]) -> tuple[str, ...]:
    """One exponent for all terms is out where the interval of the two exponents' difference leaves out 0."""
    additive = surfaces.get("parametric")
    if additive is None or additive.draws is None or additive.form.name != "additive":
        return ()
    low, high = interval95(additive.draws.theta[:, 3] - additive.draws.theta[:, 4])
    return () if low <= 0 <= high else ("tied",)


def surface_spread(surface: Parametric, targets: Float[np.ndarray, " targets"]) -> Spread:
    """What a surface says of the best run at each target, log FLOPs."""
    best, draws = (
        np.stack([laws.optimum(float(np.exp(x)))[1] for x in targets], 1)
        for laws in (surface.best, surface.draws)
    )
    return Spread.of(best[0], draws)


def held_out(table: Table, form: str, groups: Groups, seed: int) -> Errors:
    """What a form, fitted below each cut, missed on average on each later budget near its best."""
    x, rows = groups
    cuts = np.unique(np.linspace(2, len(rows) - 1, MAX_CUTS).astype(int)) if len(rows) > 2 else ()
    found = [pair for cut in cuts for pair in _beyond(table, form, (x, rows), int(cut), seed)]
    return Errors(*np.array(found, float).reshape(-1, 4).T)


def _beyond(table: Table, form: str, groups: Groups, cut: int, seed: int) -> list[tuple[float, ...]]:
    """Cut, miss, variance of the miss by noise, and distance, of every budget above a cut."""
    x, rows = groups
    fit = fit_parametric(
        table.select(table.flops <= table.flops[rows[cut - 1]].max()), DRAWS, seed, form=form
    )
    if fit.best is None:
        return []
    found = []
    for later in range(cut, len(rows)):
        if x[later] - x[cut - 1] < SAME_BUDGET:
            continue
        places = np.log(table.params[rows[later]]), np.log(table.tokens[rows[later]])
        miss = float(np.mean(np.log(table.loss[rows[later]]) - np.log(fit.best.loss(*places)[0])))
        noise = np.log(fit.draws.loss(*places)).mean(1).var() + fit.scale**2 / len(rows[later])
        found.append((x[cut - 1], miss, noise, x[later] - x[cut - 1]))
    return found
