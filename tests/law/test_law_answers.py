# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import functools
import json

import numpy as np
import pytest
import scipy

from dit_jax.law.answers import cheapest, fixed_size, metrics_json, with_inference
from dit_jax.law.predict import fit_law
from dit_jax.law.surface import effective
from tests.law.law_worlds import CHINCHILLA, additive, best_size, grid, table_of

BUDGETS = np.geomspace(1e17, 1e21, 5)
TARGETS = [1e21, 1e22]
R_STAR, UNIQUE = 15.0, 3e8


def best_loss(flops):
    size = best_size(flops)
    return additive(size, flops / 6 / size)


def needed_tokens(params, loss):
    """Of a size that reaches a loss under the law; infinite where it cannot."""
    room = loss - CHINCHILLA["E"] - CHINCHILLA["A"] / params ** CHINCHILLA["alpha"]
    return np.where(room > 0, (CHINCHILLA["B"] / np.maximum(room, 1e-12)) ** (1 / CHINCHILLA["beta"]), np.inf)


def repeated(params, tokens):
    seen = np.log(np.atleast_1d(tokens))
    worth, _ = effective(seen, np.minimum(seen, np.log(UNIQUE)), np.log([[R_STAR]]))
    return additive(params, np.exp(worth).reshape(np.shape(tokens)))


@functools.cache
def exact():
    return fit_law(grid(BUDGETS), draws=20, law="additive")


@functools.cache
def noisy(seed=0):
    return fit_law(grid(BUDGETS, noise=0.003, seed=seed), draws=100, law="additive")


@functools.cache
def refused():
    return fit_law(grid(BUDGETS, loss=lambda params, tokens: additive(params, tokens) - 3))


def test_a_size_of_ones_own_is_as_search_on_the_true_surface_finds_it():
    (one,) = fixed_size(exact(), [2e8], TARGETS)
    assert (one["params"], one["law"], one["status"], one["reason"]) == (2e8, "additive", "ok", None)
    for flops, found in zip(TARGETS, one["budgets"]):
        size, tokens = best_size(flops), flops / 6 / 2e8
        loss = additive(2e8, tokens)
        assert found["tokens"] == pytest.approx(tokens, rel=1e-6)
        assert found["tokens_per_param"] == pytest.approx(tokens / 2e8, rel=1e-6)
        assert found["times_optimal"] == pytest.approx((size / 2e8) ** 2, rel=1e-2)
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        assert found["penalty"] == pytest.approx(loss - best_loss(flops), rel=1e-3)
        enough = scipy.optimize.brentq(
            lambda c, loss: best_loss(np.exp(c)) - loss, 30, np.log(flops), args=(loss,)
        )
        assert found["flops_if_optimal"] == pytest.approx(np.exp(enough), rel=1e-3)
        assert found["overhead"] == pytest.approx(flops / np.exp(enough), rel=1e-3)


def test_the_best_size_costs_nothing():
    (one,) = fixed_size(exact(), [best_size(1e22)], [1e22])
    (found,) = one["budgets"]
    assert found["penalty"] == pytest.approx(0, abs=1e-6)
    assert (found["overhead"], found["times_optimal"]) == pytest.approx((1, 1), rel=1e-2)


def test_training_stops_where_doubling_gains_one_seeds_noise():
    law = noisy()
    (one,) = fixed_size(law, [2e8], [])
    tokens = one["stop"]["tokens"]
    low, high = one["stop"]["tokens_ci95"]
    gain = {d: np.log(additive(2e8, d) / additive(2e8, 2 * d)) for d in (low, tokens, high)}
    assert gain[high] < law.noise.seed < gain[low]
    assert gain[tokens] == pytest.approx(law.noise.seed, rel=0.3)
    assert one["stop"]["flops"] == pytest.approx(6 * 2e8 * tokens, rel=1e-6)


def test_what_no_run_has_shown_is_marked():
    (one,) = fixed_size(exact(), [1e9], [1e21, 1e26])
    assert [found["extrapolates"] for found in one["budgets"]] == [False, True]


