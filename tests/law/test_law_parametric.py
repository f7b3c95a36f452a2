# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import csv
import json

import numpy as np
import pytest
from law_worlds import CHINCHILLA, SHARED, additive, best_size, grid, table_of

from dit_jax.law import read_table
from dit_jax.law.parametric import fit_parametric
from dit_jax.law.surface import refit

BUDGETS = np.geomspace(1e17, 1e21, 5)


def estimates(fit):
    return {name: value[0] for name, value in fit.best.params().items()}


@pytest.mark.parametrize(
    "law",
    [CHINCHILLA, {"E": 0.3, "A": 20.0, "B": 900.0, "alpha": 0.2, "beta": 0.45}],
)
def test_a_law_without_noise_is_recovered(law):
    def loss(params, tokens):
        return additive(params, tokens, law)

    fit = fit_parametric(grid(BUDGETS, loss=loss), draws=20)
    assert fit.status == "ok"
    assert fit.starts_agreeing >= 4
    found = estimates(fit)
    for name, value in law.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    (log_params, log_tokens), _ = fit.best.optimum(1e23)[0][0], None
    assert np.exp(log_params) == pytest.approx(best_size(1e23, loss), rel=1e-3)
    assert np.exp(log_params + log_tokens) * 6 == pytest.approx(1e23, rel=1e-6)


def test_the_interval_holds_the_truth_and_narrows_with_the_noise():
    widths = []
    for noise in (0.008, 0.002):
        inside = []
        for seed in range(8):
            fit = fit_parametric(grid(BUDGETS, noise=noise, seed=seed), draws=100, seed=seed)
            low, high = fit.summary()["exponents_ci95"]["a"]
            inside.append(low <= 0.28 / 0.62 <= high)
            widths.append(high - low)
        assert np.mean(inside) >= 0.75  # 6 of 8; at 95 % fewer has a chance of 1 in 170
    assert 2.5 < np.mean(widths[:8]) / np.mean(widths[8:]) < 6


def test_a_few_broken_runs_barely_move_the_fit():
    table = grid(BUDGETS, sizes=9, noise=0.003)
    loss = table.loss.copy()
    loss[[3, 20, 37]] *= 1.3
    rows = zip(table.params, table.tokens, table.flops, loss)
    broken = table_of([dict(zip(("params", "tokens", "flops", "loss"), row)) for row in rows])
    clean, robust = (fit_parametric(one, draws=20).summary()["exponents"]["a"] for one in (table, broken))
    assert robust == pytest.approx(clean, abs=0.01)


def test_the_answer_is_the_same_for_the_same_seed_only():
    table = grid(BUDGETS, noise=0.004)
    first, again, other = (fit_parametric(table, draws=30, seed=seed).summary() for seed in (1, 1, 2))
    assert first == again
    assert first["params"] == other["params"]
    assert first["ci95"] != other["ci95"]


def test_the_batch_of_refits_reaches_what_scipy_reaches():
    table = grid(BUDGETS, noise=0.004)
    fit = fit_parametric(table, draws=1)
    data = (
        np.log(table.params) - fit.best.centre[0],
        np.log(table.tokens) - fit.best.centre[1],
        np.log(table.loss),
    )
    far = fit.best.theta + np.array([[-0.5, 0.3, -0.3, 0.1, -0.05], [0.1, 1.0, 0.0, -0.1, 0.2]])
    for end in refit(far, np.ones((2, len(table))), data, 1.345 * 0.004):
        np.testing.assert_allclose(end, fit.best.theta[0], rtol=0.02)


def refusal(table):
    fit = fit_parametric(table, draws=10)
    assert fit.status == "refused"
    assert fit.summary()["params"] is None
    assert fit.summary()["starts_agreeing"] == 0
    return fit.flags


def test_too_few_points_are_refused():
    assert "fewer_points_than_parameters" in refusal(grid(BUDGETS[:1], sizes=5))
    repeated = grid(BUDGETS[:1], sizes=4, seeds=5, noise=0.01)  # 20 rows, 4 places
    assert "fewer_points_than_parameters" in refusal(repeated)


def test_one_budget_cannot_tell_size_from_data():
    assert "singular_information" in refusal(grid(BUDGETS[:1], sizes=9, noise=0.002))


def test_one_ray_cannot_tell_size_from_data():
    params = np.geomspace(1e6, 1e10, 12)
    loss = additive(params, 20 * params) * np.exp(0.002 * np.random.default_rng(0).standard_normal(12))
    rows = [{"params": p, "tokens": 20 * p, "flops": 120 * p * p, "loss": y} for p, y in zip(params, loss)]
    assert "N_D_collinear" in refusal(table_of(rows))


def test_a_short_span_of_compute_is_flagged():
    fit = fit_parametric(grid(np.array([1e17, 2e17, 4e17]), sizes=5, noise=0.005), draws=100)
    assert fit.status == "ok_with_warning"
    assert {"short_compute_span", "E_weakly_identified"} <= set(fit.flags)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared scaling data is not here")
def test_a_published_fit_is_reproduced():
    cases = {case["id"]: case for case in json.loads((SHARED / "reference_cases.json").read_text())}
    case = cases["epoch_a3_huber1e-3"]
    with open(SHARED / case["data"], newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["epoch_excluded"] == "0"]
    fit = fit_parametric(table_of(rows), draws=20, delta=1e-3)
    found = estimates(fit) | {"a": fit.summary()["exponents"]["a"]}
    assert fit.objective <= case["tolerance"]["objective_max"] * (1 + 1e-7)
    for name, tolerance in case["tolerance"]["rel"].items():
        assert found[name] == pytest.approx(case["ours"][name], rel=tolerance)
    for name in ("E", "alpha", "beta", "a"):
        assert found[name] == pytest.approx(case["ours"][name], abs=case["tolerance"]["abs"][name])


@pytest.mark.skipif(not SHARED.exists(), reason="the shared scaling data is not here")
@pytest.mark.parametrize(
    "name", ["s01_noisefree_chinchilla", "s03_asymmetric_noisefree", "s04_symmetric_offcentre3x"]
)
def test_shared_laws_without_noise_are_recovered(name):
    cases = json.loads((SHARED / "reference_cases.json").read_text())
    truth = next(case["published"]["truth"] for case in cases if case["id"] == f"synth_{name}")
    found = estimates(fit_parametric(read_table(SHARED / "synthetic" / f"{name}.csv"), draws=10))
    assert found == pytest.approx(truth, rel=1e-4)
