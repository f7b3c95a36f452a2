# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fits that are proved, and fits that were published."""

import csv
import json

import numpy as np
import pytest

from dit_jax.law import minimise as fitting
from dit_jax.law.forms import FORMS
from dit_jax.law.minimise import (
    Fit,
    condition,
    huber,
    is_stationary,
    minimise,
    refit,
    residuals,
    slopes,
    starts,
)
from dit_jax.law.surface import Runs, Surface
from tests.law.law_worlds import CHINCHILLA, SHARED, additive, grid, table_of

BUDGETS = np.geomspace(1e17, 1e21, 5)
PUBLISHED = pytest.mark.skipif(not SHARED.exists(), reason="the shared scaling data is not here")


def runs_of(table, form="additive"):
    return Runs.of(table, FORMS[form])


def numbers(table, runs, fit):
    surface = Surface.over(table, runs, fit.free[None] @ runs.form.expand.T)
    return {name: float(value[0]) for name, value in (surface.params() | (surface.exponents() or {})).items()}


@pytest.mark.parametrize("form", FORMS)
def test_slopes_are_those_of_the_residuals(form):
    rng = np.random.default_rng(0)
    table = grid(BUDGETS, noise=0.01)
    columns = {
        "unique_tokens": table.tokens / rng.uniform(1, 9, len(table)),
        "spatial_tokens": table.tokens * rng.uniform(1, 9, len(table)),
        "temporal_tokens": table.tokens**0.9,
    }
    runs = runs_of(type(table)(**{**vars(table), **columns}), form)
    free = starts(runs)[[3]] * rng.uniform(0.8, 1.2)
    found, step = slopes(free, runs)[0], 1e-6
    for i in range(free.shape[1]):
        move = np.zeros_like(free)
        move[0, i] = step
        slope = (residuals(free + move, runs) - residuals(free - move, runs))[0] / (2 * step)
        np.testing.assert_allclose(found[:, i], slope, rtol=1e-5, atol=1e-8)


def test_the_batch_of_refits_reaches_what_scipy_reaches():
    runs = runs_of(grid(BUDGETS, noise=0.004))
    fit = minimise(runs)
    far = fit.free + np.array([[-0.5, 0.3, -0.3, 0.1, -0.05], [0.1, 1.0, 0.0, -0.1, 0.2]])
    for end in refit(far, runs, fit.corner):
        np.testing.assert_allclose(end, fit.free, rtol=1e-4)


def test_a_number_that_is_held_stays():
    runs = runs_of(grid(BUDGETS, noise=0.004))
    fit = minimise(runs)
    start = np.tile(fit.free, (2, 1))
    start[:, 0] = [1.0, 1.6]
    ends = refit(start, runs, fit.corner, hold="E")
    assert ends[:, 0].tolist() == [1.0, 1.6]
    assert (huber(residuals(ends, runs), fit.corner).sum(1) > fit.objective).all()


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e4])
def test_the_unit_of_the_loss_does_not_matter(factor):
    table = grid(BUDGETS, noise=0.003, loss=lambda n, d: factor * additive(n, d))
    plain = grid(BUDGETS, noise=0.003)
    found, wanted = (numbers(one, runs_of(one), minimise(runs_of(one))) for one in (table, plain))
    assert found["a"] == pytest.approx(wanted["a"], rel=1e-5)
    assert found["E"] == pytest.approx(factor * wanted["E"], rel=1e-5)


def test_a_fit_that_has_not_moved_is_not_believed(monkeypatch):
    """What a search returns that never left its start, as a published loss-against-compute fit did."""
    runs = runs_of(grid(BUDGETS, noise=0.003))
    stuck = starts(runs)
    monkeypatch.setattr(fitting, "refit", lambda free, *_, **__: free)
    monkeypatch.setattr(fitting, "polish", lambda start, *_: start)
    fit = minimise(runs)
    assert any(np.array_equal(fit.free, start) for start in stuck)
    assert not fit.converged


def test_an_end_that_only_reports_success_is_not_believed():
    """SciPy's L-BFGS-B, at its defaults on the averaged objective, stops at once and calls it success."""
    import scipy.optimize

    runs = runs_of(grid(BUDGETS, noise=0.003))
    proved = minimise(runs)
    start = proved.free + np.array([-0.15, 0.02, 0.02, -0.02, 0.02])
    end = scipy.optimize.minimize(
        lambda free: 1e-3 * huber(residuals(free[None], runs), 1e-3).mean(), start, method="L-BFGS-B"
    )
    assert end.success
    assert not is_stationary(end.x, runs, 1e-3)
    assert proved.converged
    assert is_stationary(proved.free, runs, proved.corner)


