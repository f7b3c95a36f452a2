# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import functools

import numpy as np
import pytest

from dit_jax.law.design import SurfacePlan, next_run, runs_for
from dit_jax.law.predict import fit_law
from tests.law.law_worlds import additive, grid, pilot, table_of

NOISE, TARGET = 0.005, 1e22
SEEDS = range(4)


def runs(params, tokens, seed):
    """Rows of the true law, each with its own noise."""
    loss = additive(params, tokens) * np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(params)))
    columns = zip(params, tokens, 6 * params * tokens, loss)
    return [dict(zip(("params", "tokens", "flops", "loss"), row)) for row in columns]


def scattered(seed):
    rng = np.random.default_rng(seed)
    ends = np.log(1e6), np.log(1e9)
    return runs(np.exp(rng.uniform(*ends, 24)), np.exp(rng.uniform(19, 25, 24)), seed)


def fit(rows):
    return fit_law(table_of(rows), draws=100, law="additive")


@functools.cache
def world(seed):
    return fit(scattered(seed))


def sd(law):
    return float(law.extrapolation.predict(np.log([TARGET])).half_width(of_a_run=False)[0] / 1.96)


def refitted(seed, *made):
    """The sd once runs are made."""
    params, tokens = (np.array([run[name] for run in made]) for name in ("params", "tokens"))
    return sd(fit(scattered(seed) + runs(params, tokens, 1000 + seed)))


def test_the_next_run_narrows_the_prediction_as_it_says_and_does_more_per_flop_than_another():
    told, got, better = [], [], []
    for seed in SEEDS:
        one, plan = next_run(world(seed), TARGET), SurfacePlan.of(world(seed), TARGET)
        if one is None:
            continue
        assert one["sd_before"] == pytest.approx(sd(world(seed)), rel=1e-6)
        assert one["sd_after"] < 0.9 * one["sd_before"]
        after = refitted(seed, one)
        told.append(one["sd_after"] / one["sd_before"])
        got.append(after / one["sd_before"])
        k = np.random.default_rng(seed).integers(len(plan.flops))
        other = dict(zip(("params", "tokens"), np.exp(plan.sizes[k])))
        gains = one["sd_before"] - np.array([after, refitted(seed, other)])
        better.append(gains[0] / one["flops"] > gains[1] / plan.flops[k])
    assert len(told) >= 3
    assert np.mean(got) < 0.95
    assert np.mean(got) == pytest.approx(np.mean(told), abs=0.1)
    assert np.mean(better) > 0.7


def test_as_many_runs_are_needed_as_are_said():
    ratios = []
    for seed in SEEDS:
        wanted = 0.7 * sd(world(seed))
        plan = runs_for(world(seed), TARGET, wanted)
        assert plan["reached"], plan["reason"]
        more = plan["runs"] * 3
        needed = next(i for i in range(1, len(more) + 1) if refitted(seed, *more[:i]) <= wanted)
        ratios.append(needed / len(plan["runs"]))
    assert 0.5 < np.exp(np.mean(np.log(ratios))) < 2


def test_runs_that_were_made_add_up_as_conditioning_a_gaussian_does():
    plan = SurfacePlan.of(world(0), TARGET)
    for first, second in ((0, 50), (7, 7)):
        one, other = plan.made(first).made(second), plan.made(second).made(first)
        assert plan.made(first).sd() == pytest.approx(plan.after()[first])
        assert one.sd() == pytest.approx(other.sd())
        target, seen = plan.draws[:, 0], plan.draws[:, [1 + first, 1 + second]]
        both = target @ seen
        left = target @ target - both @ np.linalg.solve(seen.T @ seen + plan.scale**2 * np.eye(2), both)
        assert (one.draws[:, 0] ** 2).sum() == pytest.approx(left)