def test_intervals_hold_the_truth():
    inside, seeds = [], 4
    for seed in range(seeds):
        ((found,),) = [one["budgets"] for one in fixed_size(noisy(seed), [4e8], [1e22])]
        (served,) = with_inference(noisy(seed), [1e22], 1e12)
        loss = additive(4e8, 1e22 / 6 / 4e8)
        size, tokens, _, saving = brute_force(1e22, 1e12)
        pairs = [
            (found["loss_ci95"], loss),
            (found["penalty_ci95"], loss - best_loss(1e22)),
            (served["params_ci95"], size),
            (served["tokens_ci95"], tokens),
            (served["saving_ci95"], saving),
        ]
        inside += [low <= truth <= high for (low, high), truth in pairs]
        assert found["loss_pi95"][0] < found["loss_ci95"][0] < found["loss_ci95"][1] < found["loss_pi95"][1]
    assert np.mean(inside) > 0.8


@functools.cache
def brute_force(flops, inference_tokens):
    loss = best_loss(flops)
    sizes = np.geomspace(best_size(flops) / 100, best_size(flops) * 2, 100_001)
    tokens = needed_tokens(sizes, loss)
    total = 6 * sizes * tokens + 2 * sizes * inference_tokens
    best = int(np.argmin(total))
    alone = flops + 2 * best_size(flops) * inference_tokens
    return sizes[best], tokens[best], total[best], 1 - total[best] / alone


@pytest.mark.parametrize("inference_tokens", [1e11, 1e13])
def test_the_cheapest_to_serve_is_as_search_on_the_true_surface_finds_it(inference_tokens):
    (found,) = with_inference(exact(), [1e22], inference_tokens)
    size, tokens, total, saving = brute_force(1e22, inference_tokens)
    assert found["params"] == pytest.approx(size, rel=1e-2)
    assert found["tokens"] == pytest.approx(tokens, rel=1e-2)
    assert found["total_flops"] == pytest.approx(total, rel=1e-3)
    assert found["train_flops"] == pytest.approx(6 * found["params"] * found["tokens"], rel=1e-6)
    assert found["saving"] == pytest.approx(saving, abs=1e-3)
    assert found["loss"] == pytest.approx(best_loss(1e22), rel=1e-4)


def test_a_model_never_used_is_the_compute_optimum():
    (found,) = with_inference(exact(), [1e22], 0.0)
    size = exact().parametric.best.optimum(1e22)[0][0]
    assert [found["params"], found["tokens"]] == pytest.approx(np.exp(size), rel=1e-4)
    assert found["saving"] == pytest.approx(0, abs=1e-8)
    assert found["total_flops"] == pytest.approx(1e22, rel=1e-6)


def test_the_more_it_is_used_the_smaller_and_the_longer_trained():
    found = [with_inference(noisy(), [1e22], tokens)[0] for tokens in (0.0, 1e10, 1e11, 1e12, 1e13, 1e14)]
    params, tokens, saving = (np.array([one[key] for one in found]) for key in ("params", "tokens", "saving"))
    assert (np.diff(params) < 0).all()
    assert (np.diff(tokens) > 0).all()
    assert (np.diff(saving) > 0).all()


@functools.cache
def with_repeats():
    table = grid(BUDGETS[:4], loss=repeated, reach=16.0)
    rows = [
        {"params": n, "tokens": d, "flops": c, "loss": loss, "unique_tokens": min(d, UNIQUE)}
        for n, d, c, loss in zip(table.params, table.tokens, table.flops, table.loss)
    ]
    return fit_law(table_of(rows), draws=20, law="repeated")


def test_repeated_tokens_make_overtraining_dearer():
    (one,) = fixed_size(with_repeats(), [1e8], [1e20])
    (found,) = one["budgets"]
    tokens = 1e20 / 6 / 1e8
    assert tokens > 100 * UNIQUE
    assert found["loss"] == pytest.approx(repeated(1e8, tokens), rel=1e-3)
    assert one["stop"]["tokens"] < fixed_size(exact(), [1e8], [])[0]["stop"]["tokens"]


