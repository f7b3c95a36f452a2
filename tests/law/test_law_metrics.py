# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import numpy as np
import pytest
import scipy

from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.dit_flops import dit_flops
from dit_jax.law.metrics import fit_metric, fit_metrics
from dit_jax.law.power import fit_power
from tests.law.law_worlds import grid

# Peebles and Xie 2023 (arXiv 2212.09748), table 4: size, patch, pixels, Gflops (multiply-adds of a forward
# pass), thousands of steps, conditioning, FID-50K without guidance.
TABLE_4 = [
    ("S", 8, 256, 0.36, 400, "adaLN-Zero", 153.60),
    ("S", 4, 256, 1.41, 400, "adaLN-Zero", 100.41),
    ("S", 2, 256, 6.06, 400, "adaLN-Zero", 68.40),
    ("B", 8, 256, 1.42, 400, "adaLN-Zero", 122.74),
    ("B", 4, 256, 5.56, 400, "adaLN-Zero", 68.38),
    ("B", 2, 256, 23.01, 400, "adaLN-Zero", 43.47),
    ("L", 8, 256, 5.01, 400, "adaLN-Zero", 118.87),
    ("L", 4, 256, 19.70, 400, "adaLN-Zero", 45.64),
    ("L", 2, 256, 80.71, 400, "adaLN-Zero", 23.33),
    ("XL", 8, 256, 7.39, 400, "adaLN-Zero", 106.41),
    ("XL", 4, 256, 29.05, 400, "adaLN-Zero", 43.01),
    ("XL", 2, 256, 118.64, 400, "adaLN-Zero", 19.47),
    ("XL", 2, 256, 119.37, 400, "in-context", 35.24),
    ("XL", 2, 256, 137.62, 400, "cross-attention", 26.14),
    ("XL", 2, 256, 118.56, 400, "adaLN", 25.21),
    ("XL", 2, 256, 118.64, 2352, "adaLN-Zero", 10.67),
    ("XL", 2, 256, 118.64, 7000, "adaLN-Zero", 9.62),
    ("XL", 2, 512, 524.60, 1301, "adaLN-Zero", 13.78),
    ("XL", 2, 512, 524.60, 3000, "adaLN-Zero", 11.93),
]
SIZES = {
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
}  # width, depth, heads


