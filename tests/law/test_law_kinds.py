# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every way in which a table can be wrong, made anew from several seeds: its flag is raised, its law survives."""

import functools
import json

import numpy as np
import pytest

from dit_jax.law import law_json
from dit_jax.law.flags import NOTES
from tests.law.law_worlds import CHINCHILLA, additive, grid, table_of

BUDGETS = np.geomspace(1e17, 1e21, 5)
TRUE_A = CHINCHILLA["beta"] / (CHINCHILLA["alpha"] + CHINCHILLA["beta"])
COLUMNS = ("params", "tokens", "flops", "loss", "seed")


def rows_of(table):
    return [dict(zip(COLUMNS, values)) for values in zip(*(getattr(table, name) for name in COLUMNS))]


def ladder(seed, **changes):
    return rows_of(grid(BUDGETS, **{"sizes": 9, "noise": 0.003, "seed": seed} | changes))


def changed(rows, which, **values):
    """The rows with some values replaced; a function is given the old value."""
    new = [dict(row) for row in rows]
    for i in which:
        for name, value in values.items():
            new[i][name] = value(new[i][name]) if callable(value) else value
    return new


def some(seed, count, total=45):
    return np.random.default_rng(seed + 100).choice(total, count, replace=False).tolist()


def all_of(rows, **values):
    return changed(rows, range(len(rows)), **values)


def scheduled(seed):
    rows = [row | {"schedule_tokens": row["tokens"]} for row in ladder(seed)]
    return changed(rows, some(seed, 6), schedule_tokens=lambda tokens: 2.5 * tokens)


def in_epochs(seed):
    return [row | {"unique_tokens": min(row["tokens"], 3e9)} for row in ladder(seed)]


def rising(seed):
    """Four sizes at five lengths of training; one size gets worse at the end."""
    rng = np.random.default_rng(seed)
    rows = []
    for params in np.geomspace(1e8, 3e9, 5):
        for tokens in np.geomspace(1e9, 1e11, 6):
            loss = additive(params, tokens) * np.exp(0.002 * rng.standard_normal())
            rows.append(
                {"params": params, "tokens": tokens, "flops": 6 * params * tokens, "loss": float(loss)}
            )
    return changed(rows, [17], loss=lambda loss: 1.04 * rows[16]["loss"])


def ray(seed):
    rng = np.random.default_rng(seed)
    params = np.geomspace(1e7, 1e10, 14)
    loss = additive(params, 20 * params) * np.exp(0.003 * rng.standard_normal(14))
    return [{"params": n, "tokens": 20 * n, "flops": 120 * n * n, "loss": y} for n, y in zip(params, loss)]


def trending(seed):
    """A bend in compute that no sum of powers of size and data can follow."""

    def loss(n, d):
        return additive(n, d) * (1 + 0.03 * np.cos(np.log10(6 * n * d / 1e17) * np.pi / 2))

    return ladder(seed, loss=loss, noise=0.002)


def turning(seed):
    def loss(n, d):
        return additive(n, d) * np.exp(-0.4 * np.maximum(np.log10(6 * n * d / 1e20), 0))

    return ladder(seed, loss=loss, noise=0.001)


def outside(seed):
    """On one budget the grid misses the best size by far."""
    rows = ladder(seed)
    kept = [row for row in rows if row["flops"] < 5e19 or row["flops"] > 5e20]
    for params in np.geomspace(0.02, 0.1, 9) * 3e9:
        tokens = 1e20 / 6 / params
        kept.append(
            {
                "params": params,
                "tokens": tokens,
                "flops": 1e20,
                "loss": float(additive(params, tokens)),
                "seed": 0,
            }
        )
    return kept


# By flag: the table, and the status that it leaves the whole law with.
KINDS = {
    "nonfinite_rows_dropped": (
        lambda s: changed(ladder(s), some(s, 3), loss=float("nan")), "ok_with_warning"),
    "duplicates_merged": (lambda s: ladder(s) + ladder(s)[:5], "ok_with_warning"),
    "replicates_used_for_noise": (lambda s: ladder(s, seeds=3, sizes=7), "ok"),
    "nonpositive_loss": (lambda s: all_of(ladder(s), loss=lambda loss: loss - 3), "refused"),
    "no_variation": (lambda s: all_of(ladder(s), loss=2.5), "refused"),
    "fewer_points_than_parameters": (lambda s: ladder(s)[:4], "refused"),
    "diverged_outlier": (
        lambda s: changed(ladder(s), some(s, 2), loss=lambda loss: 1.7 * loss), "ok_with_warning"),
    "low_outlier": (
        lambda s: changed(ladder(s), some(s, 2), loss=lambda loss: 0.9 * loss), "ok_with_warning"),
    "suspected_unfinished": (
        lambda s: changed(ladder(s), some(s, 3), loss=lambda loss: 1.05 * loss), "ok_with_warning"),
    "flops_inconsistent_with_6ND": (
        lambda s: changed(ladder(s), some(s, 15), flops=lambda flops: flops / 2), "ok_with_warning"),
    "flops_inconsistent_with_6ND: four": (
        lambda s: changed(ladder(s), some(s, 15), flops=lambda flops: flops / 4), "refused"),
    "schedule_horizon_mismatch": (scheduled, "ok_with_warning"),
    "epochs_gt_1_needs_repeat_law": (in_epochs, "ok_with_warning"),
    "nonmonotone_in_D": (rising, "ok_with_warning"),
    "N_D_collinear": (ray, "refused"),
    "singular_information": (lambda s: rows_of(grid(BUDGETS[:1], 9, 0.002, s)), "refused"),
    "one_budget": (lambda s: rows_of(grid(BUDGETS[:1], 9, 0.002, s)), "refused"),
    "short_compute_span": (
        lambda s: rows_of(grid(np.array([1e19, 2e19, 4e19]), 5, 0.005, s)), "ok_with_warning"),
    "wide_interval": (lambda s: ladder(s, noise=0.03, sizes=7), "ok_with_warning"),
    "a2_too_few_points": (lambda s: ladder(s, sizes=3), "ok_with_warning"),
    "a2_optimum_outside_grid": (outside, "ok_with_warning"),
    "a2_zero_dof": (lambda s: rows_of(grid(np.array([1e18, 1e21]), 9, 0.003, s)), "ok_with_warning"),
    "a2_vertex_uncertain": (lambda s: ladder(s, noise=0.03, sizes=7), "ok_with_warning"),
    "residual_trend_in_C": (trending, "ok_with_warning"),
    "holdout_failed": (turning, "ok_with_warning"),
    "delta_not_scale_free": (lambda s: ladder(s, noise=1e-5), "ok"),
}  # fmt: skip


