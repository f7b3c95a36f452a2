# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A law fitted to all runs at once (approach 3 of Hoffmann et al. 2022, arXiv 2203.15556)."""

import dataclasses

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Float

from dit_jax.law.extrapolate import Candidate
from dit_jax.law.flags import REFUSALS, interval95, is_short, is_weak, is_wide, status
from dit_jax.law.forms import FORMS, Form
from dit_jax.law.minimise import SMALLEST_SCALE, Fit, condition, minimise, residuals, scale
from dit_jax.law.surface import Runs, Surface
from dit_jax.law.table import Table
from dit_jax.law.uncertainty import Profile, bootstrap, profile

USUAL_DELTA = 1e-3  # of the Huber objective, in the literature since Hoffmann et al.
LEAST_INSIDE = 0.05  # of the residuals within the corner, for a profile
ONE_SIDED = 0.02  # of the residuals: with fewer on one side of delta it acts as least squares or as L1
TREND_DEGREE = 4  # of the curve; size and data terms take up what is straight
TREND_CHANCE = 1e-3
SINGULAR = 1e7  # condition of the scaled information matrix: no exponents beyond it


@dataclasses.dataclass(frozen=True, eq=False)
class Parametric:
    """The fitted surface and its bootstrap; None where the fit is refused."""

    status: str
    flags: tuple[str, ...]
    form: Form
    best: Surface | None = None
    draws: Surface | None = None
    fit: Fit | None = None
    floor: Profile | None = None  # of E
    residual: Float[np.ndarray, " runs"] | None = None  # log measured over fitted loss
    scale: float = float("nan")  # sd of the log residuals

    def after(self, tried: Candidate) -> "Parametric":
        """With a flag where the form failed on budgets that were held out."""
        flags = (*self.flags, "holdout_failed") if tried.failed else self.flags
        return dataclasses.replace(self, status=status(flags), flags=flags)

    def summary(self) -> dict[str, object]:
        """This method's part of `law.json`."""
        head = {"status": self.status, "flags": list(self.flags), "law": self.form.name}
        if self.best is None:
            empty = dict.fromkeys(("params", "ci95", "exponents", "exponents_ci95", "objective"))
            return head | empty | {"starts_agreeing": 0}
        ci95 = {name: interval95(value).tolist() for name, value in self.draws.params().items()}
        if self.floor is not None:
            ci95["E"] = self.floor.ci95
        exponents = self.best.exponents()
        return head | {
            "params": {name: float(value[0]) for name, value in self.best.params().items()},
            "ci95": ci95,
            "exponents": exponents and {name: float(value[0]) for name, value in exponents.items()},
            "exponents_ci95": exponents
            and {name: interval95(v).tolist() for name, v in self.draws.exponents().items()},
            "objective": self.fit.objective,
            "starts_agreeing": self.fit.starts_agreeing,
        }


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
    if flags.keys() & {"fewer_points_than_parameters", "N_D_collinear", *REFUSALS}:
        return Parametric("refused", tuple(flags), family)
    runs = Runs.of(table, family)
    fit = minimise(runs, delta)
    if condition(fit.free, runs) > SINGULAR:
        return Parametric("refused", (*flags, "singular_information"), family)
    if not fit.converged:
        flags["not_converged"] = None
    cloud = bootstrap(fit, runs, table.cluster, draws, seed)
    best, resampled = (Surface.over(table, runs, free @ family.expand.T) for free in (fit.free[None], cloud))
    residual = -residuals(fit.free[None], runs)[0]
    floor = profile(fit, runs, "E", float(np.std(cloud[:, 0]))) if family.floor else None
    if floor is not None and floor.inside < LEAST_INSIDE:
        floor = None  # nearly least absolute deviations: its likelihood is no guide
    flags |= _interval_flags(best, resampled, floor)
    flags |= _residual_flags(residual, np.log(table.flops), delta)
    sd = float(np.sqrt((residual**2).sum() / (len(runs) - len(fit.free))))
    return Parametric(status(flags), tuple(flags), family, best, resampled, fit, floor, residual, sd)


def _design_flags(table: Table, form: Form) -> dict[str, None]:
    found = dict.fromkeys(flag for flag in table.flags if flag in REFUSALS)
    places = set(zip(*(getattr(table, name) for name in form.columns)))
    if len(places) <= len(form.free):
        return found | {"fewer_points_than_parameters": None}
    if is_short(table.flops):
        found["short_compute_span"] = None
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
