# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The additive law L = E + A / N^alpha + B / D^beta over all runs (Hoffmann et al. 2022, approach 3).

The objective is Huber on log residuals, its corner set by the residuals' own scale: a fixed corner acts as
least squares on one set of losses and as least absolute deviations on another.
"""

import dataclasses

import numpy as np
import scipy  # scipy.optimize loads when first used
from jaxtyping import Float

from dit_jax.law.flags import interval95, status
from dit_jax.law.table import Table

NAMES = ("E", "A", "B", "alpha", "beta")
WIDE = 0.2
E_WIDE = 0.3  # of E, the width of its interval
SINGULAR = 1e7  # condition of the scaled information matrix: no exponents beyond it
HUBER = 1.345  # corner over sd: 95 % efficient on Gaussian residuals
SMALLEST_SCALE = 1e-6  # log units: below it residuals are rounding
GRID = np.geomspace(0.05, 1.2, 6)  # exponents to start from
TOLERANCES = {"xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12, "max_nfev": 400}
LOW = np.array([0.0, -60.0, -60.0, 1e-3, 1e-3])
HIGH = np.array([np.inf, 60.0, 60.0, 3.0, 3.0])

# Inside this module a law is (E, log of A's term and of B's term at the mean size, alpha, beta): centring
# takes most of the correlation out.
Theta = Float[np.ndarray, "*batch 5"]


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """Laws as numbers, about the mean log params and log tokens of a table.

    Attributes:
      theta: one law a row: E, log A and log B at the centre, alpha, beta.
      centre: mean log params and mean log tokens.
      tokens_at: log tokens = t0 + t1 log FLOPs + t2 log params over the runs (1 and -1 for C = 6 N D).
    """

    theta: Float[np.ndarray, "laws 5"]
    centre: Float[np.ndarray, " 2"]
    tokens_at: Float[np.ndarray, " 3"]

    def params(self) -> dict[str, Float[np.ndarray, " laws"]]:
        """E, A, B, alpha, beta with A and B per parameter and per token."""
        e, a, b, alpha, beta = self.theta.T
        size, data = np.exp(a + alpha * self.centre[0]), np.exp(b + beta * self.centre[1])
        return dict(zip(NAMES, (e, size, data, alpha, beta)))

    def loss(
        self, log_params: Float[np.ndarray, " points"], log_tokens: Float[np.ndarray, " points"]
    ) -> Float[np.ndarray, "laws points"]:
        e, size, data = _terms(self.theta, log_params - self.centre[0], log_tokens - self.centre[1])
        return e + size + data

    def optimum(self, flops: float) -> tuple[Float[np.ndarray, "laws 2"], Float[np.ndarray, " laws"]]:
        """Log params and tokens of the least loss at a budget, and that log loss."""
        _, a, b, alpha, beta = self.theta.T
        t0, t1, t2 = self.tokens_at
        at_zero = t0 + t1 * np.log(flops) + t2 * self.centre[0] - self.centre[1]
        trade = max(-t2, 1e-3)
        n = (np.log(alpha) + a - np.log(trade * beta) - b + beta * at_zero) / (alpha + trade * beta)
        log_params, log_tokens = n + self.centre[0], at_zero + t2 * n + self.centre[1]
        e, size, data = _terms(self.theta, n[:, None], (log_tokens - self.centre[1])[:, None])
        return np.stack([log_params, log_tokens], 1), np.log(e + size + data)[:, 0]


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
            "exponents": {name: float(value[0]) for name, value in exponents(self.best).items()},
            "exponents_ci95": {name: interval95(v).tolist() for name, v in exponents(self.draws).items()},
            "objective": self.objective,
            "starts_agreeing": self.starts_agreeing,
        }


def exponents(surface: Surface) -> dict[str, Float[np.ndarray, " laws"]]:
    """a of N_opt ~ C^a and b of D_opt ~ C^b, for C proportional to N D."""
    alpha, beta = surface.theta[:, 3], surface.theta[:, 4]
    return {"a": beta / (alpha + beta), "b": alpha / (alpha + beta)}


def fit_parametric(table: Table, draws: int = 300, seed: int = 0, delta: float | None = None) -> Parametric:
    """Fits the additive law from several starts, and again to resampled runs.

    Args:
      table: runs with positive losses.
      draws: bootstrap draws over pairs.
      seed: of the bootstrap.
      delta: the Huber corner in log units; None takes it from the residuals' own scale.
    """
    flags = _design_flags(table)
    if flags.keys() & {"fewer_points_than_parameters", "nonpositive_loss", "no_variation"}:
        return Parametric("refused", tuple(flags))
    n, d, log_loss = (np.log(column) for column in (table.params, table.tokens, table.loss))
    centre = np.array([n.mean(), d.mean()])
    data = n - centre[0], d - centre[1], log_loss
    theta, corner, agreeing = _solve(data, delta)
    if _condition(theta, data) > SINGULAR:
        return Parametric("refused", (*flags, "singular_information"))
    if agreeing < 2:
        flags["starts_disagree"] = None
    weights = np.random.default_rng(seed).multinomial(len(n), np.full(len(n), 1 / len(n)), draws)
    cloud = refit(np.tile(theta, (draws, 1)), weights.astype(float), data, corner)
    tokens_at = np.linalg.lstsq(np.stack([np.ones_like(n), np.log(table.flops), n], 1), d, rcond=None)[0]
    best, resampled = (Surface(some, centre, tokens_at) for some in (theta[None], cloud))
    flags |= _interval_flags(best, resampled)
    residual = log_loss - np.log(best.loss(n, d)[0])
    scale = float(np.sqrt((residual**2).sum() / (len(n) - 5)))
    objective = float(_huber(residual, corner).sum())
    return Parametric(status(flags), tuple(flags), best, resampled, scale, objective, agreeing)


def refit(
    theta: Float[np.ndarray, "laws 5"],
    weights: Float[np.ndarray, "laws runs"],
    data: tuple[Float[np.ndarray, " runs"], ...],
    corner: float,
    steps: int = 40,
) -> Float[np.ndarray, "laws 5"]:
    """Reweighted Levenberg-Marquardt on all laws at once: SciPy has no batch, and a bootstrap is one.

    Args:
      theta: where to start, one law a row.
      weights: of each run in each law.
      data: centred log params, centred log tokens, log loss.
      corner: of Huber's function, log units.
      steps: taken by each law; a step that does not improve it is shortened instead.
    """
    damping = np.full(len(theta), 1e-3)
    cost = (weights * _huber(_residual(theta, data), corner)).sum(1)
    for _ in range(steps):
        residual, jacobian = _residual(theta, data), _jacobian(theta, data)
        weight = weights / np.maximum(np.abs(residual) / corner, 1)
        gradient = np.einsum("lr,lrp->lp", weight * residual, jacobian)
        information = np.einsum("lr,lrp,lrq->lpq", weight, jacobian, jacobian)
        diagonal = np.einsum("lpp->lp", information)
        information = information + (damping[:, None] * diagonal + 1e-12)[..., None] * np.eye(5)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        proposal = np.clip(theta - step, LOW, HIGH)
        proposed = (weights * _huber(_residual(proposal, data), corner)).sum(1)
        better = proposed <= cost
        theta, cost = np.where(better[:, None], proposal, theta), np.where(better, proposed, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 10), 1e-12, 1e6)
    return theta


def _solve(
    data: tuple[Float[np.ndarray, " runs"], ...], delta: float | None
) -> tuple[Float[np.ndarray, " 5"], float, int]:
    """The best law, the Huber corner, and how many of the starts came to it."""
    starts = _starts(data)
    corner, law = delta or 1.0, None
    for _ in range(1 if delta else 4):  # the scale and the fit settle on each other
        law = _descend(starts if law is None else law[None], data, corner)[0]
        if not delta:
            residual = _residual(law, data)
            sd = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
            corner = HUBER * max(sd, SMALLEST_SCALE)
    ends = _descend(starts, data, corner)
    best = _polish(ends[0], data, corner)
    return best, corner, sum(_same(end, best, data, corner) for end in ends)


def _descend(starts: Float[np.ndarray, "laws 5"], data, corner: float) -> Float[np.ndarray, "laws 5"]:
    """Where every start ends, the lowest first."""
    ends = refit(starts, np.ones((len(starts), len(data[0]))), data, corner)
    return ends[np.argsort(_huber(_residual(ends, data), corner).sum(1))]


def _polish(start: Float[np.ndarray, " 5"], data, corner: float) -> Float[np.ndarray, " 5"]:
    """SciPy's trust region; residuals in units of the corner, so its tolerances suit any table."""
    end = scipy.optimize.least_squares(
        lambda theta: _residual(theta, data) / corner,
        np.clip(start, LOW + 1e-12, HIGH - 1e-12),
        jac=lambda theta: _jacobian(theta, data) / corner,
        bounds=(LOW, HIGH),
        loss="huber",
        x_scale="jac",
        **TOLERANCES,
    )
    return end.x


