# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which run to make next: the one that narrows the prediction most per FLOP, and how many a precision needs."""

import abc
import dataclasses

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Float

from dit_jax.law.extrapolate import Spread
from dit_jax.law.flags import interval95
from dit_jax.law.frontier import Frontier
from dit_jax.law.minimise import SMALLEST_SCALE
from dit_jax.law.parametric import Parametric
from dit_jax.law.predict import Law
from dit_jax.law.surface import Surface

DRAWS = 60  # of a frontier: every run tried is a fit of all of them
STEPS = 6  # budgets tried between the frontier's last one and the target
GRID = 14  # sizes, and tokens per parameter, tried on a surface
DEAREST = 100.0  # times the largest run: nobody's next one costs more
WORTH = 0.1  # of the sd: a run that narrows it by less is not worth starting
FARTHEST = 5.0  # log loss: a draw that runs away at some size says nothing there
LEAST = 0.005  # of the sd: a plan ends where its best run narrows it by less
MOST_RUNS = 50  # planned

Options = Float[np.ndarray, " options"]


class Plan(abc.ABC):
    """What is known of the log loss at a target, and which runs may be made.

    Attributes:
      flops: of each run.
      sizes: log params and log tokens of each, NaN where the law knows none.
    """

    flops: Options
    sizes: Float[np.ndarray, "options 2"]

    @abc.abstractmethod
    def sd(self) -> float:
        """Half the 95 % interval of the law's value at the target, over 1.96."""

    @abc.abstractmethod
    def after(self) -> Options:
        """The same, after each run."""

    @abc.abstractmethod
    def made(self, run: int) -> "Plan":
        """With that run made, coming out as predicted."""

    @abc.abstractmethod
    def limit(self) -> float | None:
        """What no number of runs narrows it below; None where that is not known."""


def next_run(law: Law, target_flops: float) -> dict[str, float | None] | None:
    """The run that would narrow the prediction most per FLOP, of those that narrow it by a tenth.

    Where a surface predicts, any size and tokens up to the target's FLOPs are tried, within the tokens per
    parameter of the runs and of the target; where the frontier does, the best runs of budgets between the last
    one and the target, each of them standing for a budget with a minimum inside its grid.

    Returns:
      `flops`, `params`, `tokens`, and the sd of the law's log loss at the target before and after (half its
      95 % interval over 1.96); None where no run narrows it by a tenth, or the law is refused.
    """
    plan = _plan(law, target_flops)
    best = None if plan is None else _best(plan)
    return None if best is None else _entry(plan, *best)


def runs_for(law: Law, target_flops: float, precision: float) -> dict[str, object]:
    """The runs that a wanted precision needs, each the best next one after those before it.

    Args:
      law: a fitted law.
      target_flops: the budget whose loss is wanted.
      precision: sd of the law's log loss at the target, so 0.01 for about 1 %.

    Returns:
      `target_flops`, `precision`, `reached`, `runs` (as `next_run` gives them), `flops` in all, `sd` now and
      `sd_after` them, `limit` (the sd that no number of runs goes below) and `reason` where the precision
      is not reached.

    Raises:
      ValueError: the precision is not a positive number.
    """
    if not (np.isfinite(precision) and precision > 0):
        raise ValueError(f"precision is {precision!r}: give a positive sd of log loss, such as 0.01 for 1 %")
    head = {"target_flops": float(target_flops), "precision": float(precision)}
    plan = _plan(law, target_flops)
    if plan is None:
        reason = "the law is refused" if law.extrapolation is None else "the target is not beyond the runs"
        empty = dict.fromkeys(("flops", "sd", "sd_after", "limit"))
        return head | {"reached": False, "runs": []} | empty | {"reason": reason}
    before, limit, runs = plan.sd(), plan.limit(), []
    while precision >= (limit or 0.0) and plan.sd() > precision and len(runs) < MOST_RUNS:
        best = _best(plan, any_gain=True)
        if best is None:
            break
        runs.append(_entry(plan, *best))
        plan = plan.made(best[0])
    reached = plan.sd() <= precision
    known = {"flops": sum(run["flops"] for run in runs), "sd": before, "sd_after": plan.sd(), "limit": limit}
    reason = None if reached else _why_not(precision, limit, len(runs))
    return head | {"reached": reached, "runs": runs} | known | {"reason": reason}


def _why_not(precision: float, limit: float | None, runs: int) -> str:
    if limit is not None and precision < limit:
        return f"cannot be reached: runs no dearer than the target's leave {limit:.2g}"
    return f"not reached in {runs} runs"


