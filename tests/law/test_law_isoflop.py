# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from dit_jax.law.isoflop import fit_isoflop
from dit_jax.law.slices import ESTIMATORS, budgets, slices
from tests.law.law_worlds import additive, best_size, grid, pilot, table_of

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
        table = grid(BUDGETS, sizes=15, noise=noise, loss=asymmetric, reach=8)
        found, _ = slices(table, estimator="parabola")
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


def swept(seed, noise=None, symmetric=False):
    """A sweep such as people run, from a law drawn at random, and the law's exponent a."""
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0.2, 0.5, 2)
    beta = alpha if symmetric else beta
    noise = noise if noise is not None else np.exp(rng.uniform(np.log(0.001), np.log(0.01)))
    sizes, reach, off = rng.integers(5, 10), np.exp(rng.uniform(np.log(2), np.log(8))), rng.uniform(-1, 1)
    rows = []
    for flops in np.geomspace(1e17, 10.0 ** rng.integers(19, 22), rng.integers(4, 7)):
        best = (alpha / beta) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
        for params in best * 2 ** (off * (seed % 2)) * np.geomspace(1 / reach, reach, sizes):
            tokens = flops / 6 / params
            loss = (1.69 + 400 / params**alpha + 400 / tokens**beta) * np.exp(noise * rng.standard_normal())
            rows.append({"params": params, "tokens": tokens, "flops": flops, "loss": loss})
    return table_of(rows), beta / (alpha + beta)


def test_intervals_hold_the_exponent_of_laws_drawn_at_random():
    inside, width = [], []
    for seed in range(60):
        table, a = swept(seed)
        exponents = fitted(table, seed).summary()["exponents_ci95"]
        if exponents is not None:
            low, high = exponents["a"]
            inside.append(low <= a <= high)
            width.append(high - low)
    assert len(inside) >= 57
    assert np.mean(inside) >= 0.89  # at 95 % fewer have a chance of 1 in 70
    assert np.median(width) < 0.1


def test_the_corrected_vertex_is_no_worse_than_the_parabola_s():
    errors = {"corrected": [], "parabola": []}
    for seed in range(40):
        table, a = swept(seed, noise=0.002)
        for name, found in errors.items():
            found.append(fit_isoflop(slices(table, 50, seed, estimator=name)[0]).lines[1, 0] - a)
    rms = {name: np.sqrt(np.mean(np.square(found))) for name, found in errors.items()}
    assert rms["corrected"] <= 1.05 * rms["parabola"]


def test_noise_does_not_make_a_symmetric_sweep_look_biased():
    found = [fitted(swept(seed, symmetric=True)[0], seed).flags for seed in range(40)]
    assert sum("a2_biased" in flags for flags in found) <= 1


def test_unequal_arms_are_noted_where_they_show_and_the_fit_stands():
    def asymmetric(params, tokens):
        return 1.69 + 406.4 / params**0.465 + 410.7 / tokens**0.155

    fit = fitted(grid(BUDGETS, sizes=15, noise=3e-4, loss=asymmetric, reach=8))
    assert (fit.status, fit.flags) == ("ok", ("a2_biased",))
    assert fit.summary()["exponents"]["a"] == pytest.approx(0.25, abs=0.005)


def test_no_budget_has_a_minimum():
    rows = [
        {"params": n, "tokens": c / 6 / n, "flops": c, "loss": float(additive(n, c / 6 / n))}
        for c in BUDGETS
        for n in 20 * best_size(c) * np.geomspace(1 / 3, 3, 7)
    ]
    fit, flags = flags_of(table_of(rows))
    assert (fit.status, flags) == ("refused", {"a2_optimum_outside_grid"})


def test_runs_between_budgets_do_not_join_them():
    exact = grid(BUDGETS, sizes=9)
    rng = np.random.default_rng(0)
    flops = np.concatenate(
        [exact.flops * np.exp(rng.uniform(-0.09, 0.09, len(exact))), BUDGETS * 1.3, BUDGETS * 1.6]
    )
    params = np.concatenate([exact.params, exact.params[:10]])
    rows = [
        {"params": n, "tokens": c / 6 / n, "flops": c, "loss": 3.0 + i * 1e-3}
        for i, (n, c) in enumerate(zip(params, flops))
    ]
    found = [len(group) for group in budgets(table_of(rows))]
    assert found == [9, 1, 1] * 5


def test_exact_budgets_close_together_stay_apart():
    assert [len(group) for group in budgets(grid(np.array([1.0, 1.15, 1.32]) * 1e19))] == [7] * 3


def test_a_size_tried_with_several_learning_rates_counts_with_its_best():
    rows = []
    for flops in BUDGETS[:3]:
        for params in best_size(flops) * np.geomspace(1 / 4, 4, 7):
            loss = float(additive(params, flops / 6 / params))
            row = {"params": params, "tokens": flops / 6 / params, "flops": flops, "batch": 8}
            rows += [
                row | {"lr": lr, "loss": loss * (1 + 0.01 * i * (params % 2))}
                for i, lr in enumerate((1, 2, 3))
            ]
    found, noise = slices(table_of(rows))
    assert noise.fit < 1e-6
    assert all(len(one.rows) == 21 and len(one.curve_rows) == 7 for one in found)


def test_runs_that_look_unfinished_are_not_fitted():
    table = grid(BUDGETS, sizes=9, noise=0.001)
    loss = table.loss.copy()
    stopped = np.arange(len(table)) % 9 == 5
    loss[stopped] *= 1.04
    doubted = dataclasses.replace(table, loss=loss)
    spoilt, mended = (
        slices(one)[0]
        for one in (
            doubted,
            doubted.marked(
                "suspected_unfinished", dict.fromkeys(np.flatnonzero(stopped).tolist(), "stopped early")
            ),
        )
    )
    truth = np.log([best_size(one.flops) for one in mended])
    error = [np.abs([one.vertex[0] for one in found] - truth).max() for found in (spoilt, mended)]
    assert error[1] < 0.1 < error[0]
    assert all(len(one.rows) == 9 for one in mended)


def test_the_curve_of_a_slice_passes_through_its_vertex():
    table = grid(BUDGETS, sizes=15, noise=0.001)
    for estimator in ESTIMATORS:
        for one in slices(table, 50, estimator=estimator)[0]:
            assert np.log(one.curve(one.vertex[:1])) == pytest.approx(one.vertex[2], abs=1e-9)
            assert one.curve(one.vertex[:1] + 0.5) > one.curve(one.vertex[:1])


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="give one of parabola, corrected, akima"):
        slices(grid(BUDGETS), estimator="spline")
