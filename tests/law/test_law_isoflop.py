# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from law_worlds import additive, best_size, grid, pilot, table_of

from dit_jax.law.isoflop import fit_isoflop
from dit_jax.law.slices import budgets, slices

BUDGETS = np.geomspace(1e17, 1e21, 5)
TRUE_A = 0.28 / (0.34 + 0.28)


def fitted(table, seed=0):
    return fit_isoflop(slices(table, 300, seed)[0], seed)


def test_the_exponents_of_a_law_without_noise():
    fit = fitted(grid(BUDGETS, sizes=9))
    assert fit.status == "ok"
    exponents = fit.summary()["exponents"]
    assert exponents["a"] == pytest.approx(TRUE_A, abs=1e-4)
    assert exponents["a"] + exponents["b"] == pytest.approx(1, abs=1e-4)
    (log_params, log_tokens), _ = fit.at(1e20)
    assert np.exp(log_params) == pytest.approx(best_size(1e20), rel=0.05)
    assert np.exp(log_params + log_tokens) * 6 == pytest.approx(1e20, rel=1e-3)


def test_the_interval_of_the_exponent_holds_the_truth():
    inside = []
    for seed in range(40):
        low, high = fitted(grid(BUDGETS, noise=0.003, seed=seed), seed).summary()["exponents_ci95"]["a"]
        assert high - low < 0.1
        inside.append(low <= TRUE_A <= high)
    assert np.mean(inside) >= 0.85  # 34 of 40; at 95 % fewer has a chance of 1 in 300


def test_rounding_to_whole_steps_does_not_split_a_budget():
    table = grid(BUDGETS)
    wobble = np.exp(np.random.default_rng(0).uniform(-0.03, 0.03, len(table)))
    rows = zip(table.params, table.tokens, table.flops * wobble, table.loss)
    wobbled = table_of([dict(zip(("params", "tokens", "flops", "loss"), row)) for row in rows])
    assert [len(group) for group in budgets(wobbled)] == [7] * 5


def test_a_budget_missed_by_whole_steps_is_levelled():
    exact, rows = grid(BUDGETS, sizes=9), []
    for i, (params, tokens) in enumerate(zip(exact.params, exact.tokens)):
        tokens *= 1.04 if i % 2 else 0.97
        row = {"params": params, "tokens": tokens, "flops": 6 * params * tokens}
        rows.append(row | {"loss": float(additive(params, tokens))})
    for one, other in zip(slices(exact)[0], slices(table_of(rows))[0]):
        at = np.exp(one.vertex[2]) + (other.flops / one.flops - 1) * slope_of(one)
        assert np.exp(other.vertex[2]) == pytest.approx(at, rel=5e-4)
        assert other.vertex[0] == pytest.approx(one.vertex[0], abs=0.05)


def slope_of(one):
    """How the true best loss changes with log FLOPs at a budget."""
    size, more = best_size(one.flops), best_size(1.01 * one.flops)
    best = additive(size, one.flops / 6 / size)
    return (additive(more, 1.01 * one.flops / 6 / more) - best) / np.log(1.01)


def test_noise_is_measured_by_seeds_where_there_are_some():
    noise = slices(grid(BUDGETS, noise=0.004, seeds=3))[1]
    assert noise.seed == pytest.approx(0.004, rel=0.2)
    assert noise.fit == pytest.approx(0.004, rel=0.2)


def test_a_wide_window_is_used_for_noisy_runs_and_a_narrow_one_for_clean_ones():
    def asymmetric(params, tokens):
        return 1.69 + 406.4 / params**0.465 + 410.7 / tokens**0.155

    used = {}
    for noise in (0.0, 0.01):
        found, _ = slices(grid(BUDGETS, sizes=15, noise=noise, loss=asymmetric, reach=8))
        used[noise] = [len(one.parabola.rows) for one in found]
    assert max(used[0.0]) < 15
    assert used[0.01] == [15] * 5


def flags_of(table):
    fit = fitted(table)
    return fit, {flag for one in fit.vertices for flag in one.flags}


def test_three_sizes_a_budget_are_too_few():
    fit, flags = flags_of(grid(BUDGETS, sizes=3))
    assert (fit.status, flags) == ("refused", {"a2_too_few_points"})
    assert fit.summary()["exponents"] is None


def test_a_budget_without_a_minimum_is_left_out_and_shown():
    table = grid(BUDGETS, sizes=9)
    uphill = (table.flops > 5e20) & (table.params < 1.05 * best_size(1e21))
    fit, _ = flags_of(table.select(~uphill))
    assert [("a2_optimum_outside_grid" in one.flags) for one in fit.vertices] == [False] * 4 + [True]
    assert fit.status == "ok_with_warning"
    assert fit.summary()["exponents"]["a"] == pytest.approx(TRUE_A, abs=0.01)


def test_noise_that_swamps_the_curvature_is_flagged():
    fit, flags = flags_of(grid(BUDGETS, noise=0.03, reach=2.0, seed=3))
    assert "a2_vertex_uncertain" in flags
    assert {"wide_interval"} <= set(fit.flags)


def test_one_budget_has_no_exponent_and_two_leave_nothing_to_judge_it_by():
    one, _ = flags_of(grid(BUDGETS[:1]))
    assert (one.status, one.flags) == ("refused", ("one_budget",))
    two, _ = flags_of(grid(BUDGETS[:2], noise=0.001))
    assert two.status == "ok_with_warning"
    assert "a2_zero_dof" in two.flags


def test_a_grid_off_its_optimum_is_noted_and_the_fit_stands():
    def shifted(params, tokens):
        return additive(params, tokens)

    rows = []
    for flops in BUDGETS:
        for params in 2.4 * best_size(flops) * np.geomspace(1 / 4, 4, 9):
            row = {"params": params, "tokens": flops / 6 / params, "flops": flops}
            rows.append(row | {"loss": shifted(params, flops / 6 / params)})
    fit, flags = flags_of(table_of(rows))
    assert flags == {"a2_off_centre"}
    assert fit.status == "ok"


def test_the_pilot_grows_its_models_faster_than_their_data():
    exponents = fitted(pilot(3e11)).summary()["exponents"]
    assert 0.5 < exponents["a"] < 0.75
    assert exponents["b"] == pytest.approx(1 - exponents["a"], abs=0.02)