def _best(plan: Plan, any_gain: bool = False) -> tuple[int, float] | None:
    """Of the runs that narrow by a tenth the one that does most per FLOP, else, if asked, the one that does most.

    Returns:
      The run and the sd after it.
    """
    sd, after = plan.sd(), plan.after()
    gain = sd - after
    merit = np.where(gain > WORTH * sd, gain / plan.flops, 0.0)
    if any_gain and not merit.any():
        merit = np.where(gain > LEAST * sd, gain, 0.0)
    if not merit.any():
        return None
    run = int(np.argmax(merit))
    return run, float(after[run])


def _entry(plan: Plan, run: int, after: float) -> dict[str, float | None]:
    params, tokens = (float(x) if np.isfinite(x) else None for x in np.exp(plan.sizes[run]))
    head = {"flops": float(plan.flops[run]), "params": params, "tokens": tokens}
    return head | {"sd_before": plan.sd(), "sd_after": after}


def _plan(law: Law, target_flops: float) -> Plan | None:
    if law.extrapolation is None:
        return None
    if law.extrapolation.chosen.name != "frontier":
        return SurfacePlan.of(law, target_flops)
    if target_flops <= np.exp(law.frontier.x[-1]):
        return None
    return FrontierPlan.of(law, law.frontier, np.log(target_flops))


@dataclasses.dataclass(frozen=True, eq=False)
class SurfacePlan(Plan):
    """Draws of the surfaces that predict, as an ensemble that runs are assimilated into.

    The first column of `draws` is the log loss at the target, the others are those of the runs; products of
    columns, summed over the draws, are covariances. A run of variance s^2 about its law takes
    cov(target, run)^2 / (var(run) + s^2) from the variance (the linear-Gaussian update; Whitaker and Hamill 2002
    give the one of the draws).

    Attributes:
      scale: the sd s of a run about its surface.
      rest: variance that no run narrows: the frontier's part.
      rate: of the discrepancy per log FLOPs beyond `last`, in the units of `sd`.
    """

    draws: Float[np.ndarray, "draws columns"]
    flops: Options
    sizes: Float[np.ndarray, "options 2"]
    scale: float
    rest: float
    rate: float
    last: float
    target: float

    @classmethod
    def of(cls, law: Law, target_flops: float) -> "SurfacePlan":
        x, ahead = np.log(target_flops), law.extrapolation
        chosen = {"parametric": law.parametric, **law.rivals}[ahead.chosen.name]
        sizes, flops = _options(law, chosen, target_flops)
        draws = _ensemble(law, sizes, flops, target_flops)
        at = ahead.predict(np.array([x]))
        distance = max(x - ahead.last, 0.0)
        stretch = scipy.special.stdtrit(at.dof, 0.975) / 1.96
        discrepancy = stretch * float(at.discrepancy[0])
        rest = max(
            (at.half_width(of_a_run=False)[0] / 1.96) ** 2 - (draws[:, 0] ** 2).sum() - discrepancy**2, 0.0
        )
        rate = discrepancy / distance if distance else 0.0
        scale = max(law.noise.seed, chosen.scale)
        return cls(draws, flops, sizes, scale, float(rest), rate, ahead.last, x)

    def sd(self) -> float:
        return float(self._total((self.draws[:, 0] ** 2).sum(), self.last))

    def after(self) -> Options:
        target, runs = self.draws[:, 0], self.draws[:, 1:]
        left = (target**2).sum() - (target @ runs) ** 2 / ((runs**2).sum(0) + self.scale**2)
        return self._total(left, np.maximum(self.last, np.log(self.flops)))

    def made(self, run: int) -> "SurfacePlan":
        seen = self.draws[:, 1 + run]
        variance = (seen**2).sum() + self.scale**2
        gain = seen @ self.draws / (variance + self.scale * np.sqrt(variance))
        last = max(self.last, float(np.log(self.flops[run])))
        return dataclasses.replace(self, draws=self.draws - np.outer(seen, gain), last=last)

    def limit(self) -> float:
        return float(self._total(0.0, np.log(self.flops).max(initial=self.last)))

    def _total(self, variance, last):
        return np.sqrt(variance + self.rest + (self.rate * np.maximum(self.target - last, 0)) ** 2)


