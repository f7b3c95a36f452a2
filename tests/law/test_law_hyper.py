# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import csv
import json

import numpy as np
import pytest

from dit_jax.law.hyper import best_settings, fit_hyper
from dit_jax.law.power import PowerLaw, fit_power
from tests.law.law_worlds import SHARED, grid, table_of

# Yin et al. 2024 (arXiv 2411.17470): batch in tokens, sizes and tokens in 1e9.
BATCH = PowerLaw.of(2.1797e4, {"params": 0.1906, "tokens": 0.8080}, unit=1e9)
LR = PowerLaw.of(2.0e-4, {"params": -0.1619, "tokens": -0.0453}, unit=1e9)
LAWS = {"lr": LR, "batch": BATCH}
TARGET = 1e10, 1e12


def run(params=1e8, tokens=1e9, **values):
    return {"params": params, "tokens": tokens, "flops": 6 * params * tokens} | values


def least(params, tokens):
    return 0.3 + 1.5 * params**-0.1 + 8 * tokens**-0.15


def sweep(seed, noise=2e-4, sizes=(1e8, 3e8, 1e9), ratios=(10, 30, 90), lrs=6, batches=5):
    """Grids of lr and batch, each off centre, about optima that follow Yin's laws; tilted bowls."""
    rng, rows = np.random.default_rng(seed), []
    for params, tokens in [(n, n * r) for n in sizes for r in ratios]:
        off = rng.uniform(-0.4, 0.4, 2)
        for u in off[0] + np.linspace(-1.2, 1.2, lrs):
            for v in off[1] + np.linspace(-1.2, 1.2, batches):
                bowl = 1 + 0.0035 * u * u + 0.0025 * v * v - 0.0025 * u * v
                lr, batch = LR.at(params, tokens)[0] * np.exp(u), BATCH.at(params, tokens)[0] * np.exp(v)
                loss = least(params, tokens) * bowl * np.exp(noise * rng.standard_normal())
                rows.append(run(params, tokens, loss=loss, lr=lr, batch=batch))
    return table_of(rows)


def one_axis(steps, loss, **values):
    rows = [run(loss=float(loss(u)), lr=1e-3 * np.exp(u), batch=32, **values) for u in steps]
    return table_of(rows)


def yin():
    path = SHARED / "yin2024_video_dit_lr_bs_grid.csv"
    if not path.is_file():
        pytest.skip("the shared data is absent")
    with open(path) as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return table_of(
        [run(r["params"], r["tokens"], loss=r["val_loss"], lr=r["lr"], batch=r["batch_tokens"]) for r in rows]
    )


def test_the_published_laws_give_their_published_values():
    assert BATCH.at(1.07e9, 1e10)[0] == pytest.approx(141904.86, rel=1e-7)
    assert LR.at(1.07e9, 1e10)[0] == pytest.approx(1.782267e-4, rel=1e-6)
    assert BATCH.at(1.07e9, 4e9)[0] == pytest.approx(67680.217, rel=1e-7)
    assert LR.at(1.07e9, 4e9)[0] == pytest.approx(1.8578021e-4, rel=1e-7)
    assert LR.coefficient == pytest.approx(2.0e-4 * 1e9 ** (0.1619 + 0.0453))


def test_laws_of_compute_by_liang():
    """Liang et al. 2024 (arXiv 2410.08184), equations 5 to 7."""
    printed = {
        "N": (0.0009, 0.5681),
        "D": (186.8535, 0.4319),
        "L": (2.3943, -0.0273),
        "FID": (2.2566e6, -0.234),
    }
    at = {name: PowerLaw.of(k, {"flops": p}).at(1.5e21)[0] for name, (k, p) in printed.items()}
    expected = {"N": 964672620, "D": 261489980000, "L": 0.63251565, "FID": 25.017807}
    assert at == pytest.approx(expected, rel=1e-7)
    assert 6 * at["N"] * at["D"] / 1.5e21 == pytest.approx(1.0090089, rel=1e-7)


def test_yin_grids_one_at_the_edge_and_one_inside():
    table = yin()
    reduced, (edge, inside) = best_settings(table)
    assert (edge.tokens, inside.tokens) == (4e9, 1e10)
    assert edge.flags == ("hyperparameters_at_edge",)
    assert not edge.inside
    assert not edge.best
    # The unweighted quadratic has its vertex at 137315 tokens and 2.0511e-4.
    assert inside.best["batch"] == pytest.approx(137315, rel=0.05)
    assert inside.best["lr"] == pytest.approx(2.0511e-4, rel=0.02)
    for name in LAWS:
        assert inside.ci95[name][0] < inside.best[name] < inside.ci95[name][1]
    assert inside.ci95["batch"][0] < BATCH.at(1.07e9, 1e10)[0] < inside.ci95["batch"][1]
    assert reduced.flags == ("hyperparameters_at_edge",)
    assert reduced.lr.tolist() == [1.7e-4, 1.7e-4]
    assert reduced.batch.tolist() == [82000, 160000]
    assert reduced.loss.tolist() == [0.5194, inside.loss]
    assert inside.loss == pytest.approx(0.5127, abs=2e-4)