def test_the_cheapest_on_repeated_tokens_reaches_the_loss_and_no_neighbour_is_cheaper():
    laws = with_repeats().parametric.best
    loss = laws.optimum(1e20)[1][:, None]
    n, d, total = cheapest(laws, loss, 1e11)
    np.testing.assert_allclose(np.log(laws.loss(n, d)), loss, rtol=1e-9)
    for step in (-0.02, 0.02):
        more = scipy.optimize.brentq(
            lambda x, at: (np.log(laws.loss(at, np.full_like(at, x))) - loss).item(), 10, 60, args=(n + step,)
        )
        cost = 6 * np.exp(n + step + more) + 2 * np.exp(n + step) * 1e11
        assert np.log(cost).item() > total.item()


def test_other_metrics_follow_the_predicted_loss():
    table, rng = grid(BUDGETS, noise=0.002), np.random.default_rng(0)
    columns = zip(table.params, table.tokens, table.flops, table.loss)
    rows = [dict(zip(("params", "tokens", "flops", "loss"), run)) for run in columns]
    rows = [row | {"fvd": 3 * row["loss"] ** 2, "luck": rng.uniform(0, 9)} for row in rows]
    found = metrics_json(fit_law(table_of(rows), draws=100), [1e22, 1e23])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for flops, one in zip((1e22, 1e23), found["fvd"]["predictions"]):
        assert one["flops"] == flops
        assert one["value"] == pytest.approx(3 * best_loss(flops) ** 2, rel=0.01)
        assert one["ci95"][0] < 3 * best_loss(flops) ** 2 < one["ci95"][1]
    assert found["luck"]["status"] == "refused"
    assert [one["value"] for one in found["luck"]["predictions"]] == [None, None]


def test_metrics_are_fitted_to_the_runs_as_measured():
    table = grid(BUDGETS)
    rows = [{"params": n, "tokens": c / n, "flops": c, "loss": loss, "fvd": loss} for n, c, loss in
            zip(table.params, table.flops, table.loss)]  # fmt: skip
    others = table_of([row | {"fvd": 10 / row["loss"]} for row in rows])
    law = fit_law(table_of(rows), draws=20)
    assert metrics_json(law, [])["fvd"]["exponent"] == pytest.approx(1)
    assert metrics_json(law, [], others)["fvd"]["exponent"] == pytest.approx(-1)


def test_a_refused_law_answers_nothing_and_says_why():
    (size,), (served,) = fixed_size(refused(), [1e9], [1e22]), with_inference(refused(), [1e22], 1e12)
    for one in (size, served):
        assert (one["law"], one["status"]) == (None, "refused")
        assert "refused" in one["reason"]
    assert (size["budgets"], size["stop"]) == (None, None)
    assert {served[key] for key in ("loss", "params", "tokens", "saving")} == {None}
    assert set(served) == set(with_inference(exact(), [1e22], 1e12)[0])


def test_a_law_of_compute_alone_knows_no_sizes():
    law = fit_law(grid(BUDGETS, sizes=1), draws=20, law="compute")
    (one,) = fixed_size(law, [1e9], [1e22])
    assert (one["budgets"], "sizes" in one["reason"]) == (None, True)


def test_every_answer_is_json():
    answers = fixed_size(noisy(), [1e8, 1e10], TARGETS) + with_inference(noisy(), TARGETS, 1e12)
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


@pytest.mark.parametrize("ask", [
    lambda law: fixed_size(law, [0.0], TARGETS),
    lambda law: fixed_size(law, [1e9], [float("nan")]),
    lambda law: with_inference(law, TARGETS, -1.0),
])  # fmt: skip
def test_what_is_no_number_of_anything_is_refused(ask):
    with pytest.raises(ValueError, match="give"):
        ask(exact())
