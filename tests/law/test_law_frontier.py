# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from dit_jax.law.curves import bent_power, fit_saturating, local_power, saturating_power
from dit_jax.law.extrapolate import Errors, Spread, blend, weigh
from dit_jax.law.frontier import Frontier, fit_frontier
from dit_jax.law.slices import slices
from tests.law.law_worlds import additive, best_size, grid, pilot

X = np.linspace(0, 8, 6)
AHEAD = np.array([10.0, 14.0])


def frontier(table, seed=0):
    return fit_frontier(*slices(table, 200, seed))


def interval(table, flops, seed=0):
    at = frontier(table, seed).extrapolation().predict(np.log([flops]))
    return np.exp([at.mean[0], *at.interval95()[:, 0]])


def test_every_form_continues_a_power_law():
    y = 1.0 - 0.1 * X
    for form in (local_power, bent_power, saturating_power):
        np.testing.assert_allclose(form(X, y[None], AHEAD)[0], 1.0 - 0.1 * AHEAD, atol=2e-3)


def test_a_saturating_law_is_recovered():
    floor, scale, exponent = fit_saturating(X, np.log(1.69 + 1.2 * np.exp(-0.15 * (X - X.mean())))[None])
    assert (floor[0], scale[0], exponent[0]) == pytest.approx((1.69, 1.2, 0.15), rel=1e-3)


def test_a_saturating_law_never_has_a_negative_floor():
    steepening = -0.1 * X - 0.01 * X**2
    floor, scale, _ = fit_saturating(X, steepening[None])
    assert floor[0] == 0
    assert scale[0] > 0


def test_curvature_is_taken_from_clean_data_and_not_from_noise():
    line, bend = 1.0 - 0.1 * X, -0.002 * (X - X.mean()) ** 2
    bent = bent_power(X, (line + bend)[None], AHEAD)[0] - bent_power(X, line[None], AHEAD)[0]
    np.testing.assert_allclose(bent, -0.002 * (AHEAD - X.mean()) ** 2, rtol=0.3)
    noise = 0.06 * np.random.default_rng(0).standard_normal((200, len(X)))
    shrunk = np.std(bent_power(X, line + noise, AHEAD)[:, 1])
    free = np.std([np.polyval(np.polyfit(X, line + one, 2), AHEAD[1]) for one in noise])
    assert shrunk < 0.7 * free


def test_no_form_predicts_that_more_compute_hurts():
    flattening = (1.0 - 0.1 * X + 0.006 * X**2)[None]
    for form in (local_power, bent_power, saturating_power):
        ahead = form(X, flattening, np.linspace(X[-1], 40, 50))[0]
        assert (np.diff(ahead) <= 1e-12).all()


def test_the_form_that_missed_less_weighs_more():
    def errors(size):
        return Errors(np.array([1.0]), np.array([size]), np.array([1e-6]), np.array([1.0]))

    weights = weigh([errors(0.001), errors(0.02), errors(0.04)], slope=0.1)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.8 > weights[1] > weights[2]
    none = Errors(*np.empty((4, 0)))
    np.testing.assert_allclose(weigh([none, none], slope=0.1), 0.5)


def test_disagreement_widens_a_blend():
    one, other = (Spread(np.array([mean]), np.array([0.01])) for mean in (0.0, 0.4))
    assert blend(np.array([0.5, 0.5]), [one, other]).variance[0] == pytest.approx(0.01 + 0.04)


def test_the_interval_widens_with_distance_and_with_fewer_budgets():
    budgets = np.geomspace(1e17, 1e21, 9)
    near, far = (interval(grid(budgets, noise=0.003), flops) for flops in (2e21, 1e23))
    assert near[2] / near[1] < far[2] / far[1]
    few = interval(grid(budgets[-3:], noise=0.003), 2e21)
    assert near[2] / near[1] < few[2] / few[1]


@pytest.mark.parametrize(("fitted", "ahead", "measured"), [(1e11, 3e11, 0.584), (3e11, 1e12, 0.476)])
def test_the_pilots_next_budget_lies_in_the_interval(fitted, ahead, measured):
    predicted, low, high = interval(pilot(fitted), ahead)
    assert low < measured < high
    assert high / low < 1.3  # and the interval says something: the loss falls by a fifth
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("kind", ["additive", "wandering"])
def test_most_intervals_hold_the_budget_ahead(kind):
    """Half decades, five of them, predicting one decade on; wandering slopes change by a quarter a step."""
    inside, widths = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        turns = 0.02 * np.cumsum(rng.standard_normal(60))

        def loss(params, tokens, turns=turns):
            steps = np.log10(6 * params * tokens / 1e18) / 0.5
            bend = np.interp(steps, np.arange(60), np.cumsum(turns)) if kind == "wandering" else 0.0
            return additive(params, tokens) * np.exp(-bend)

        _, low, high = interval(grid(1e18 * 10 ** np.arange(0, 2.5, 0.5), 5, 0.003, seed, loss), 1e21, seed)
        size = best_size(1e21, loss)
        inside.append(low < loss(size, 1e21 / 6 / size) * np.exp(0.003 * rng.standard_normal()) < high)
        widths.append(np.log(high / low) / 2)
    assert np.mean(inside) >= 0.85  # 17 of 20; at 95 % fewer has a chance of 1 in 60
    assert np.median(widths) < (0.12 if kind == "additive" else 0.2)


def test_draws_are_reproducible():
    table = pilot(3e11)
    assert frontier(table, 1).summary() == frontier(table, 1).summary()
    assert frontier(table, 1).summary()["ci95"] != frontier(table, 2).summary()["ci95"]


def test_a_frontier_needs_two_budgets():
    refused = frontier(grid(np.array([1e18])))
    assert (refused.status, refused.flags) == ("refused", ("one_budget",))
    assert refused.summary()["params"] is None
    two = frontier(grid(np.array([1e18, 1e19]), noise=0.002))
    assert "a2_zero_dof" in two.flags
    low, high = two.extrapolation().predict(np.log([1e20])).interval95()[:, 0]
    assert high - low > 0.2


def test_many_budgets_are_tried_at_a_few_cuts():
    x = np.linspace(0, 10, 40)
    y = (1 - 0.1 * x) + 0.001 * np.random.default_rng(0).standard_normal((20, 40))
    from dit_jax.law.frontier import MAX_CUTS, _tries

    one = Frontier("ok", (), x, y, 0.001, _tries(x, y))
    assert len(one.tries) == MAX_CUTS
    assert one.extrapolation().predict(np.array([12.0])).mean[0] == pytest.approx(-0.2, abs=0.01)
