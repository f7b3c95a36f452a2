# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The additive law fitted to all runs at once (approach 3 of Hoffmann et al. 2022).

The objective is Huber on log residuals, its corner set by the residuals' own scale: a fixed corner acts as
least squares on one set of losses and as least absolute deviations on another.
"""

import dataclasses

import numpy as np
import scipy  # scipy.optimize loads when first used
from jaxtyping import Float

from dit_jax.law.flags import REFUSALS, interval95, is_short, is_weak, is_wide, status
from dit_jax.law.surface import HIGH, LOW, NAMES, Runs, Surface, huber, jacobian, refit, residuals
from dit_jax.law.table import Table

SINGULAR = 1e7  # condition of the scaled information matrix: no exponents beyond it
HUBER = 1.345  # corner over sd: 95 % efficient on Gaussian residuals
SMALLEST_SCALE = 1e-6  # log units: below it residuals are rounding
GRID = np.geomspace(0.05, 1.2, 6)  # exponents to start from
TOLERANCES = {"xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12, "max_nfev": 400}
STATIONARY = 1e-4  # of the gradient's largest possible size

Law = Float[np.ndarray, " 5"]


@dataclasses.dataclass(frozen=True, eq=False)
class Parametric:
    """The fitted surface and its bootstrap; both None where the fit is refused."""

    status: str
    flags: tuple[str, ...]
    best: Surface | None = None
    draws: Surface | None = None
    scale: float = float("nan")  # sd of the log residuals
    objective: float = float("nan")
    starts_agreeing: int = 0

    def summary(self) -> dict[str, object]:
        """This method's part of `law.json`."""
        head = {"status": self.status, "flags": list(self.flags)}
        if self.best is None:
            empty = dict.fromkeys(("params", "ci95", "exponents", "exponents_ci95", "objective"))
            return head | empty | {"starts_agreeing": 0}
        return head | {
            "params": {name: float(value[0]) for name, value in self.best.params().items()},
            "ci95": {name: interval95(value).tolist() for name, value in self.draws.params().items()},
            "exponents": {name: float(value[0]) for name, value in self.best.exponents().items()},
            "exponents_ci95": {name: interval95(v).tolist() for name, v in self.draws.exponents().items()},
            "objective": self.objective,
            "starts_agreeing": self.starts_agreeing,
        }


def fit_parametric(table: Table, draws: int = 300, seed: int = 0, delta: float | None = None) -> Parametric:
    """Fits the additive law from several starts, and again to resampled runs.

    Args:
      table: runs with positive losses.
      draws: bootstrap draws over pairs.
      seed: of the bootstrap.
      delta: the Huber corner in log units; None takes it from the residuals' own scale.
    """
    flags = _design_flags(table)
    if flags.keys() & {"fewer_points_than_parameters", "N_D_collinear", *REFUSALS}:
        return Parametric("refused", tuple(flags))
    n, d, log_loss = (np.log(column) for column in (table.params, table.tokens, table.loss))
    centre = np.array([n.mean(), d.mean()])
    runs = n - centre[0], d - centre[1], log_loss
    theta, corner, agreeing = _solve(runs, delta)
    if _condition(theta, runs) > SINGULAR:
        return Parametric("refused", (*flags, "singular_information"))
    if agreeing < 2 or not _is_stationary(theta, runs, corner):
        flags["not_converged"] = None
    weights = np.random.default_rng(seed).multinomial(len(n), np.full(len(n), 1 / len(n)), draws)
    cloud = refit(np.tile(theta, (draws, 1)), weights.astype(float), runs, corner)
    tokens_at = np.linalg.lstsq(np.stack([np.ones_like(n), np.log(table.flops), n], 1), d, rcond=None)[0]
    best, resampled = (Surface(some, centre, tokens_at) for some in (theta[None], cloud))
    flags |= _interval_flags(best, resampled)
    residual = log_loss - np.log(best.loss(n, d)[0])
    scale = float(np.sqrt((residual**2).sum() / (len(n) - 5)))
    objective = float(huber(residual, corner).sum())
    return Parametric(status(flags), tuple(flags), best, resampled, scale, objective, agreeing)