def test_one_ray_is_singular_and_a_grid_is_not():
    runs = runs_of(grid(BUDGETS))
    assert condition(minimise(runs).free, runs) < 1e6
    params = np.geomspace(1e7, 1e9, 12)
    rows = [
        {"params": n, "tokens": 20 * n, "flops": 120 * n * n, "loss": float(additive(n, 20 * n))}
        for n in params
    ]
    ray = runs_of(table_of(rows))
    assert condition(minimise(ray).free, ray) > 1e7


def published(name):
    cases = json.loads((SHARED / "reference_cases.json").read_text())
    return next(case for case in cases if case["id"] == name)


def epoch():
    with open(SHARED / "chinchilla_fig4_epoch.csv", newline="") as file:
        return table_of([row for row in csv.DictReader(file) if row["epoch_excluded"] == "0"])


@PUBLISHED
@pytest.mark.parametrize(("name", "delta"), [("epoch_a3_huber1e-3", 1e-3), ("epoch_a3_l1", 1e-8)])
def test_chinchillas_runs_give_the_true_optimum(name, delta):
    case, table = published(name), epoch()
    runs = runs_of(table)
    fit = minimise(runs, delta)
    found = numbers(table, runs, fit)
    assert fit.converged
    for key, tolerance in case["tolerance"]["rel"].items():
        assert found[key] == pytest.approx(case["ours"][key], rel=tolerance)
    for key in {"E", "alpha", "beta", "a"} & set(case["tolerance"]["abs"]):
        assert found[key] == pytest.approx(case["ours"][key], abs=case["tolerance"]["abs"][key])
    if "objective_max" in case["tolerance"]:
        assert fit.objective <= case["tolerance"]["objective_max"] * (1 + 1e-7)
    else:
        assert np.abs(residuals(fit.free[None], runs)).sum() == pytest.approx(
            case["ours"]["objective"], rel=1e-5
        )


@PUBLISHED
def test_chinchillas_intervals_are_those_published():
    """The published bootstrap: 4,000 draws of pairs from NumPy's legacy generator at seed 42."""
    case, table = published("epoch_a3_huber1e-3"), epoch()
    runs = runs_of(table)
    fit = minimise(runs, 1e-3)
    draw = np.random.RandomState(42)
    counts = [np.bincount(draw.choice(240, 240), minlength=240) for _ in range(4000)]
    cloud = refit(np.tile(fit.free, (4000, 1)), runs, fit.corner, weights=np.array(counts, float))
    found = Surface.over(table, runs, cloud).params()
    for name, ends in case["published"]["ci95"].items():
        np.testing.assert_allclose(np.quantile(found[name], [0.025, 0.975]), ends, rtol=0.02)


@PUBLISHED
def test_summing_and_averaging_reach_the_same_optimum():
    """The trap of a published reanalysis: averaged, the usual optimiser stops early and reports success."""
    case = published("epoch_optimizer_trap")
    runs = runs_of(epoch())
    start = np.array([1.69, *np.log([406.4, 410.7]), 0.34, 0.28])
    start[1:3] -= start[3:] * runs.centre
    for unit in (1.0, 1 / 240):
        end = fitting.polish(start, runs, 1e-3, unit)
        best = huber(residuals(end[None], runs), 1e-3).sum()
        assert best <= case["ours"]["sum/default"]["best_objective_sum"] * (1 + 1e-6)


@PUBLISHED
@pytest.mark.parametrize("embeddings", ["emb", "noemb"])
@pytest.mark.parametrize("subset", ["hot", "cool_begin"])
@pytest.mark.parametrize("delta", ["1e-3", "1e-4"])
def test_gemstones_optima_are_reached(subset, embeddings, delta):
    case = published(f"gemstones_{subset}_{embeddings}_d{delta}")
    with open(SHARED / case["data"], newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["subset"] == subset]
    sizes = [float(row[case["method"]["N"]]) for row in rows]
    table = table_of(
        [
            {"params": n, "tokens": row["tokens"], "loss": row["loss"], "flops": 6 * n * float(row["tokens"])}
            for n, row in zip(sizes, rows)
        ]
    )
    runs = runs_of(table)
    fit = minimise(runs, case["method"]["delta"])
    assert fit.converged
    assert fit.objective <= case["tolerance"]["objective_max"]
    assert numbers(table, runs, fit)["a"] == pytest.approx(
        case["ours"]["a"], abs=case["tolerance"]["abs"]["a"]
    )


