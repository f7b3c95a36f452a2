# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs with a known law behind them."""

import pathlib
from collections.abc import Callable

import numpy as np

from dit_jax.law import Table

SHARED = pathlib.Path(__file__).resolve().parents[2] / "../shared/scaling"

# Validation losses of a pilot ladder, by budget and width; active parameters by width.
PILOT_PARAMS = {8: 1.5e3, 12: 3.5e3, 16: 6.1e3, 24: 13.8e3, 32: 36.9e3, 48: 82.9e3, 64: 197e3, 96: 442e3}
PILOT_LOSS = {
    1e10: {8: 0.901, 12: 0.847, 16: 0.831, 24: 0.896, 32: 1.023},
    3e10: {8: 0.874, 12: 0.793, 16: 0.751, 24: 0.739, 32: 0.825, 48: 0.923},
    1e11: {12: 0.770, 16: 0.726, 24: 0.663, 32: 0.678, 48: 0.720, 64: 0.831},
    3e11: {16: 0.720, 24: 0.639, 32: 0.601, 48: 0.584, 64: 0.664, 96: 0.766},
    1e12: {32: 0.541, 48: 0.476, 64: 0.529},
}

CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def table_of(rows: list[dict]) -> Table:
    return Table.from_rows(enumerate(rows, 1))


def pilot(largest: float) -> Table:
    """The pilot's runs of the budgets up to `largest`."""
    return table_of(
        [
            {"params": PILOT_PARAMS[width], "tokens": c / 6 / PILOT_PARAMS[width], "flops": c, "loss": loss}
            for c, row in PILOT_LOSS.items()
            for width, loss in row.items()
            if c <= largest
        ]
    )


def additive(params: np.ndarray, tokens: np.ndarray, law: dict[str, float] = CHINCHILLA) -> np.ndarray:
    return law["E"] + law["A"] / params ** law["alpha"] + law["B"] / tokens ** law["beta"]


def best_size(flops: float, loss: Callable = additive) -> float:
    """The size of least loss with C = 6 N D, by search on ever finer grids."""
    low, high = 1e3, 1e14
    for _ in range(4):
        sizes = np.geomspace(low, high, 200)
        best = int(np.argmin(loss(sizes, flops / 6 / sizes)))
        low, high = sizes[max(best - 1, 0)], sizes[min(best + 1, 199)]
    return float(sizes[best])


def grid(
    budgets: np.ndarray,
    sizes: int = 7,
    noise: float = 0.0,
    seed: int = 0,
    loss: Callable = additive,
    seeds: int = 1,
    reach: float = 4.0,
) -> Table:
    """An isoFLOP grid about the best size of every budget, each run with its own relative noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for flops in budgets:
        for params in best_size(flops, loss) * np.geomspace(1 / reach, reach, sizes):
            tokens = flops / 6 / params
            for run in range(seeds):
                measured = float(loss(params, tokens) * np.exp(noise * rng.standard_normal()))
                row = {"params": params, "tokens": tokens, "flops": flops, "loss": measured}
                rows.append(row | {"seed": run, "lr": 1e-2 * params**-0.25, "batch": 8})
    return table_of(rows)
