# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The lowest point of each budget's curve, and what noise makes of it."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from dit_jax.law.flags import interval95
from dit_jax.law.parabola import Curves, Parabola, Points, basis, lowest

# Of exponents, |beta - alpha| / (alpha + beta). It is .1 on Chinchilla's surface, where a parabola over +-8x
# puts D* at 1e24 3 % low, and .5 where it does so by 14 %; at .25, 7 %, and more with every decade ahead.
ASYMMETRY = 0.25


@dataclasses.dataclass(frozen=True, eq=False)
class Minimum:
    """Where one budget's loss is least.

    Attributes:
      vertex: log params, log tokens and log loss there.
      draws: of the same.
      sd: of log params there, for its weight among the others.
      parabola: through the runs near it, for the bend.
      curve: the loss at log params, along what the vertex was read from.
      rows: of the table, that the curve was fitted to.
    """

    vertex: Float[np.ndarray, " 3"]
    draws: Float[np.ndarray, "draws 3"]
    sd: float
    parabola: Parabola
    curve: Callable[[Float[np.ndarray, " sizes"]], Float[np.ndarray, " sizes"]]
    rows: Int[np.ndarray, " near"]


def smooth(
    curves: Curves, points: Sequence[Points], scale: Float[np.ndarray, " draws"], rng: np.random.Generator
) -> tuple[list[Minimum | None], bool]:
    """Minima of fitted curves, None where one lies outside its grid; and whether the arms are unequal.

    Args:
      curves: fitted to `points`.
      points: the runs, budget by budget.
      scale: relative sd of one run's loss, for every draw.
      rng: of the draws.
    """
    found: list[Minimum | None] = [None] * len(points)
    if not curves.near:
        return found, False
    coefficients, exponents = curves.draws(scale, rng)
    exponents = np.vstack([curves.exponents, exponents])
    for i, parabola, near, shaken in zip(
        curves.budgets, curves.parabolas, curves.near, coefficients.swapaxes(0, 1)
    ):
        every = np.vstack([parabola.coefficients, shaken])
        found[i] = _minimum(parabola, every, exponents, points[i].sizes, near)
    return found, len(curves.near) > 1 and _unequal(exponents[1:])


def _unequal(exponents: Float[np.ndarray, "draws 2"]) -> bool:
    """Whether the arms differ beyond `ASYMMETRY` and beyond doubt: a symmetric sweep's noise does not do so."""
    if not exponents.any():
        return False
    low, high = interval95((exponents[:, 1] - exponents[:, 0]) / exponents.sum(1))
    return bool(low > ASYMMETRY or high < -ASYMMETRY)


def _minimum(
    parabola: Parabola,
    coefficients: Float[np.ndarray, "draws 3"],
    exponents: Float[np.ndarray, "draws 2"],
    sizes: Float[np.ndarray, " sizes"],
    near: Points,
) -> Minimum | None:
    """The estimate comes first among the draws, which are kept within one grid's width of the grid."""
    low, high = sizes[0] - parabola.centre, sizes[-1] - parabola.centre
    u = lowest(coefficients, exponents)
    if not low <= u[0] <= high:
        return None
    u = np.clip(u, 2 * low - high, 2 * high - low)
    inside = np.clip(u, low, high)  # a curve says nothing of the loss beyond
    loss = (basis(inside, exponents) * coefficients).sum(-1)
    log_tokens = np.polynomial.Polynomial.fit(near.log_params, near.log_tokens, 2)(parabola.centre + u)
    every = np.stack(
        [parabola.centre + u, log_tokens, np.log(np.maximum(loss, 1e-3 * coefficients[0, 0]))], 1
    )
    sd = float(np.ptp(np.quantile(every[1:, 0], [0.16, 0.84])) / 2)  # a draw without a minimum lies far out
    return Minimum(every[0], every[1:], sd, parabola, parabola.loss, parabola.rows)
