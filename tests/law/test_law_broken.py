# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Laws whose exponent changes at a break, and laws that have none."""

import numpy as np
import pytest

from dit_jax.law import describe, fit_law, law_json
from dit_jax.law.parametric import fit_parametric
from tests.law.law_worlds import grid, table_of

STEEPER = {"E": 0.4, "A": 1.5, "alpha": 0.08, "alpha_after": 0.25, "flops_break": 1e19, "width": 0.5}
FLATTER = STEEPER | {"alpha": 0.3, "alpha_after": 0.1}
UNBROKEN = STEEPER | {"alpha": 0.15, "alpha_after": 0.15}


def loss_at(flops, law):
    """Equation 1 of Caballero et al. 2022, arXiv 2210.14891, one break; here A is the term's size at the break."""
    x = flops / law["flops_break"]
    bend = (1 + x ** (1 / law["width"])) ** ((law["alpha"] - law["alpha_after"]) * law["width"])
    return law["E"] + law["A"] * x ** -law["alpha"] * bend


def best_runs(law, num=14, noise=0.003, seed=0, factor=1.0):
    """One run a budget."""
    flops = np.geomspace(1e17, 1e21, num)
    loss = loss_at(flops, law) * np.exp(noise * np.random.default_rng(seed).standard_normal(num))
    sizes = np.sqrt(flops / 120)
    rows = zip(sizes, flops / 6 / sizes, flops, factor * loss)
    return table_of([dict(zip(("params", "tokens", "flops", "loss"), row)) for row in rows])


def isoflop(law, seed=0, noise=0.003, num=12):
    """Grids whose best runs follow a law of compute."""

    def loss(params, tokens):
        return loss_at(6 * params * tokens, law) * np.exp(0.02 * np.log(params / tokens * 20) ** 2 / 4)

    return grid(np.geomspace(1e17, 1e21, num), 6, noise, seed, loss)


@pytest.mark.parametrize("law", [STEEPER, FLATTER], ids=["steeper", "flatter"])
def test_a_broken_law_without_noise_is_recovered(law):
    fit = fit_parametric(best_runs(law, noise=0), draws=10, form="broken")
    assert (fit.status, fit.fit.converged) == ("ok", True)
    assert fit.fit.starts_agreeing > 10
    found = fit.summary()["params"]
    printed = law["A"] * law["flops_break"] ** law["alpha"]  # the paper's b
    assert found == pytest.approx(law | {"A": printed}, rel=1e-3)
    flops = np.array([1e16, 1e19, 1e24])
    log_loss = np.array([fit.best.optimum(c)[1][0] for c in flops])
    np.testing.assert_allclose(np.exp(log_loss), loss_at(flops, law), rtol=1e-3)
    sizes = np.log(np.sqrt(flops / 120))
    np.testing.assert_allclose(fit.best.loss(sizes, np.log(flops / 6) - sizes)[0], np.exp(log_loss))


@pytest.mark.parametrize("law", [STEEPER, FLATTER], ids=["steeper", "flatter"])
def test_exponents_and_break_are_recovered_and_their_intervals_hold_them(law):
    names, inside = ("alpha", "alpha_after", "flops_break", "E"), []
    for seed in range(6):
        fit = fit_parametric(best_runs(law, 16, 0.002, seed), draws=100, seed=seed, form="broken")
        assert fit.fit.converged
        assert "break_not_identified" not in fit.flags
        found = fit.summary()
        assert found["params"]["alpha"] == pytest.approx(law["alpha"], abs=0.03)
        assert found["params"]["alpha_after"] == pytest.approx(law["alpha_after"], abs=0.05)
        assert np.log(found["params"]["flops_break"] / law["flops_break"]) == pytest.approx(0, abs=0.4)
        inside += [found["ci95"][name][0] <= law[name] <= found["ci95"][name][1] for name in names]
    assert np.mean(inside) >= 0.8  # 24 dependent ones


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_no_break_is_seen_in_a_law_without_one(noise):
    for seed in range(4):
        fit = fit_parametric(best_runs(UNBROKEN, 16, noise, seed), draws=20, form="broken")
        assert "break_not_identified" in fit.flags
        assert not fit.stands


def test_a_break_beyond_the_runs_is_not_seen():
    law = STEEPER | {"flops_break": 3e21}
    assert "break_not_identified" in fit_parametric(best_runs(law), draws=20, form="broken").flags


def test_few_budgets_are_refused():
    fit = fit_parametric(best_runs(STEEPER, 7), draws=10, form="broken")
    assert (fit.status, fit.flags) == ("refused", ("too_few_budgets",))
    assert describe(fit_law(best_runs(STEEPER, 7), 20, law="broken"))["status"] == "refused"


def test_the_unit_of_the_loss_does_not_matter():
    one, other = (
        fit_parametric(best_runs(STEEPER, factor=f), draws=10, form="broken").summary() for f in (1, 1e3)
    )
    for name in ("alpha", "alpha_after", "flops_break", "width"):
        assert other["params"][name] == pytest.approx(one["params"][name], rel=1e-4)
    assert other["params"]["E"] == pytest.approx(1e3 * one["params"]["E"], rel=1e-4)


def test_held_out_budgets_choose_a_law_that_broke():
    table = isoflop(STEEPER)
    law = law_json(table, [1e23])
    errors = law["holdout"]["rmse_log_by_law"]
    assert law["holdout"]["chosen"] == "broken"
    assert errors["broken"] < errors["frontier"] / 3
    (one,) = law["predictions"]
    truth = float(loss_at(1e23, STEEPER))
    assert one["loss"] == pytest.approx(truth, rel=0.1)
    assert one["loss_pi95"][0] < truth < one["loss_pi95"][1]
    assert law["rivals"]["broken"]["params"]["flops_break"] == pytest.approx(1e19, rel=0.4)


def test_held_out_budgets_do_not_choose_it_where_nothing_broke():
    few, many = (law_json(isoflop(UNBROKEN, num=num), [1e23]) for num in (9, 12))
    assert "broken" not in few["rivals"]
    assert "broken" in many["rivals"]
    for law in (few, many):
        assert "broken" not in law["holdout"]["weights"]


def test_asked_for_by_name_it_is_fitted_to_the_minimum_of_each_budget():
    law = fit_law(isoflop(STEEPER), 100, law="broken")
    assert len(law.parametric.table) == 12
    document = describe(law, [1e22])
    (one,) = document["predictions"]
    assert one["loss"] == pytest.approx(float(loss_at(1e22, STEEPER)), rel=0.03)
    assert one["params"] == pytest.approx(np.sqrt(1e22 / 120), rel=0.3)  # by the isoFLOP line
    assert document["next_run"]["params"] is not None
    alone = fit_law(isoflop(STEEPER), 100, law="compute")
    assert len(alone.parametric.table) == 12
