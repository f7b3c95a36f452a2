# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Additive surfaces L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv 2203.15556), many at once.

Inside `law/` a surface is five numbers, `theta`: E, the logs of A's term and of B's term at the mean size and
the mean tokens, alpha and beta. Centring takes most of the correlation out of them.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

NAMES = ("E", "A", "B", "alpha", "beta")
LOW = np.array([0.0, -60.0, -60.0, 1e-3, 1e-3])
HIGH = np.array([np.inf, 60.0, 60.0, 3.0, 3.0])

Theta = Float[np.ndarray, "*laws 5"]
# Log params and log tokens, both centred, and log loss of the runs.
Runs = tuple[Float[np.ndarray, " runs"], Float[np.ndarray, " runs"], Float[np.ndarray, " runs"]]


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
        e, size, data = terms(self.theta, log_params - self.centre[0], log_tokens - self.centre[1])
        return e + size + data

    def exponents(self) -> dict[str, Float[np.ndarray, " laws"]]:
        """a of N_opt ~ C^a and b of D_opt ~ C^b, for C proportional to N D."""
        alpha, beta = self.theta[:, 3], self.theta[:, 4]
        return {"a": beta / (alpha + beta), "b": alpha / (alpha + beta)}

    def optimum(self, flops: float) -> tuple[Float[np.ndarray, "laws 2"], Float[np.ndarray, " laws"]]:
        """Log params and tokens of the least loss at a budget, and that log loss."""
        _, a, b, alpha, beta = self.theta.T
        t0, t1, t2 = self.tokens_at
        at_zero = t0 + t1 * np.log(flops) + t2 * self.centre[0] - self.centre[1]
        trade = max(-t2, 1e-3)
        n = (np.log(alpha) + a - np.log(trade * beta) - b + beta * at_zero) / (alpha + trade * beta)
        log_params, log_tokens = n + self.centre[0], at_zero + t2 * n + self.centre[1]
        e, size, data = terms(self.theta, n[:, None], (log_tokens - self.centre[1])[:, None])
        return np.stack([log_params, log_tokens], 1), np.log(e + size + data)[:, 0]


def terms(
    theta: Theta, n: Float[np.ndarray, "*points"], d: Float[np.ndarray, "*points"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, the size's term and the data's term at centred log sizes and tokens."""
    e, a, b, alpha, beta = (theta[..., i, None] for i in range(5))
    return e, np.exp(a - alpha * n), np.exp(b - beta * d)


def residuals(theta: Theta, runs: Runs) -> Float[np.ndarray, "*laws runs"]:
    """Log predicted over measured loss."""
    n, d, log_loss = runs
    return np.log(sum(terms(theta, n, d))) - log_loss


def jacobian(theta: Theta, runs: Runs) -> Float[np.ndarray, "*laws runs 5"]:
    """Of `residuals` in theta."""
    n, d, _ = runs
    e, size, data = terms(theta, n, d)
    columns = np.stack(np.broadcast_arrays(np.ones_like(size), size, data, -size * n, -data * d), -1)
    return columns / (e + size + data)[..., None]


def huber(residual: np.ndarray, corner: float) -> np.ndarray:
    """Half the square up to the corner, straight beyond it."""
    size = np.abs(residual)
    return np.where(size <= corner, size**2 / 2, corner * (size - corner / 2))


def refit(
    theta: Float[np.ndarray, "laws 5"],
    weights: Float[np.ndarray, "laws runs"],
    runs: Runs,
    corner: float,
    steps: int = 40,
) -> Float[np.ndarray, "laws 5"]:
    """Reweighted Levenberg-Marquardt on all laws at once: SciPy has no batch, and a bootstrap is one.

    Args:
      theta: where to start, one law a row.
      weights: of each run in each law.
      runs: what to fit.
      corner: of Huber's function, log units.
      steps: taken by each law; a step that does not improve it is shortened instead.
    """
    damping = np.full(len(theta), 1e-3)
    cost = (weights * huber(residuals(theta, runs), corner)).sum(1)
    for _ in range(steps):
        residual, slopes = residuals(theta, runs), jacobian(theta, runs)
        weight = weights / np.maximum(np.abs(residual) / corner, 1)
        gradient = np.einsum("lr,lrp->lp", weight * residual, slopes)
        information = np.einsum("lr,lrp,lrq->lpq", weight, slopes, slopes)
        diagonal = np.einsum("lpp->lp", information)
        information = information + (damping[:, None] * diagonal + 1e-12)[..., None] * np.eye(5)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        proposal = np.clip(theta - step, LOW, HIGH)
        proposed = (weights * huber(residuals(proposal, runs), corner)).sum(1)
        better = proposed <= cost
        theta, cost = np.where(better[:, None], proposal, theta), np.where(better, proposed, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 10), 1e-12, 1e6)
    return theta