def test_without_several_hyperparameters_the_table_is_the_same_object():
    table = grid(np.geomspace(1e18, 1e20, 4), seeds=2)
    assert best_settings(table) == (table, ())


def test_a_noise_free_bowl_is_found_exactly():
    table = one_axis(np.linspace(-1, 1.4, 6), lambda u: 2 + 0.3 * (u - 0.2) ** 2)
    reduced, (setting,) = best_settings(table)
    assert setting.best == pytest.approx({"lr": 1e-3 * np.exp(0.2)})
    assert setting.loss == pytest.approx(2)
    assert setting.ci95["lr"] == pytest.approx((setting.best["lr"],) * 2, rel=1e-6)
    assert len(reduced) == 1
    assert reduced.loss[0] == setting.loss
    assert reduced.lr[0] == table.lr[np.argmin(np.abs(np.log(table.lr / setting.best["lr"])))]
    assert setting.bowl.loss({"lr": table.lr}) == pytest.approx(table.loss)


@pytest.mark.parametrize(
    ("steps", "loss"),
    [
        (np.linspace(-1, 1, 6), lambda u: 2 - 0.3 * u + 0.1 * u**2),  # falls to the end
        (np.linspace(-1, 1, 6), lambda u: 2 + 0.3 * u),  # no bottom
        (np.linspace(-1, 1, 6), lambda u: 2 - 0.3 * u**2),  # upside down
        (np.linspace(-1, 1, 2), lambda u: 2 + u**2 + 0.1 * u),  # two values
    ],
)
def test_an_optimum_outside_the_grid_is_refused_and_the_best_run_stays(steps, loss):
    table = one_axis(steps, loss)
    reduced, (setting,) = best_settings(table)
    assert not setting.best
    assert setting.flags == reduced.flags == ("hyperparameters_at_edge",)
    assert reduced.row.tolist() == [table.row[np.argmin(table.loss)]]
    assert reduced.loss.tolist() == [table.loss.min()]


def test_two_hyperparameters_on_one_line_determine_no_optimum():
    rows = [
        run(loss=2 + 0.1 * u * u, lr=1e-3 * np.exp(u), batch=64 * np.exp(2 * u))
        for u in np.linspace(-1, 1, 9)
    ]
    _, (setting,) = best_settings(table_of(rows))
    assert setting.bowl is None
    assert setting.flags == ("hyperparameters_at_edge",)


def test_a_diverged_neighbour_does_not_move_the_optimum():
    def loss(u):
        return 9.0 if u > 1 else 2 + 0.02 * (u + 0.1) ** 2

    _, (setting,) = best_settings(one_axis(np.linspace(-2.8, 1.4, 7), loss))
    assert setting.best["lr"] == pytest.approx(1e-3 * np.exp(-0.1), rel=1e-3)


def test_seeds_of_the_chosen_cell_stay_and_scatter_about_the_bottom():
    rng, rows = np.random.default_rng(0), []
    for u in np.linspace(-1, 1, 5):
        for seed in range(3):
            loss = 2 + 0.1 * (u - 0.05) ** 2 + 0.002 * rng.standard_normal()
            rows.append(run(loss=loss, lr=1e-3 * np.exp(u), seed=seed))
    table = table_of([*rows, run(params=2e8, loss=1.9, lr=1e-3)])
    reduced, (setting,) = best_settings(table)
    assert reduced.row.tolist() == [7, 8, 9, 16]
    assert reduced.loss[:3].mean() == pytest.approx(setting.loss)
    assert np.ptp(reduced.loss[:3]) == pytest.approx(np.ptp(table.loss[6:9]), rel=1e-2)
    assert reduced.loss[3] == 1.9
    assert reduced.dropped == table.dropped


