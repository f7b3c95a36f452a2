# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Laws as surfaces, many at once: the loss anywhere, its slopes, and the best size for a budget."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from dit_jax.law.forms import FORMS, Form
from dit_jax.law.table import Table

Theta = Float[np.ndarray, "laws full"]
BISECTIONS = 60
REACH = 40.0  # log params either side of the centre, where an optimum is sought


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """What a form sees of a table: log columns about their means, and log loss.

    `unique` is the log of the unique tokens about the mean log tokens, for forms that repeat data.
    """

    form: Form
    x: Float[np.ndarray, "columns runs"]
    log_loss: Float[np.ndarray, " runs"]
    centre: Float[np.ndarray, " columns"]
    unique: Float[np.ndarray, " runs"] | None = None

    @classmethod
    def of(cls, table: Table, form: Form) -> "Runs":
        x = np.log(np.stack([getattr(table, name) for name in form.columns]))
        centre = x.mean(1)
        unique = None
        if form.repeats:
            known = np.where(np.isfinite(table.unique_tokens), table.unique_tokens, table.tokens)
            unique = np.log(np.minimum(known, table.tokens)) - centre[1]
        return cls(form, x - centre[:, None], np.log(table.loss), centre, unique)

    def __len__(self) -> int:
        return len(self.log_loss)

    @property
    def bounds(self) -> Float[np.ndarray, "2 free"]:
        """Of the form's free numbers, a break among the runs."""
        found = self.form.bounds
        if self.form.broken:
            found[:, self.form.free.index("flops_break")] = self.x.min(), self.x.max()
        return found


def predicted(
    theta: Theta, runs: Runs, slopes: bool = False
) -> tuple[Float[np.ndarray, "laws runs"], Float[np.ndarray, "laws runs full"] | None]:
    """Log loss of the runs under each law, and its slopes in theta."""
    each, moves = terms(theta, runs)
    total = theta[:, :1] + each.sum(1)
    if not slopes:
        return np.log(total), None
    columns = [np.ones_like(total)[:, None], each, *(each[:, i : i + 1] * move for i, move in moves)]
    return np.log(total), np.moveaxis(np.concatenate(columns, 1) / total[:, None], 1, 2)


def terms(
    theta: Theta, runs: Runs
) -> tuple[Float[np.ndarray, "laws columns runs"], list[tuple[int, Float[np.ndarray, "laws 1 runs"]]]]:
    """The terms of the runs, and for each number after the coefficients which term it moves, and its slope."""
    k = len(runs.form.columns)
    alpha, x = theta[:, k + 1 : 2 * k + 1, None], np.broadcast_to(runs.x, (len(theta), *runs.x.shape))
    log_term, moves = theta[:, 1 : k + 1, None] - alpha * x, [(i, -x[:, i : i + 1]) for i in range(k)]
    if runs.form.repeats:
        tokens, worth = effective(runs.x[1], runs.unique, theta[:, -1:])
        log_term[:, 1] -= alpha[:, 1] * (tokens - x[:, 1])
        moves[1:] = [(1, -tokens[:, None]), (1, (-alpha[:, 1] * worth)[:, None])]
    if runs.form.broken:
        after, place, width = (theta[:, i, None, None] for i in (3, 4, 5))
        ahead, turn, share = hinge(x - place, width)
        local = alpha + (after - alpha) * share
        log_term = theta[:, 1:2, None] - alpha * (x - place) - (after - alpha) * ahead
        moves = [(0, ahead - (x - place)), (0, -ahead), (0, local), (0, (alpha - after) * turn)]
    return np.exp(log_term), moves


def hinge(
    x: Float[np.ndarray, "*some points"], log_width: Float[np.ndarray, "*laws 1"]
) -> tuple[
    Float[np.ndarray, "*all points"], Float[np.ndarray, "*all points"], Float[np.ndarray, "*all points"]
]:
    """What is added to a line before a break at 0 to bend it there: 0 far before, x far after.

    The log of `(1 + exp(x / f))^f`, the factor of a smooth break of sharpness f (Caballero et al. 2022, arXiv
    2210.14891, equation 1). With it its slope in log f and its slope in x.
    """
    width = np.exp(log_width)
    ahead = width * np.logaddexp(0, x / width)
    share = np.exp(-np.logaddexp(0, -x / width))
    return ahead, ahead - x * share, share