def _solve(runs: Runs, delta: float | None) -> tuple[Law, float, int]:
    """The best law, the Huber corner, and how many of the starts came to it."""
    starts, corner = _starts(runs), delta or 1.0
    law = _descend(starts, runs, corner)[0]
    for _ in range(0 if delta else 3):  # the scale and the fit settle on each other
        corner = _corner(residuals(law, runs))
        law = _descend(law[None], runs, corner)[0]
    ends = _descend(starts, runs, corner)
    best = _polish(ends[0], runs, corner)
    return best, corner, sum(_same(end, best, runs, corner) for end in ends)


def _corner(residual: Float[np.ndarray, " runs"]) -> float:
    sd = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    return HUBER * max(sd, SMALLEST_SCALE)


def _descend(starts: Float[np.ndarray, "laws 5"], runs: Runs, corner: float) -> Float[np.ndarray, "laws 5"]:
    """Where every start ends, the lowest first."""
    ends = refit(starts, np.ones((len(starts), len(runs[0]))), runs, corner)
    return ends[np.argsort(huber(residuals(ends, runs), corner).sum(1))]


def _polish(start: Law, runs: Runs, corner: float) -> Law:
    """SciPy's trust region; residuals in units of the corner, so its tolerances suit any table."""
    end = scipy.optimize.least_squares(
        lambda theta: residuals(theta, runs) / corner,
        np.clip(start, LOW + 1e-12, HIGH - 1e-12),
        jac=lambda theta: jacobian(theta, runs) / corner,
        bounds=(LOW, HIGH),
        loss="huber",
        x_scale="jac",
        **TOLERANCES,
    )
    return end.x


def _same(end: Law, best: Law, runs: Runs, corner: float) -> bool:
    costs = [huber(residuals(law, runs) / corner, 1.0).sum() for law in (end, best)]
    close = np.abs(end - best) <= 1e-3 * np.maximum(np.abs(best), 1)
    return bool(costs[0] <= costs[1] * (1 + 1e-5) + 1e-6 and close.all())


def _starts(runs: Runs) -> Float[np.ndarray, "starts 5"]:
    """Laws for exponents on a grid: E, A and B are linear then (variable projection)."""
    n, d, log_loss = runs
    weight, found = np.exp(-log_loss), []
    for alpha in GRID:
        for beta in GRID:
            columns = np.stack([np.ones_like(n), np.exp(-alpha * n), np.exp(-beta * d)], 1) * weight[:, None]
            (e, a, b), _ = scipy.optimize.nnls(columns, np.ones_like(n))
            found.append([e, np.log(max(a, 1e-3)), np.log(max(b, 1e-3)), alpha, beta])
    return np.array(found)


def _condition(theta: Law, runs: Runs) -> float:
    """Condition of the information matrix with its diagonal scaled to one."""
    slopes = jacobian(theta, runs)
    lengths = np.maximum(np.linalg.norm(slopes, axis=0), 1e-300)
    return float(np.linalg.cond(slopes / lengths) ** 2)


def _is_stationary(theta: Law, runs: Runs, corner: float) -> bool:
    """Whether the gradient is small beside what residuals at the corner could make it."""
    slopes = jacobian(theta, runs)
    gradient = np.clip(residuals(theta, runs) / corner, -1, 1) @ slopes
    free = (theta > LOW + 1e-6) & (theta < HIGH - 1e-6)
    return bool((np.abs(gradient) <= STATIONARY * np.abs(slopes).sum(0))[free].all())


def _design_flags(table: Table) -> dict[str, None]:
    found = dict.fromkeys(flag for flag in table.flags if flag in REFUSALS)
    if len(set(zip(table.params, table.tokens))) <= len(NAMES):
        return found | {"fewer_points_than_parameters": None}
    n, d = np.log(table.params), np.log(table.tokens)
    if is_short(table.flops):
        found["short_compute_span"] = None
    if np.std(d - n) < 0.05 * np.std(d + n):
        found["N_D_collinear"] = None
    return found


def _interval_flags(best: Surface, draws: Surface) -> dict[str, None]:
    found = {
        "E_weakly_identified": is_weak(best.theta[0, 0], draws.theta[:, 0]),
        "wide_interval": is_wide(draws.exponents()["a"]),  # b is 1 - a
    }
    return dict.fromkeys(flag for flag, seen in found.items() if seen)