def test_the_loss_at_the_optimum_is_not_low_by_luck():
    steps, off, lucky = np.linspace(-1, 1, 9), [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        table = one_axis(steps, lambda u, rng=rng: 2 + 0.004 * u**2 + 0.004 * rng.standard_normal())
        lucky.append(table.loss.min() - 2)
        reduced, (setting,) = best_settings(table, seed=seed)
        off += [reduced.loss[0] - 2] if setting.inside else []
    assert np.mean(lucky) < -0.004
    assert abs(np.mean(off)) < 0.0015


def test_intervals_of_the_optimum_cover():
    inside = {"lr": [], "batch": [], "loss": []}
    for seed in range(25):
        for one in best_settings(sweep(seed), draws=200, seed=seed)[1]:
            assert one.inside
            for name, law in LAWS.items():
                low, high = one.ci95[name]
                inside[name].append(low <= law.at(one.params, one.tokens)[0] <= high)
            inside["loss"].append(one.loss_ci95[0] <= least(one.params, one.tokens) <= one.loss_ci95[1])
    for name, covered in inside.items():
        assert 0.90 <= np.mean(covered) <= 0.99, name


def test_uneven_bowls_are_read_near_their_bottom():
    found, covered = [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        steps = np.log(2) * np.arange(-4, 5) + 0.3
        table = one_axis(
            steps, lambda u, rng=rng: 2 + 0.02 * u * u * np.exp(0.3 * u) + 0.001 * rng.standard_normal()
        )
        _, (setting,) = best_settings(table, draws=200, seed=seed)
        found.append(np.log(setting.best["lr"] / 1e-3))
        covered.append(setting.ci95["lr"][0] <= 1e-3 <= setting.ci95["lr"][1])
    assert abs(np.mean(found)) < 0.25
    assert np.mean(covered) >= 0.85


@pytest.mark.slow
def test_intervals_of_the_laws_cover_and_their_exponents_are_found():
    covered, exponents = {"lr": [], "batch": []}, []
    for seed in range(200):
        table, settings = best_settings(sweep(seed, lrs=4, batches=3), draws=100, seed=seed)
        laws = fit_hyper(table, settings)
        assert laws["lr"].tuned
        assert not laws["lr"].flags
        for name, law in LAWS.items():
            low, high = laws[name].at(*TARGET)[1]
            covered[name].append(low <= law.at(*TARGET)[0] <= high)
        exponents.append([laws["lr"].power.exponents["params"], laws["batch"].power.exponents["tokens"]])
    for name in LAWS:
        assert 0.90 <= np.mean(covered[name]) <= 0.99, name
    np.testing.assert_allclose(np.mean(exponents, 0), [-0.1619, 0.8080], atol=0.005)


def test_a_rule_is_recovered_and_said_to_be_no_more_than_that():
    laws = fit_hyper(grid(np.geomspace(1e18, 1e21, 4), noise=0.01), ())
    law = laws["lr"]
    assert law.power.exponents == pytest.approx({"params": -0.25, "tokens": 0}, abs=1e-9)
    value, interval = law.at(1e12, 1e13)
    assert value == pytest.approx(1e-2 * 1e12**-0.25)
    assert interval is None
    assert law.flags == ("hyperparameters_not_tuned",)
    assert laws["batch"].at(1e12, 1e13)[0] == pytest.approx(8)
    json.dumps([one.summary() for one in laws.values()], allow_nan=False)


def test_without_a_rule_the_best_run_of_each_budget_speaks_with_an_interval():
    rng, rows = np.random.default_rng(0), []
    for flops in np.geomspace(1e18, 1e22, 9):
        for _ in range(40):
            params = np.sqrt(flops / 120) * np.exp(rng.uniform(-0.5, 0.5))
            u = rng.uniform(-2, 2)
            loss = least(params, flops / 6 / params) * (1 + 0.01 * u * u)
            rows.append(run(params, flops / 6 / params, loss=loss, lr=params**-0.5 * np.exp(u)))
    law = fit_hyper(table_of(rows), ())["lr"]
    value, (low, high) = law.at(1e11, 2e12)
    assert low < 1e11**-0.5 < high
    assert law.flags == ("hyperparameters_not_tuned",)
    assert low < value < high


def test_no_column_no_law():
    table = table_of([run(params=n, loss=1.0 / n) for n in (1.0, 2.0)])
    assert fit_hyper(table, ()) == {"lr": None, "batch": None}


@pytest.mark.parametrize(
    ("params", "tokens", "identified"),
    [
        ([1e6, 1e7, 1e8, 1e9], [2e7, 2e8, 2e9, 2e10], ("params",)),  # one ray
        ([1e6] * 4, [1e7, 1e8, 1e9, 1e10], ("tokens",)),
        ([1e6] * 4, [1e7] * 4, ()),
        ([1e6, 1e7, 1e6], [1e7, 1e8, 1e9], ("params",)),  # as many points as coefficients
    ],
)
def test_only_exponents_that_the_points_tell_are_fitted(params, tokens, identified):
    x = {"params": np.array(params), "tokens": np.array(tokens)}
    law = fit_power(x, np.array(params) ** -0.5, np.full(len(params), 0.1))
    assert law.identified == identified
    assert set(law.exponents_ci95()) == set(identified)
    at, far = np.exp(law.centre), (1e11, 1e8)
    widths = [np.log(high / low) for _, (low, high) in (law.at(*at), law.at(*far))]
    assert widths[1] > 2 * widths[0]


def test_one_optimum_in_each_of_two_sizes_gives_an_honest_interval():
    table, settings = best_settings(sweep(0, sizes=(1e8, 1e9), ratios=(20,)))
    law = fit_hyper(table, settings)["lr"]
    assert law.tuned
    assert law.power.identified == ("params",)
    low, high = law.at(1e10, 2e11)[1]
    assert low < LR.at(1e10, 2e11)[0] < high