def effective(
    tokens: Float[np.ndarray, "*some runs"],
    unique: Float[np.ndarray, "*some runs"],
    log_r: Float[np.ndarray, "laws 1"],
) -> tuple[Float[np.ndarray, "laws runs"], Float[np.ndarray, "laws runs"]]:
    """Log of what repeated tokens are worth as fresh ones, and its slope in log R*.

    With U unique tokens and R = D/U - 1 repeats, D' = U (1 + R* (1 - exp(-R/R*))) (Muennighoff et al. 2023,
    arXiv 2305.16264).

    Args:
      tokens: log tokens seen.
      unique: log unique tokens, no more than those seen.
      log_r: log R*.
    """
    repeats = np.expm1(np.maximum(tokens - unique, 0))
    ratio = repeats / np.exp(log_r)
    fresh = 1 + np.exp(log_r) * -np.expm1(-ratio)
    slope = np.exp(log_r) * (-np.expm1(-ratio) - ratio * np.exp(-ratio)) / fresh
    return unique + np.log(fresh), slope


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """Laws over sizes and tokens.

    Attributes:
      form: their family.
      theta: one law a row.
      centre: mean log of each column of the form.
      places: log columns = places @ (1, log params, log tokens), over the runs.
      tokens_at: log tokens = t0 + t1 log FLOPs + t2 log params over the runs (1 and -1 for C = 6 N D).
      middle: mean log params.
      unique: log unique tokens that there are, for repeated data.
    """

    form: Form
    theta: Float[np.ndarray, "laws full"]
    centre: Float[np.ndarray, " columns"]
    places: Float[np.ndarray, "columns 3"]
    tokens_at: Float[np.ndarray, " 3"]
    middle: float
    unique: float | None = None

    @classmethod
    def over(cls, table: Table, runs: Runs, theta: Theta) -> "Surface":
        """Laws fitted to the runs of a table."""
        n, d, c = (np.log(column) for column in (table.params, table.tokens, table.flops))
        one = np.ones_like(n)
        known = {"params": np.array([0.0, 1, 0]), "tokens": np.array([0.0, 0, 1])}
        here = np.stack([one, n, d], 1)
        places = [
            known[name] if name in known else np.linalg.lstsq(here, x + centre, rcond=None)[0]
            for name, x, centre in zip(runs.form.columns, runs.x, runs.centre)
        ]
        tokens_at = np.linalg.lstsq(np.stack([one, c, n], 1), d, rcond=None)[0]
        unique = float(runs.unique.max() + runs.centre[1]) if runs.unique is not None else None
        return cls(runs.form, theta, runs.centre, np.stack(places), tokens_at, float(n.mean()), unique)

    @classmethod
    def from_params(cls, values: Mapping[str, float], unit: float = 1.0, form: str = "additive") -> "Surface":
        """A printed law of params and tokens, for C = 6 N D.

        Args:
          values: E, A, B, alpha, beta.
          unit: in which it counts parameters and tokens.
          form: whose numbers these are.
        """
        numbers = np.array([[values[name] for name in FORMS[form].names]])
        numbers[:, 1:3] = np.log(numbers[:, 1:3])
        centre, places = np.full(2, np.log(unit)), np.eye(3)[1:]
        return cls(
            FORMS[form], numbers, centre, places, np.array([-np.log(6), 1.0, -1.0]), float(np.log(1e9))
        )

    def params(self) -> dict[str, Float[np.ndarray, " laws"]]:
        """The law's numbers, coefficients per parameter and per token."""
        k = len(self.form.columns)
        values = dict(zip(self.form.names, self.theta.T))
        for i, (name, centre) in enumerate(zip(self.form.names[1 : k + 1], self.centre)):
            values[name] = np.exp(self.theta[:, 1 + i] + self.theta[:, 1 + k + i] * centre)
        if self.form.repeats:
            values["R_star"] = np.exp(values["R_star"])
        if self.form.broken:
            values["A"] = values["A"] * np.exp(values["alpha"] * values["flops_break"])
            values["flops_break"] = np.exp(values["flops_break"] + self.centre[0])
            values["width"] = np.exp(values["width"])
        return values

    def loss(
        self, log_params: Float[np.ndarray, "*points"], log_tokens: Float[np.ndarray, "*points"]
    ) -> Float[np.ndarray, "laws points"]:
        """At sizes and tokens; a leading axis of laws may be had by either."""
        return np.exp(
            self._log_loss(*np.broadcast_arrays(np.atleast_2d(log_params), np.atleast_2d(log_tokens)))
        )

    def _log_loss(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return np.log(self.theta[:, :1] + sum(term for term, _ in self._terms(n, d)))

    def _terms(self, n: np.ndarray, d: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each term, and its exponent times how its column moves with size and tokens."""
        found = []
        for i, (c0, cn, cd) in enumerate(self.places):
            tokens, share = d, 1.0
            if self.form.repeats and i == 1:
                unique = np.minimum(d, self.unique)
                tokens, share = self._worth(d, unique)
            log_term, local = self._term(i, c0 + cn * n + cd * tokens - self.centre[i])
            move = local * np.stack(np.broadcast_arrays(cn * np.ones_like(log_term), cd * share))
            found.append((np.exp(log_term), move))
        return found

    def _term(self, i: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log of a term where its centred log column is x, and the exponent there."""
        k = len(self.form.columns)
        log_scale, alpha = self.theta[:, 1 + i, None], self.theta[:, 1 + k + i, None]
        if not self.form.broken:
            return log_scale - alpha * x, alpha
        after, place, width = (self.theta[:, j, None] for j in (3, 4, 5))
        ahead, _, share = hinge(x - place, width)
        return log_scale - alpha * (x - place) - (after - alpha) * ahead, alpha + (after - alpha) * share

    def _worth(self, d: np.ndarray, unique: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log effective tokens and their slope in log tokens."""
        log_r = self.theta[:, -1:]
        tokens, _ = effective(d, unique, log_r)
        repeats = np.expm1(np.maximum(d - unique, 0))
        slope = np.exp(d - np.exp(-log_r) * repeats - tokens)
        return tokens, np.where(d > unique, slope, 1.0)

    def exponents(self) -> dict[str, Float[np.ndarray, " laws"]] | None:
        """a of N_opt ~ C^a and b of D_opt ~ C^b, for C proportional to N D; None without a size and tokens."""
        if self.form.columns != ("params", "tokens"):
            return None
        alpha, beta = self.theta[:, 3], self.theta[:, 4]
        return {"a": beta / (alpha + beta), "b": alpha / (alpha + beta)}

    def optimum(self, flops: float) -> tuple[Float[np.ndarray, "laws 2"] | None, Float[np.ndarray, " laws"]]:
        """Log params and tokens of the least loss at a budget, and that log loss.

        The loss is convex in log params along a budget: its slope is bisected. A form without a size knows
        no best one, and gives None.
        """
        if self.form.of_compute:
            log_term, _ = self._term(0, np.full((len(self.theta), 1), np.log(flops) - self.centre[0]))
            return None, np.log(self.theta[:, 0] + np.exp(log_term[:, 0]))
        low = np.full((len(self.theta), 1), self.middle - REACH)
        high = low + 2 * REACH
        for _ in range(BISECTIONS):
            n = (low + high) / 2
            falls = self._slope(n, self._tokens(flops, n)) < 0
            low, high = np.where(falls, n, low), np.where(falls, high, n)
        n = (low + high) / 2
        d = self._tokens(flops, n)
        return np.concatenate([n, d], 1), self._log_loss(n, d)[:, 0]

    def _tokens(self, flops: float, n: np.ndarray) -> np.ndarray:
        return self.tokens_at[0] + self.tokens_at[1] * np.log(flops) + self.tokens_at[2] * n

    def _slope(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Of the loss in log params along a budget."""
        return sum(-term * (move[0] + move[1] * self.tokens_at[2]) for term, move in self._terms(n, d))

    def overtraining(self) -> dict[str, Float[np.ndarray, " laws"]]:
        """E, a, b, eta of L = E + (a M^eta + b M^-eta) C^-eta, M = D/N, the same law where exponents are tied.

        Gadre et al. 2024, arXiv 2403.08540. Written for C = k N D, k as in the runs.
        """
        values, eta = self.params(), self.theta[:, 3] / 2
        scale = np.exp(-self.tokens_at[0] * eta)
        return {"E": values["E"], "a": values["A"] * scale, "b": values["B"] * scale, "eta": eta}