@functools.cache
def judged(flag, seed):
    return law_json(table_of(KINDS[flag][0](seed)), [1e22])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("flag", KINDS)
def test_each_kind_of_table_is_told(flag, seed):
    law = judged(flag, seed)
    assert flag.split(":")[0] in law["flags"]
    assert law["status"] == KINDS[flag][1]
    json.dumps(law, allow_nan=False)


REPAIRED = (
    "nonfinite_rows_dropped", "duplicates_merged", "replicates_used_for_noise", "diverged_outlier", "low_outlier",
    "suspected_unfinished", "flops_inconsistent_with_6ND", "a2_optimum_outside_grid", "delta_not_scale_free",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("flag", REPAIRED)
def test_a_repaired_table_gives_the_true_exponent(flag, seed):
    law = judged(flag, seed)
    for method in ("parametric", "isoflop"):
        low, high = law["methods"][method]["exponents_ci95"]["a"]
        width = high - low
        assert low - width / 2 < TRUE_A < high + width / 2, method


@pytest.mark.parametrize("seed", range(6))
def test_a_clean_ladder_is_told_nothing(seed):
    law = law_json(table_of(ladder(seed)), [1e22])
    assert law["status"] == "ok"
    assert not set(law["flags"]) - NOTES


def test_a_mistyped_number_of_flops_is_mended_and_an_overflowing_column_refused():
    rows = ladder(0)
    typo = law_json(table_of(changed(rows, [0], flops=lambda flops: 1000 * flops)), [1e22])
    clean = law_json(table_of(rows), [1e22])
    assert "flops_inconsistent_with_6ND" in typo["flags"]
    assert typo["rows"]["suspect"][0]["row"] == 1
    assert typo["predictions"][0]["loss"] == pytest.approx(clean["predictions"][0]["loss"], rel=1e-3)
    rng = np.random.default_rng(0)
    wild = [row | {"flops": row["flops"] * float(np.exp(2 * rng.standard_normal()))} for row in rows]
    law = law_json(table_of(wild), [1e22])
    assert "flops_inconsistent_with_6ND" in law["flags"]
    assert law["status"] == "refused"


@pytest.mark.parametrize("factor", [0.1, 0.93])
def test_a_loss_typed_too_low_is_named_and_left_out(factor):
    law = law_json(table_of(changed(ladder(0), [31], loss=lambda loss: factor * loss)), [1e22])
    (row,) = law["rows"]["dropped"]
    assert row["row"] == 32
    assert "mistyped" in row["reason"]
    clean = law_json(table_of(ladder(0)), [1e22])
    assert law["predictions"][0]["loss"] == pytest.approx(clean["predictions"][0]["loss"], rel=0.005)


def test_budgets_that_lie_low_together_are_not_mistyped():
    for rows in (turning(0), trending(0)):
        assert not law_json(table_of(rows), [1e22])["rows"]["dropped"]


@pytest.mark.parametrize("ratio", [0.8, 2.7])
def test_any_smooth_way_of_counting_is_as_good_as_another(ratio):
    rows = [row | {"flops": ratio * row["flops"] * (1 + 3e3 / row["params"] ** 0.5)} for row in ladder(1)]
    assert "flops_inconsistent_with_6ND" not in table_of(rows).flags


@pytest.mark.parametrize(
    "column", ["lr", "batch", "unique_tokens", "spatial_tokens", "isoflop_budget", "loss_se"]
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_a_value_that_cannot_be_is_not_known(column, value):
    rows = ladder(0)
    for i, row in enumerate(rows):
        row[column] = (
            value
            if i == 3
            else {"isoflop_budget": row["flops"]}.get(column, row["tokens"] if "tokens" in column else 0.01)
        )
    law = law_json(table_of(rows), [1e22])
    assert law["status"] in ("ok", "ok_with_warning")
    json.dumps(law, allow_nan=False)


def test_doubts_are_told_once():
    rows = changed(
        changed(ladder(0), [5, 20], loss=lambda loss: 1.05 * loss), [33], loss=lambda loss: 1.7 * loss
    )
    suspects = law_json(table_of(rows), [1e22])["rows"]["suspect"]
    assert sorted(one["row"] for one in suspects) == [6, 21]