def _options(law: Law, chosen: Parametric, target_flops: float) -> tuple[np.ndarray, Options]:
    """Sizes by tokens per parameter, from what the runs had to what the target has, and no dearer than it."""
    table, most = law.table, min(target_flops, DEAREST * law.table.flops.max())
    best = chosen.best.optimum(target_flops)[0]
    if best is None:  # a law of compute alone: budgets, at the sizes of the isoFLOP line where there is one
        flops = np.geomspace(table.flops.min(), most, GRID)
        return _sizes(law, flops), flops
    n, r = np.log(table.params), np.log(table.tokens / table.params)
    ((size, tokens),) = best
    params = np.linspace(n.min(), max(n.max(), size), GRID)
    ratios = np.linspace(min(r.min(), tokens - size), max(r.max(), tokens - size), GRID)
    n, r = (grid.ravel() for grid in np.meshgrid(params, ratios))
    t0, t1, t2 = chosen.best.tokens_at
    flops = np.exp((n + r - t0 - t2 * n) / t1)
    keep = (flops <= most * (1 + 1e-9)) & (flops >= table.flops.min())
    return np.stack([n, n + r], 1)[keep], flops[keep]


def _sizes(law: Law, flops: Options) -> Float[np.ndarray, "options 2"]:
    """Log params and tokens of the best run of each budget, NaN where the law knows none."""
    best = [law.optimum(c) for c in flops]
    return np.array([np.full(2, np.nan) if one is None else one[0] for one in best])


def _ensemble(
    law: Law, sizes: Float[np.ndarray, "options 2"], flops: Options, target_flops: float
) -> Float[np.ndarray, "draws columns"]:
    """Weighted departures from the blended prediction: draws about their mean, and each best about the blend's."""
    surfaces, weights = {"parametric": law.parametric, **law.rivals}, law.extrapolation.weights
    used = {name: weight for name, weight in weights.items() if name in surfaces}
    found = {
        name: [
            _columns(laws, sizes, flops, target_flops) for laws in (surfaces[name].best, surfaces[name].draws)
        ]
        for name in used
    }
    mean = sum(used[name] * best for name, (best, _) in found.items()) / sum(used.values())
    return np.concatenate(
        [
            np.sqrt(used[name] / len(draws)) * (_departures(draws) + best - mean)
            for name, (best, draws) in found.items()
        ]
    )


def _departures(draws: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, "some columns"]:
    """Of the draws about their mean, without those that run away, and with the spread that `Spread` gives them."""
    low, high = interval95(draws[:, 0])
    kept = draws[(draws[:, 0] >= low) & (draws[:, 0] <= high)]
    kept = np.clip(kept - kept.mean(0), -FARTHEST, FARTHEST)
    variance = Spread.of(draws[0, :1], draws[:, :1]).variance[0]
    stretch = len(draws) / len(kept) * variance / max(kept[:, 0].var(), SMALLEST_SCALE**2)
    return kept * np.sqrt(stretch)


def _columns(
    laws: Surface, sizes: Float[np.ndarray, "options 2"], flops: Options, target_flops: float
) -> Float[np.ndarray, "laws columns"]:
    """Log loss of the best run at the target, then of the runs."""
    target = laws.optimum(target_flops)[1]
    if np.isnan(sizes).any():
        return np.stack([target, *(laws.optimum(c)[1] for c in flops)], 1)
    return np.column_stack([target, np.log(laws.loss(*sizes.T))])


@dataclasses.dataclass(frozen=True, eq=False)
class FrontierPlan(Plan):
    """The frontier, to be made longer by a budget whose best run comes out as predicted, give or take its noise."""

    law: Law
    frontier: Frontier
    target: float
    flops: Options
    sizes: Float[np.ndarray, "options 2"]

    @classmethod
    def of(cls, law: Law, frontier: Frontier, target: float) -> "FrontierPlan":
        frontier = frontier.thinned(DRAWS)
        flops = np.exp(np.linspace(frontier.x[-1], target, STEPS + 2)[1:-1])
        return cls(law, frontier, target, flops, _sizes(law, flops))

    def sd(self) -> float:
        return self._sd(self.frontier)

    def after(self) -> Options:
        return np.array([self._sd(self._longer(run)) for run in range(len(self.flops))])

    def made(self, run: int) -> "FrontierPlan":
        return self.of(self.law, self._longer(run), self.target)

    def limit(self) -> None:
        return None  # it depends on where forms go that no run has been to

    def _sd(self, frontier: Frontier) -> float:
        at = frontier.extrapolation().predict(np.array([self.target]))
        return float(at.half_width(of_a_run=False)[0] / 1.96)

    def _longer(self, run: int) -> Frontier:
        x = float(np.log(self.flops[run]))
        mean = self.frontier.extrapolation().predict(np.array([x])).mean[0]
        noise = self.frontier.noise * np.random.default_rng(len(self.frontier.x)).standard_normal(
            len(self.frontier.y)
        )
        noise[0] = 0.0
        return self.frontier.extended(x, mean + noise)
