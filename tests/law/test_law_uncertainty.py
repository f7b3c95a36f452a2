# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Profile likelihood of whichever number is weakly identified."""

import numpy as np
import pytest
import scipy.optimize

from dit_jax.law.flags import interval95, is_weak
from dit_jax.law.minimise import huber
from dit_jax.law.parametric import fit_parametric
from dit_jax.law.uncertainty import profile, profile_interval
from tests.law.law_worlds import CHINCHILLA, additive, grid, table_of

BUDGETS = np.geomspace(1e18, 1e20, 4)
NAMES = ("A", "B", "alpha", "beta")


def intervals(fit, names=NAMES):
    """By profile and by bootstrap."""
    drawn = {name: interval95(fit.draws.params()[name]) for name in names}
    found = {
        name: profile_interval(fit.fit, fit.runs, name, drawn[name], fit.table.cluster) for name in names
    }
    return found, drawn


def test_a_profile_agrees_with_the_bootstrap_where_all_is_known():
    fit = fit_parametric(grid(np.geomspace(1e17, 1e21, 6), sizes=12, noise=0.002), draws=400)
    by_profile, by_bootstrap = intervals(fit)
    for name in NAMES:
        log = np.log if name in "AB" else np.asarray
        one, other = log(by_profile[name]), log(by_bootstrap[name])
        assert np.abs(one - other).max() < 0.35 * np.ptp(other), name
    assert not {"alpha", "beta"} & set(fit.profiled)  # there the bootstrap has the word


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_the_least_objective_with_one_number_held(name):
    """SciPy on the law as papers write it, with the number held in their units."""
    table = grid(BUDGETS, sizes=5, noise=0.01, seed=3)
    fit = fit_parametric(table, draws=100)
    held = 1.15 * fit.best.params()[name][0]
    order = ("E", *NAMES)
    start = np.array([fit.best.params()[one][0] for one in order])
    start[1:3] = np.log(start[1:3])
    where = order.index(name)
    held = np.log(held) if where < 3 else held

    def cost(others):
        free = np.insert(others, where, held)
        law = dict(zip(order, [free[0], *np.exp(free[1:3]), *free[3:]]))
        residual = np.log(additive(table.params, table.tokens, law)) - np.log(table.loss)
        return 1e4 * float(huber(residual, fit.fit.corner).sum())

    options = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-9, "fatol": 1e-10, "adaptive": True}
    best = np.delete(start, where)
    for _ in range(4):
        best = scipy.optimize.minimize(cost, best, method="Nelder-Mead", options=options).x
    ours = least_held(fit, name, held)
    assert ours == pytest.approx(cost(best) / 1e4, rel=1e-3)


def least_held(fit, name, held):
    from dit_jax.law import uncertainty

    one, runs = uncertainty._uncentred(fit.fit, fit.runs) if name in "AB" else (fit.fit, fit.runs)
    return float(uncertainty._held(one, runs, name, np.array([held]))[0])


def test_profiles_of_weak_numbers_hold_the_truth_and_are_narrower_than_the_bootstrap():
    inside, narrower = [], []
    for seed in range(20):
        fit = fit_parametric(grid(BUDGETS, sizes=5, noise=0.01, seed=seed), draws=100, seed=seed)
        drawn = fit.draws.params()
        for name in NAMES:
            ends = interval95(drawn[name])
            assert is_weak(fit.best.params()[name][0], ends) == (name in fit.profiled)
            if name in fit.profiled:
                low, high = fit.profiled[name]
                inside.append(low <= CHINCHILLA[name] <= high)
                narrower.append((high - low) / np.ptp(ends))
    assert len(inside) > 60
    assert np.mean(inside) >= 0.85  # measured on 150: 93 to 95 %
    assert np.median(narrower) < 0.9


def test_rows_of_one_run_widen_a_profile():
    table = grid(BUDGETS, sizes=7, noise=1e-4)
    rng, rows = np.random.default_rng(0), []
    for i, (params, tokens) in enumerate(zip(table.params, table.tokens)):
        luck = 0.004 * rng.standard_normal()
        for part in (0.6, 0.8, 1.0):
            seen = part * tokens
            row = {"params": params, "tokens": seen, "flops": 6 * params * seen, "run": f"r{i}"}
            noise = np.exp(luck + 0.0005 * rng.standard_normal())
            rows.append(row | {"loss": float(additive(params, seen) * noise)})
    alone = [{name: value for name, value in row.items() if name != "run"} for row in rows]
    widths = [np.ptp(fit_parametric(table_of(some), draws=100).floor.ci95) for some in (rows, alone)]
    assert widths[0] > 1.25 * widths[1]


def test_a_profile_ends_at_a_bound_where_nothing_else_ends_it():
    fit = fit_parametric(grid(np.geomspace(1e18, 3e18, 3), sizes=4, noise=0.02), draws=50)
    found = profile(fit.fit, fit.runs, "E", 0.05, fit.table.cluster)
    assert found.ci95[0] == 0.0
    assert not found.closed[0]


def test_tied_exponents_share_an_interval():
    fit = fit_parametric(grid(BUDGETS, sizes=5, noise=0.02), draws=50, form="tied")
    ci95 = fit.summary()["ci95"]
    assert ci95["alpha"] == ci95["beta"]
    assert {"alpha", "beta"} <= set(fit.summary()["profiled"])