def _same(end: Float[np.ndarray, " 5"], best: Float[np.ndarray, " 5"], data, corner: float) -> bool:
    costs = [_huber(_residual(law, data) / corner, 1.0).sum() for law in (end, best)]
    close = np.abs(end - best) <= 1e-3 * np.maximum(np.abs(best), 1)
    return bool(costs[0] <= costs[1] * (1 + 1e-5) + 1e-6 and close.all())


def _starts(data) -> Float[np.ndarray, "starts 5"]:
    """Laws for exponents on a grid: E, A and B are linear then (variable projection)."""
    n, d, log_loss = data
    weight, found = np.exp(-log_loss), []
    for alpha in GRID:
        for beta in GRID:
            columns = np.stack([np.ones_like(n), np.exp(-alpha * n), np.exp(-beta * d)], 1) * weight[:, None]
            (e, a, b), _ = scipy.optimize.nnls(columns, np.ones_like(n))
            found.append([e, np.log(max(a, 1e-3)), np.log(max(b, 1e-3)), alpha, beta])
    return np.array(found)


def _terms(theta: Theta, n, d):
    e, a, b, alpha, beta = (theta[..., i, None] for i in range(5))
    return e, np.exp(a - alpha * n), np.exp(b - beta * d)


def _residual(theta: Theta, data) -> Float[np.ndarray, "*batch runs"]:
    n, d, log_loss = data
    return np.log(sum(_terms(theta, n, d))) - log_loss