@PUBLISHED
def test_a_published_fit_that_only_echoes_its_start_is_told():
    """A = e^5, E = 1, alpha = 0.1: a start of its search, printed as the law."""
    case = published("porian_loss_fit_startpoint_echo")
    with open(SHARED / case["data"], newline="") as file:
        rows = [
            {
                "params": row["n_star"],
                "tokens": row["t_star"],
                "flops": row["flops"],
                "loss": row["loss_star"],
            }
            for row in csv.DictReader(file)
            if (row["warmup"], row["decay"], row["flop_count"], row["loss_split"])
            == ("long", "kaplan", "kaplan", "train")
        ]
    table = table_of(rows)
    runs = runs_of(table, "compute")
    values = case["published"]
    echo = np.array([values["E"], np.log(values["A"]) - values["alpha"] * runs.centre[0], values["alpha"]])
    assert not is_stationary(echo, runs, 1e-3)
    fit = minimise(runs)
    assert isinstance(fit, Fit)
    assert fit.converged
    assert huber(residuals(echo[None], runs), fit.corner).sum() > 10 * fit.objective


@PUBLISHED
def test_gadres_overtraining_law_predicts_the_large_runs():
    case = published("gadre_rpj")
    with open(SHARED / case["data"], newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train_dataset"] == "rpj"]
    small = [row for row in rows if row["token_multiplier"] == "20" and row["model"].startswith("d=")]
    small += [r for r in rows if r["token_multiplier"] == "320" and r["model"] == "d=96_l=8_h=4"]
    table = table_of([row | {"loss": row["loss_c4_val"]} for row in small])
    assert len(table) == 5
    runs = runs_of(table, "tied")
    start = minimise(runs, 1.0).free[None]
    plain = refit(start, runs, 1.0, weights=table.loss[None] ** 2)  # theirs: least squares of the loss itself
    surface = Surface.over(table, runs, plain @ runs.form.expand.T)
    found = {name: float(value[0]) for name, value in surface.overtraining().items()}
    tolerance = case["tolerance"]["abs"]
    assert found["E"] == pytest.approx(case["ours"]["E"], abs=tolerance["E"])
    assert found["eta"] == pytest.approx(case["ours"]["eta"], abs=tolerance["eta"])
    for test in case["ours"]["test"]:
        row = next(r for r in rows if r["model"] == test["model"] and r["token_multiplier"] == str(test["M"]))
        predicted = surface.loss(np.log([float(row["params"])]), np.log([float(row["tokens"])]))[0, 0]
        error = 100 * abs(predicted / float(row["loss_c4_val"]) - 1)
        assert error == pytest.approx(test["rel_err_pct"], abs=tolerance["rel_err_pct"])


def test_a_printed_law_is_evaluated_in_its_own_unit():
    """Yin et al. 2024 (arXiv 2411.17470): T and N in 1e9, coefficients that multiply."""
    values = {"E": 0.4856, "A": 0.0082, "B": 0.0373, "alpha": 0.3188, "beta": 0.2917}
    surface = Surface.from_params(values, unit=1e9)
    for params, tokens, loss in (
        (1.07e9, 1e10, 0.51268002),
        (0.72e9, 1.4e11, 0.5035297),
        (1.07e9, 4e9, 0.51851864),
    ):
        assert surface.loss(np.log([params]), np.log([tokens]))[0, 0] == pytest.approx(loss, abs=5e-8)


def test_a_printed_law_has_the_optimum_that_a_search_finds():
    surface = Surface.from_params(CHINCHILLA)
    (best,), (log_loss,) = surface.optimum(1e22)
    sizes = np.exp(best[0]) * np.array([0.9, 1.0, 1.1])
    losses = additive(sizes, 1e22 / 6 / sizes)
    assert losses[1] == pytest.approx(np.exp(log_loss))
    assert losses[1] < min(losses[0], losses[2])