def test_no_run_is_dearer_than_the_target_or_unlike_all_others():
    for seed in SEEDS:
        plan, table = SurfacePlan.of(world(seed), TARGET), world(seed).table
        size, tokens = world(seed).parametric.best.optimum(TARGET)[0][0]
        ratio, seen = (
            plan.sizes[:, 1] - plan.sizes[:, 0],
            np.append(np.log(table.tokens / table.params), tokens - size),
        )
        assert plan.flops.max() <= TARGET * (1 + 1e-6)
        assert (ratio >= seen.min() - 1e-6).all()
        assert (ratio <= seen.max() + 1e-6).all()
        np.testing.assert_allclose(plan.flops, 6 * np.exp(plan.sizes.sum(1)), rtol=1e-6)


def test_a_plan_narrows_step_by_step_down_to_the_precision():
    law = world(1)
    plan = runs_for(law, TARGET, 0.75 * sd(law))
    after = [run["sd_after"] for run in plan["runs"]]
    assert plan["reached"]
    assert plan["reason"] is None
    assert after == sorted(after, reverse=True)
    assert [run["sd_before"] for run in plan["runs"][1:]] == pytest.approx(after[:-1])
    assert after[-1] == pytest.approx(plan["sd_after"])
    assert plan["sd_after"] <= plan["precision"]
    assert plan["flops"] == pytest.approx(sum(run["flops"] for run in plan["runs"]))


def test_what_is_known_well_enough_needs_no_run():
    plan = runs_for(world(0), TARGET, 1.01 * sd(world(0)))
    assert (plan["reached"], plan["runs"], plan["flops"]) == (True, [], 0)


def test_a_precision_beyond_what_runs_can_tell_cannot_be_reached():
    plan = runs_for(world(0), TARGET, 1e-9)
    assert not plan["reached"]
    assert "reached" in plan["reason"]
    assert plan["sd_after"] > plan["precision"]


@functools.cache
def ladder():
    return fit_law(grid(np.geomspace(1e17, 1e20, 4), noise=0.002), draws=100, law="frontier")


def test_the_next_budget_narrows_what_the_frontier_predicts():
    one = next_run(ladder(), TARGET)
    assert 1e20 < one["flops"] < TARGET
    budgets = np.append(np.geomspace(1e17, 1e20, 4), one["flops"])
    longer = [fit_law(grid(budgets, noise=0.002, seed=s), draws=100, law="frontier") for s in range(3)]
    after = np.mean([sd(law) for law in longer])
    assert one["sd_before"] == pytest.approx(sd(ladder()), rel=0.02)
    assert after < 0.9 * one["sd_before"]
    assert after == pytest.approx(one["sd_after"], rel=0.5)


def test_a_frontier_is_made_longer_until_it_is_precise_enough():
    one = next_run(ladder(), TARGET)
    plan = runs_for(ladder(), TARGET, 0.9 * one["sd_after"])
    budgets = [run["flops"] for run in plan["runs"]]
    assert plan["reached"]
    assert len(budgets) >= 2
    assert budgets == sorted(budgets)
    assert budgets[-1] < TARGET


def test_a_target_among_the_budgets_needs_no_longer_frontier():
    law = fit_law(pilot(3e11), draws=50, law="frontier")
    assert next_run(law, 1e11) is None
    assert "not beyond" in runs_for(law, 1e11, 0.01)["reason"]


def test_a_law_of_compute_alone_asks_for_budgets():
    law = fit_law(grid(np.geomspace(1e17, 1e20, 6), noise=0.004, sizes=1), draws=100, law="compute")
    run = runs_for(law, TARGET, 0.9 * sd(law))["runs"][0]
    assert (run["params"], run["tokens"]) == (None, None)
    assert 1e17 <= run["flops"] <= TARGET * (1 + 1e-6)


def test_a_refused_law_proposes_nothing_and_says_why():
    law = fit_law(grid(np.geomspace(1e17, 1e20, 4), loss=lambda params, tokens: additive(params, tokens) - 3))
    assert next_run(law, TARGET) is None
    plan = runs_for(law, TARGET, 0.01)
    assert (plan["reached"], plan["runs"], plan["reason"]) == (False, [], "the law is refused")


@pytest.mark.parametrize("precision", [0.0, -1.0, float("nan"), float("inf")])
def test_a_precision_that_is_none_is_refused(precision):
    with pytest.raises(ValueError, match="precision"):
        runs_for(ladder(), TARGET, precision)
