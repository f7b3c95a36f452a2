# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A law fitted to all runs at once (approach 3 of Hoffmann et al. 2022, arXiv 2203.15556)."""

import dataclasses
import functools

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Float

from dit_jax.law.broken import FEWEST_FOR_BREAK, has_break
from dit_jax.law.extrapolate import Candidate
from dit_jax.law.flags import REFUSALS, interval95, is_short, is_weak, is_wide, status
from dit_jax.law.forms import FORMS, Form
from dit_jax.law.minimise import SMALLEST_SCALE, Fit, condition, minimise, residuals, scale
from dit_jax.law.surface import Runs, Surface
from dit_jax.law.table import Table
from dit_jax.law.uncertainty import (
    INTERVAL_SDS,
    Profile,
    bootstrap,
    can_profile,
    profile,
    profile_interval,
    redrawn,
)

USUAL_DELTA = 1e-3  # of the Huber objective, in the literature since Hoffmann et al.
LEAST_INSIDE = 0.05  # of the residuals within the corner, for a profile
ONE_SIDED = 0.02  # of the residuals: with fewer on one side of delta it acts as least squares or as L1
TREND_DEGREE = 4  # of the curve; size and data terms take up what is straight
TREND_CHANCE = 1e-3
UNFIT = ("fewer_points_than_parameters", "too_few_budgets", "N_D_collinear", "singular_information")
ONE_BUDGET = 0.2  # log FLOPs: runs within it trade size for tokens along one line
SINGULAR = 1e7  # condition of the scaled information matrix: no exponents beyond it


@dataclasses.dataclass(frozen=True, eq=False)
class Parametric:
    """The fitted surface and its bootstrap; None where the fit is refused."""

    status: str
    flags: tuple[str, ...]
    form: Form
    table: Table  # what it was fitted to
    best: Surface | None = None
    draws: Surface | None = None
    fit: Fit | None = None
    runs: Runs | None = None
    floor: Profile | None = None  # of E
    residual: Float[np.ndarray, " runs"] | None = None  # log measured over fitted loss
    scale: float = float("nan")  # sd of the log residuals

    @property
    def stands(self) -> bool:
        """Whether nothing speaks against predicting by it beside a frontier.

        A broken law's E is as weakly known as the frontier's, and like that it leans on the last budgets.
        """
        return status(set(self.flags) - ({"E_weakly_identified"} if self.form.broken else set())) == "ok"

    def after(self, tried: Candidate) -> "Parametric":
        """With a flag where the form failed on budgets that were held out."""
        flags = (*self.flags, "holdout_failed") if tried.failed else self.flags
        return dataclasses.replace(self, status=status(flags), flags=flags)

    def summary(self) -> dict[str, object]:
        """This method's part of `law.json`."""
        head = {"status": self.status, "flags": list(self.flags), "law": self.form.name}
        if self.best is None:
            empty = dict.fromkeys(("params", "ci95", "exponents", "exponents_ci95", "objective"))
            return head | empty | {"starts_agreeing": 0, "profiled": []}
        exponents = self.best.exponents()
        return head | {
            "params": {name: float(value[0]) for name, value in self.best.params().items()},
            "ci95": {n: interval95(v).tolist() for n, v in self.draws.params().items()} | self.profiled,
            "profiled": list(self.profiled),
            "exponents": exponents and {name: float(value[0]) for name, value in exponents.items()},
            "exponents_ci95": exponents
            and {name: interval95(v).tolist() for name, v in self.draws.exponents().items()},
            "objective": self.fit.objective,
            "starts_agreeing": self.fit.starts_agreeing,
        }

    @functools.cached_property
    def profiled(self) -> dict[str, list[float]]:
        """95 % intervals by profile likelihood: of E, and of what the bootstrap finds weakly identified."""
        if self.floor is None and self.form.floor:  # nearly least absolute deviations: no guide
            return {}
        best, draws = self.best.params(), self.draws.params()
        weak = [name for name in self.form.free if is_weak(best[name][0], interval95(draws[name]))]
        ends = {
            name: profile_interval(self.fit, self.runs, name, interval95(draws[name]), self.table.cluster)
            for name in weak
            if name != "E" and can_profile(self.form, name)
        }
        ends |= {name: ends["alpha"] for name in self.form.tied_names if "alpha" in ends}
        return ends if self.floor is None else {"E": self.floor.ci95} | ends


