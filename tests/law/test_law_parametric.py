# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from dit_jax.law import read_table
from dit_jax.law.parametric import fit_parametric
from tests.law.law_worlds import CHINCHILLA, SHARED, additive, best_size, grid, table_of

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
    assert fit.fit.starts_agreeing >= 4
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
    for seed in range(4):
        assert "singular_information" in refusal(grid(BUDGETS[:1], sizes=9, noise=0.002, seed=seed))


def test_one_ray_cannot_tell_size_from_data():
    params = np.geomspace(1e6, 1e10, 12)
    loss = additive(params, 20 * params) * np.exp(0.002 * np.random.default_rng(0).standard_normal(12))
    rows = [{"params": p, "tokens": 20 * p, "flops": 120 * p * p, "loss": y} for p, y in zip(params, loss)]
    assert "N_D_collinear" in refusal(table_of(rows))


def test_a_short_span_of_compute_is_flagged():
    fit = fit_parametric(grid(np.array([1e17, 2e17, 4e17]), sizes=5, noise=0.005), draws=100)
    assert fit.status == "ok_with_warning"
    assert {"short_compute_span", "E_weakly_identified"} <= set(fit.flags)


def test_checkpoints_of_one_run_count_as_one():
    """Rows of a training run share its luck: an interval that ignores that is too narrow."""
    table = grid(BUDGETS, sizes=9, noise=1e-4)
    rng = np.random.default_rng(0)
    rows = []
    for i, (params, tokens) in enumerate(zip(table.params, table.tokens)):
        luck = 0.004 * rng.standard_normal()
        for part in (0.5, 0.7, 1.0):
            seen = part * tokens
            row = {"params": params, "tokens": seen, "flops": 6 * params * seen, "run": f"r{i}"}
            rows.append(row | {"loss": float(additive(params, seen) * np.exp(luck))})
    alone = [{name: value for name, value in row.items() if name != "run"} for row in rows]
    widths = [
        np.ptp(fit_parametric(table_of(some), draws=200).summary()["exponents_ci95"]["a"])
        for some in (rows, alone)
    ]
    assert widths[0] > 1.3 * widths[1]


FORMS_TRIED = {
    "tied": {"E": 1.0, "A": 300.0, "B": 500.0, "alpha": 0.3, "beta": 0.3},
    "no_E": {"E": 0.0, "A": 30.0, "B": 50.0, "alpha": 0.15, "beta": 0.2},
}


@pytest.mark.parametrize("form", FORMS_TRIED)
def test_other_forms_recover_their_own_laws(form):
    truth = FORMS_TRIED[form]
    fit = fit_parametric(grid(BUDGETS, loss=lambda n, d: additive(n, d, truth)), draws=10, form=form)
    assert estimates(fit) == pytest.approx(truth, rel=1e-4)
    assert fit.status == "ok"


def repeated_worth(tokens, unique, r_star):
    return unique * (1 + r_star * (1 - np.exp(-np.maximum(tokens / unique - 1, 0) / r_star)))


def test_repeated_data_is_worth_less():
    rng = np.random.default_rng(0)
    rows = []
    for params in np.geomspace(1e7, 1e9, 7):
        for unique, epochs in ((1e9, 1), (1e9, 3), (1e9, 10), (1e9, 40), (1e10, 1), (1e10, 8), (1e10, 30)):
            tokens = unique * epochs
            loss = additive(params, repeated_worth(tokens, unique, 15.0)) * np.exp(
                0.001 * rng.standard_normal()
            )
            row = {"params": params, "tokens": tokens, "unique_tokens": unique, "flops": 6 * params * tokens}
            rows.append(row | {"loss": float(loss)})
    fit = fit_parametric(table_of(rows), draws=100, form="repeated")
    low, high = fit.summary()["ci95"]["R_star"]
    assert low < 15.0 < high
    assert high / low < 1.5
    naive = fit_parametric(table_of(rows), draws=10)
    assert naive.scale > 5 * fit.scale
    (size,), (loss,) = (value for value in fit.best.optimum(1e20))
    tokens = 1e20 / 6 / np.exp(size[0])
    assert np.exp(loss) == pytest.approx(
        additive(np.exp(size[0]), repeated_worth(tokens, 1e10, 15.0)), rel=0.01
    )


def test_space_and_time_can_be_told_apart():
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(80):
        params, space, time = np.exp(rng.uniform(np.log([1e6, 1e8, 1e7]), np.log([1e9, 1e11, 1e10])))
        loss = 0.4 + 50 / params**0.3 + 200 / space**0.35 + 20 / time**0.2
        row = {
            "params": params,
            "tokens": space * time / 1e6,
            "spatial_tokens": space,
            "temporal_tokens": time,
        }
        rows.append(row | {"flops": 6 * params * row["tokens"], "loss": loss})
    fit = fit_parametric(table_of(rows), draws=10, form="video")
    found = estimates(fit)
    truth = {"E": 0.4, "A": 50, "B": 200, "G": 20, "alpha": 0.3, "beta": 0.35, "gamma": 0.2}
    assert found == pytest.approx(truth, rel=1e-3)


def test_a_form_without_its_columns_says_what_is_missing():
    with pytest.raises(ValueError, match="unique_tokens"):
        fit_parametric(grid(BUDGETS), form="repeated")
    with pytest.raises(ValueError, match="spatial_tokens, temporal_tokens"):
        fit_parametric(grid(BUDGETS), form="video")


def test_the_profile_of_a_floor_that_is_known_is_narrow_and_of_one_that_is_not_wide():
    narrow = fit_parametric(grid(BUDGETS, noise=0.002), draws=50)
    low, high = narrow.floor.ci95
    assert low < CHINCHILLA["E"] < high
    assert high - low < 0.15
    wide = fit_parametric(grid(np.array([1e17, 3e17, 1e18]), sizes=5, noise=0.005), draws=50)
    assert np.ptp(wide.floor.ci95) > 4 * (high - low)
    assert narrow.floor.distance[np.argmin(np.abs(narrow.floor.distance))] == 0


@pytest.mark.skipif(not SHARED.exists(), reason="the shared scaling data is not here")
@pytest.mark.parametrize(
    "name", ["s01_noisefree_chinchilla", "s03_asymmetric_noisefree", "s04_symmetric_offcentre3x"]
)
def test_shared_laws_without_noise_are_recovered(name):
    cases = json.loads((SHARED / "reference_cases.json").read_text())
    truth = next(case["published"]["truth"] for case in cases if case["id"] == f"synth_{name}")
    found = estimates(fit_parametric(read_table(SHARED / "synthetic" / f"{name}.csv"), draws=10))
    assert found == pytest.approx(truth, rel=1e-4)