def gmacs(size, patch, pixels, conditioning):
    """Multiply-adds of the published DiT in 1e9, from the parts of ours that they share."""
    width, depth, heads = SIZES[size]
    side = pixels // 8
    config = DiTConfig(
        in_channels=4, width=width, depth=depth, num_heads=heads, text_width=width, patch=(1, patch, patch)
    )
    parts = dit_flops(config, (1, side, side, 4), num_text_tokens=2)  # the time and the label
    parts["patching"] *= 1.5  # the head predicts variances too
    used = {"patching", "attention", "mlp", "modulation"}
    if conditioning == "cross-attention":
        used = used - {"modulation"} | {"text"}
    if conditioning == "adaLN":
        parts["modulation"] -= 2 * depth * 2 * width**2  # no gates
    if conditioning == "in-context":
        flat = dataclasses.replace(config, patch=(1, 1, 1))
        longer = dit_flops(flat, (1, (side // patch) ** 2 + 2, 1, 4), num_text_tokens=0)
        parts |= {name: longer[name] for name in ("attention", "mlp")}
        used -= {"modulation"}
    return sum(parts[name] for name in used) / 2e9


@pytest.mark.parametrize("row", TABLE_4, ids=lambda row: "-".join(map(str, row)))
def test_our_flops_give_the_published_ones_of_dit(row):
    size, patch, pixels, published, _, conditioning, _ = row
    rounding = 0.005  # two decimals are printed
    assert gmacs(size, patch, pixels, conditioning) == pytest.approx(published, rel=0.003, abs=rounding)


def test_fid_of_dit_follows_its_compute():
    rows = [row for row in TABLE_4 if row[4] == 400 and row[5] == "adaLN-Zero"]
    compute = np.array([gmacs(size, patch, pixels, "adaLN-Zero") for size, patch, pixels, *_ in rows])
    fid = np.array([row[-1] for row in rows])
    law = fit_metric(compute, fid)
    assert law.form == "log"
    assert law.correlation == pytest.approx(-0.93550646, abs=1e-5)
    assert fit_metric(compute, fid, form="linear").correlation == pytest.approx(-0.92990307, abs=1e-5)
    assert law.coefficients[1] == pytest.approx(-0.364533, abs=1e-5)
    assert fit_power({"gmacs": compute}, fid).exponents["gmacs"] == pytest.approx(-0.364533, abs=1e-5)
    assert law.spearman[1][1] < 0


LOSSES = np.geomspace(1.0, 0.4, 12)
WORLDS = {  # what is linear in log loss, the way back, and the noise
    "log": (lambda x: 4 + 2.5 * x, np.exp, 0.1),
    "logit": (lambda x: -0.5 - 3 * x, scipy.special.expit, 0.15),
    "linear": (lambda x: -2 - 3 * x, np.asarray, 0.3),
}


def measured(form, rng, losses=LOSSES):
    line, back, noise = WORLDS[form]
    return back(line(np.log(losses)) + noise * rng.standard_normal(len(losses)))


@pytest.mark.parametrize("form", WORLDS)
def test_the_form_and_the_direction_come_from_the_data_and_intervals_cover(form):
    line, back, noise = WORLDS[form]
    inside, misfits = [], 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        law = fit_metric(LOSSES, measured(form, rng), draws=200, seed=seed)
        assert law.form == form
        assert law.status != "refused"
        assert np.sign(law.spearman[0]) == np.sign(law.coefficients[1]) == np.sign(line(1.0) - line(0.0))
        misfits += "metric_form_misfit" in law.flags
        truth, spread = np.log(0.3) + 0.02 * rng.standard_normal(), 0.02 * rng.standard_normal(200)
        value, (low, high) = law.at(np.log(0.3) + spread)
        inside.append(low <= back(line(truth) + noise * rng.standard_normal()) <= high)
        assert low < value < high
    assert 0.88 <= np.mean(inside) <= 1.0
    assert misfits <= 4


def test_intervals_hold_the_predicted_loss_and_the_scatter_of_one_run():
    law = fit_metric(LOSSES, measured("log", np.random.default_rng(0)))
    sure, unsure = (
        law.at(np.log(0.5) + sd * np.random.default_rng(1).standard_normal(400)) for sd in (0, 0.2)
    )
    assert np.log(sure[1][1] / sure[1][0]) > 2 * 1.96 * law.scatter
    assert np.ptp(np.log(unsure[1])) > 1.5 * np.ptp(np.log(sure[1]))
    assert unsure[0] == pytest.approx(sure[0], rel=0.1)


def test_scores_stay_in_their_bounds_however_far():
    scores = measured("logit", np.random.default_rng(0))
    scores[0], scores[-1] = 0.0, 1.0  # as counted out of a few trials
    law = fit_metric(LOSSES, scores)
    for loss in (1e-6, 0.1, 1e3):
        value, (low, high) = law.at(np.log([loss]))
        assert 0 <= low <= value <= high <= 1


@pytest.mark.parametrize("few", [3, 4])
def test_few_points_in_order_are_no_proof(few):
    law = fit_metric(LOSSES[:few], LOSSES[:few] ** 2)
    assert law.status == "refused"
    assert law.flags == ("metric_not_monotone_in_loss",)
    assert law.at(np.log([0.1])) is None
    json.dumps(law.summary(), allow_nan=False)


def test_a_metric_without_relation_to_the_loss_is_refused():
    refused = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        refused += fit_metric(LOSSES, rng.uniform(1, 2, len(LOSSES)), draws=20).status == "refused"
    assert refused >= 90
    assert fit_metric(LOSSES, np.full(len(LOSSES), 3.0)).status == "refused"


def test_a_kink_is_told_from_noise():
    losses, rng = np.geomspace(1.0, 0.4, 30), np.random.default_rng(0)
    kinked = 4 + 2 * np.maximum(np.log(losses) + 0.5, 0) + 0.1 * np.log(losses)
    law = fit_metric(losses, np.exp(kinked + 0.01 * rng.standard_normal(30)))
    assert law.flags == ("metric_form_misfit",)
    assert law.status == "ok_with_warning"
    assert law.floor < law.scatter / 3


def test_runs_of_a_cluster_err_together():
    rng, per = np.random.default_rng(0), 8
    losses, cluster = np.repeat(LOSSES, per), np.repeat(np.arange(len(LOSSES)), per)
    shared = np.repeat(0.2 * rng.standard_normal(len(LOSSES)), per)
    metric = np.exp(4 + 2.5 * np.log(losses) + shared + 0.02 * rng.standard_normal(len(losses)))
    alone, together = fit_metric(losses, metric), fit_metric(losses, metric, cluster)
    assert together.draws[:, 1].std() > 2 * alone.draws[:, 1].std()


def test_runs_without_the_metric_are_left_out():
    metric = measured("log", np.random.default_rng(0))
    holes = np.append(metric, [np.nan, np.nan])
    law = fit_metric(np.append(LOSSES, [5.0, 6.0]), holes)
    np.testing.assert_array_equal(law.coefficients, fit_metric(LOSSES, metric).coefficients)


def test_every_metric_of_a_table_has_its_law():
    table = grid(np.geomspace(1e18, 1e21, 4), noise=0.003)
    rng = np.random.default_rng(0)
    metrics = {"fvd": table.loss**3 * 100, "luck": rng.uniform(1, 2, len(table))}
    laws = fit_metrics(dataclasses.replace(table, metrics=metrics))
    assert laws["fvd"].status == "ok"
    assert laws["fvd"].coefficients[1] == pytest.approx(3)
    assert laws["luck"].status == "refused"
    json.dumps({name: law.summary() for name, law in laws.items()}, allow_nan=False)


def test_a_form_that_cannot_hold_the_metric_is_an_error():
    with pytest.raises(ValueError, match="form='log' cannot hold a metric of -1"):
        fit_metric(LOSSES, np.linspace(-1, 1, len(LOSSES)), form="log")
    with pytest.raises(ValueError, match="is not one of log, logit, linear"):
        fit_metric(LOSSES, LOSSES, form="cubic")