def fit_parametric(
    table: Table, draws: int = 300, seed: int = 0, delta: float | None = None, form: str = "additive"
) -> Parametric:
    """Fits a form from several starts, and again to training runs drawn anew.

    Args:
      table: runs with positive losses.
      draws: of the bootstrap.
      seed: of the bootstrap.
      delta: the Huber corner in log units; None takes it from the residuals' own scale.
      form: one of `dit_jax.law.forms.FORMS`.

    Raises:
      ValueError: the table lacks a column that the form needs.
    """
    family = FORMS[form]
    if missing := family.missing(table):
        raise ValueError(f"the law {form!r} needs the columns {', '.join(missing)}, which the runs lack")
    flags = _design_flags(table, family)
    if flags.keys() & {*UNFIT, *REFUSALS}:
        return Parametric("refused", tuple(flags), family, table)
    runs = Runs.of(table, family)
    fit = minimise(runs, delta)
    if family.broken and not has_break(fit, runs):
        flags["break_not_identified"] = None
    if condition(fit.free, runs) > SINGULAR:
        return Parametric("refused", (*flags, "singular_information"), family, table)
    if not fit.converged:
        flags["not_converged"] = None
    cloud = (redrawn if family.broken else bootstrap)(fit, runs, table.cluster, draws, seed)
    best, resampled = (Surface.over(table, runs, free @ family.expand.T) for free in (fit.free[None], cloud))
    residual = -residuals(fit.free[None], runs)[0]
    floor = None
    if family.floor and np.mean(np.abs(residual) < fit.corner) >= LEAST_INSIDE:
        floor = profile(fit, runs, "E", float(np.ptp(interval95(cloud[:, 0]))) / INTERVAL_SDS, table.cluster)
    flags |= _interval_flags(best, resampled, floor)
    flags |= _residual_flags(residual, np.log(table.flops), delta)
    sd = float(np.sqrt((residual**2).sum() / (len(runs) - len(fit.free))))
    found = best, resampled, fit, runs, floor, residual, sd
    return Parametric(status(flags), tuple(flags), family, table, *found)


def _design_flags(table: Table, form: Form) -> dict[str, None]:
    found = dict.fromkeys(flag for flag in table.flags if flag in REFUSALS)
    places = set(zip(*(getattr(table, name) for name in form.columns)))
    if len(places) <= len(form.free):
        return found | {"fewer_points_than_parameters": None}
    if form.broken and len(places) < FEWEST_FOR_BREAK:
        return found | {"too_few_budgets": None}
    if is_short(table.flops):
        found["short_compute_span"] = None
    if len(form.columns) > 1 and np.ptp(np.log(table.flops)) < ONE_BUDGET:
        found["singular_information"] = None
    n, d = np.log(table.params), np.log(table.tokens)
    if len(form.columns) > 1 and np.std(d - n) < 0.05 * np.std(d + n):
        found["N_D_collinear"] = None
    return found


def _interval_flags(best: Surface, draws: Surface, floor: Profile | None) -> dict[str, None]:
    exponents = draws.exponents()
    found = {
        "E_weakly_identified": best.form.floor
        and is_weak(best.theta[0, 0], floor.ci95 if floor else interval95(draws.theta[:, 0])),
        "wide_interval": exponents is not None and is_wide(exponents["a"]),  # b is 1 - a
    }
    return dict.fromkeys(flag for flag, seen in found.items() if seen)


def _residual_flags(
    residual: Float[np.ndarray, " runs"], log_flops: Float[np.ndarray, " runs"], delta: float | None
) -> dict[str, None]:
    sd = scale(residual)
    within = float(scipy.special.erf((delta or USUAL_DELTA) / (max(sd, SMALLEST_SCALE) * np.sqrt(2))))
    found = {
        "delta_not_scale_free": sd > SMALLEST_SCALE and not ONE_SIDED < within < 1 - ONE_SIDED,
        "residual_trend_in_C": sd > SMALLEST_SCALE and _has_trend(residual, log_flops),
    }
    return dict.fromkeys(flag for flag, seen in found.items() if seen)


def _has_trend(residual: Float[np.ndarray, " runs"], log_flops: Float[np.ndarray, " runs"]) -> bool:
    """Whether a curve in log compute explains more of the residuals than chance would, once in 1,000."""
    spread = 3 * scale(residual)
    limited = np.clip(residual - np.median(residual), -spread, spread)
    degree = min(TREND_DEGREE, len(np.unique(np.round(log_flops, 1))) - 1)
    dof = len(residual) - degree - 1
    if degree < 1 or dof < 1:
        return False
    basis = np.linalg.qr(np.vander(log_flops - log_flops.mean(), degree + 1, increasing=True))[0]
    parts = (basis.T @ limited) ** 2
    left = float((limited**2).sum() - parts.sum())
    return bool(
        scipy.special.fdtrc(degree, dof, parts[1:].sum() / degree / max(left / dof, 1e-300)) < TREND_CHANCE
    )