def _jacobian(theta: Theta, data) -> Float[np.ndarray, "*batch runs 5"]:
    n, d, _ = data
    e, size, tokens = _terms(theta, n, d)
    columns = np.stack(np.broadcast_arrays(np.ones_like(size), size, tokens, -size * n, -tokens * d), -1)
    return columns / (e + size + tokens)[..., None]


def _huber(residual: np.ndarray, corner: float) -> np.ndarray:
    size = np.abs(residual)
    return np.where(size <= corner, size**2 / 2, corner * (size - corner / 2))


def _condition(theta: Float[np.ndarray, " 5"], data) -> float:
    """Condition of the information matrix with its diagonal scaled to one."""
    jacobian = _jacobian(theta, data)
    lengths = np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300)
    return float(np.linalg.cond(jacobian / lengths) ** 2)


def _design_flags(table: Table) -> dict[str, None]:
    found = dict.fromkeys(flag for flag in table.flags if flag in ("nonpositive_loss", "no_variation"))
    if len(set(zip(table.params, table.tokens))) <= len(NAMES):
        return found | {"fewer_points_than_parameters": None}
    n, d = np.log(table.params), np.log(table.tokens)
    log_flops = np.log10(table.flops)
    if np.ptp(log_flops) < 0.95:
        found["short_compute_span"] = None
    if np.std(d - n) < 0.05 * np.std(d + n):
        found["N_D_collinear"] = None
    return found


def _interval_flags(best: Surface, draws: Surface) -> dict[str, None]:
    low, high = interval95(draws.theta[:, 0])
    e = best.theta[0, 0]
    lost = high - low > E_WIDE * e or low < 0.01 * e
    wide = any(np.ptp(interval95(value)) > WIDE for value in exponents(draws).values())
    return dict.fromkeys(
        flag for flag, seen in {"E_weakly_identified": lost, "wide_interval": wide}.items() if seen
    )
