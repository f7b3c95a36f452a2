# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest

from dit_jax.law import Table, read_table
from dit_jax.law.audit import isolated, judge
from tests.law.law_worlds import SHARED, additive, grid, pilot, table_of

SIZES, LENGTHS = np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 3e10, 6)
BUDGETS = np.geomspace(1e18, 1e21, 4)
COUNTED = "flops_inconsistent_with_6ND"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="public scaling data not at hand")


def rows_of(noise=0.0, seed=0, ratio=lambda params: 1.0, **columns):
    """Every size at every length."""
    rng = np.random.default_rng(seed)
    rows = [
        {"params": n, "tokens": d, "flops": 6 * n * d * ratio(n), "loss": float(additive(n, d))} | columns
        for n, d in itertools.product(SIZES, LENGTHS)
    ]
    for row in rows:
        row["loss"] *= float(np.exp(noise * rng.standard_normal()))
    return rows


def falling(params):
    """From 3 in the smallest model to 1.2 in the largest, as for video."""
    share = np.log(params / SIZES[0]) / np.log(SIZES[-1] / SIZES[0])
    return float(3 * 0.4**share)


RATIOS = {
    "exact": lambda n: 1.0,
    "constant": lambda n: 2.7,
    "falling": falling,
    "tail": lambda n: 1 + 2e7 / n,
}


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.025])
def test_clean_grids_raise_nothing(noise):
    for seed in range(5):
        assert grid(BUDGETS, noise=noise, seed=seed).flags == ()
        assert table_of(rows_of(noise, seed)).flags == ()
    assert pilot(1e12).flags == ()


@pytest.mark.parametrize("ratio", RATIOS.values(), ids=RATIOS)
def test_a_smooth_ratio_to_6nd_is_no_fault(ratio):
    table = table_of(rows_of(ratio=ratio))
    assert (table.flags, table.flops_trusted) == ((), True)


def test_digitised_sizes_are_no_fault():
    for seed in range(10):
        rng, rows = np.random.default_rng(seed), rows_of(seed=seed)
        for row in rows:
            row["params"] *= np.exp(0.1 * rng.standard_normal())
        assert COUNTED not in table_of(rows).flags


@pytest.mark.parametrize("ratio", RATIOS.values(), ids=RATIOS)
def test_multiply_adds_among_flops_become_flops(ratio):
    for seed in range(5):
        rows = rows_of(ratio=ratio)
        true = [row["flops"] for row in rows]
        halved = np.random.default_rng(seed).choice(len(rows), 12, replace=False)
        for i in halved:
            rows[i]["flops"] /= 2
        table = table_of(rows)
        assert (table.flags, table.flops_trusted) == ((COUNTED,), True)
        assert sorted(table.row[table.suspect_mask(COUNTED)]) == sorted(halved + 1)
        np.testing.assert_allclose(table.flops, true)


@pytest.mark.parametrize("factor", [2, 3, 1 / 3, 1 / 6, 10])
def test_flops_that_cannot_be_mended_are_not_trusted(factor):
    for seed in range(5):
        rows = rows_of()
        wrong = np.random.default_rng(seed).choice(len(rows), 10, replace=False)
        for i in wrong:
            rows[i]["flops"] *= factor
        table = table_of(rows)
        assert (table.flags, table.flops_trusted) == ((COUNTED,), False)
        assert sorted(table.row[table.suspect_mask(COUNTED)]) == sorted(wrong + 1)
        np.testing.assert_array_equal(table.flops, [row["flops"] for row in rows])


def test_one_budget_in_multiply_adds_is_found_where_sizes_do_not_mix():
    rows = rows_of()
    for row in rows:
        row["flops"] /= 2 if row["params"] < 5e7 else 1
    table = table_of(rows)
    np.testing.assert_allclose(table.flops, 6 * table.params * table.tokens)
    assert table.flags == (COUNTED,)


def test_a_table_of_multiply_adds_agrees_with_itself():
    table = table_of(rows_of(ratio=lambda n: 0.5))
    assert (table.flags, table.suspects, table.flops_trusted) == ((COUNTED,), (), True)


def test_sequence_shapes_may_differ_in_their_flops():
    small = rows_of(spatial_tokens=64)
    large = rows_of(ratio=lambda n: 2.0, spatial_tokens=1024)
    assert COUNTED not in table_of(small + large).flags
    assert COUNTED in table_of(small + [row | {"spatial_tokens": 64} for row in large]).flags


def test_schedules_of_another_length_are_marked():
    rows = [row | {"schedule_tokens": row["tokens"] * 1.004} for row in rows_of()]
    assert table_of(rows).flags == ()
    rows[3]["schedule_tokens"] = 1e12
    rows[4]["schedule_tokens"] = ""
    table = table_of(rows)
    assert table.flags == ("schedule_horizon_mismatch",)
    assert [row for row, _, _ in table.suspects] == [4]


def test_repeated_data_is_marked():
    rows = [row | {"unique_tokens": row["tokens"]} for row in rows_of()]
    assert table_of(rows).flags == ()
    rows[7]["unique_tokens"] /= 4
    table = table_of(rows)
    assert table.flags == ("epochs_gt_1_needs_repeat_law",)
    assert table.suspects == ((8, "epochs_gt_1_needs_repeat_law", "4 epochs"),)


@pytest.mark.parametrize(("noise", "rise"), [(0.0, 1.01), (0.003, 1.04), (0.01, 1.15)])
def test_a_loss_that_rises_with_tokens_is_found(noise, rise):
    for seed in range(5):
        rows = rows_of(noise, seed)
        size = 6 * (seed % 6)  # its rows stand together, tokens upwards
        rows[size + 4]["loss"] = rows[size + 3]["loss"] * rise
        rows[size + 5]["loss"] = rows[size + 3]["loss"] * rise**2
        table = table_of(rows)
        assert table.flags == ("nonmonotone_in_D",)
        assert [row for row, _, _ in table.suspects] == [size + 5, size + 6]


def test_one_run_off_the_line_is_no_rise():
    spike, end = rows_of(), rows_of()
    spike[8]["loss"] *= 1.5
    end[11]["loss"] *= 3
    assert table_of(spike).flags == table_of(end).flags == ()


def test_only_the_best_settings_of_a_length_are_held_against_each_other():
    rows = rows_of(lr=1e-3)
    worse = [row | {"lr": 1e-2, "loss": row["loss"] * 1.2} for row in rows[3:6]]
    assert table_of(rows + worse).flags == ()


def test_a_rise_below_the_noise_of_seeds_is_none():
    for seed in range(10):
        rows = [row | {"seed": i} for i in range(2) for row in rows_of(0.02, 2 * seed + i)]
        assert table_of(rows).flags == ("replicates_used_for_noise",)


def test_a_status_that_is_no_end_is_suspected():
    rows = rows_of()
    for i, status in enumerate(["running", "Finished", "completed", "", "pruned", "failed"]):
        rows[i]["status"] = status
    table = table_of(rows)
    assert table.dropped == ((1, "status running"), (5, "status pruned"), (6, "status failed"))
    assert table.flags == ("suspected_unfinished",)
    rows[0]["status"] = "diverged"
    assert table_of(rows).flags == ("diverged_outlier",)


def test_noise_is_no_outlier():
    false = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        residual = rng.uniform(1e-3, 0.03) * rng.standard_normal(rng.integers(15, 76))
        false += np.any(judge(residual, robust_sd(residual)))
    assert false <= 3


def test_rounding_of_noise_free_losses_is_no_outlier():
    residual = np.array([0.0] * 20 + [1e-6, 0.004])
    assert not np.any(judge(residual, 0.0))


def test_misfit_that_goes_both_ways_is_no_outlier():
    residual = np.r_[np.full(20, 1e-4), -0.03, 0.05]
    assert not np.any(judge(residual, 1e-4))
    assert judge(np.abs(residual), 1e-4)[1].sum() == 2


@pytest.mark.parametrize(("above", "flag"), [(1.03, 1), (1.08, 1), (1.5, 0), (5.0, 0)])
def test_runs_above_a_surface_are_found(above, flag):
    for seed in range(20):
        residual = 0.004 * np.random.default_rng(seed).standard_normal(40)
        residual[[3, 9]] = np.log(above)
        found = judge(residual, robust_sd(residual))
        assert np.flatnonzero(found[flag]).tolist() == [3, 9]
        assert not found[1 - flag].any()


def test_outliers_leave_or_stay_marked():
    rows = rows_of(0.002)
    rows[10]["loss"] *= 1.05
    rows[20]["loss"] *= 4
    table = table_of(rows)
    residual = np.log(table.loss / additive(table.params, table.tokens))
    cleaned = table.without_outliers(residual, robust_sd(residual))
    assert cleaned.flags == ("suspected_unfinished", "diverged_outlier")
    [(row, reason)] = cleaned.dropped
    assert row == 21
    assert "x the surface: diverged" in reason
    assert cleaned.row[cleaned.suspect_mask("suspected_unfinished")].tolist() == [11]
    assert len(cleaned) == len(table) - 1
    assert table.flags == ()


def test_a_diverged_corner_cannot_bend_the_surface_to_itself():
    for seed, corner in itertools.product(range(5), range(15)):
        table = grid(BUDGETS[:3], 5, noise=0.005, seed=seed)
        place = np.log(table.params), np.log(table.tokens)
        assert not isolated(*place, np.log(table.loss)).any()
        loss = table.loss.copy()
        loss[corner] *= 3
        assert np.flatnonzero(isolated(*place, np.log(loss))).tolist() == [corner]
        bent = dataclasses.replace(table, loss=loss).without_outliers(np.zeros(15), 0.07)
        assert bent.flags == ("diverged_outlier",)
        assert [row for row, _ in bent.dropped] == [table.row[corner]]


@shared
@pytest.mark.parametrize("path", sorted((SHARED / "synthetic").glob("*.csv")), ids=lambda path: path.stem)
def test_public_synthetic_tables_raise_what_their_columns_say(path):
    cases = json.loads((SHARED / "reference_cases.json").read_text())
    [expected] = [
        case["method"]["expected_flags"] for case in cases if case.get("data") == f"synthetic/{path.name}"
    ]
    columns = {"nonpositive_loss", "no_variation", "duplicates_merged", "replicates_used_for_noise"}
    assert set(read_table(path).flags) == columns & set(expected)


@shared
@pytest.mark.parametrize("name", ["chinchilla_fig4_epoch.csv", "kyotakano_llm.csv"])
def test_public_llm_runs_raise_nothing(name):
    assert read_table(SHARED / name).flags == ()


def groups_of(name: str, keys: tuple[str, ...], **formulas) -> list[Table]:
    groups: dict[tuple, list[dict]] = {}
    with open(SHARED / name) as file:
        for row in csv.DictReader(file):
            row |= {column: formula(row) for column, formula in formulas.items()}
            groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [table_of(rows) for rows in groups.values()]


@shared
def test_public_grids_of_sizes_and_lengths_raise_nothing():
    porian = groups_of(
        "porian_isoflop_points.csv", ("hparams", "warmup", "decay", "flop_count", "loss_split")
    )
    gemstones = groups_of(
        "gemstones_width_depth.csv",
        ("subset",),
        flops=lambda row: 6 * float(row["params"]) * float(row["tokens"]),
    )
    gadre = groups_of("gadre_overtraining.csv", ("train_dataset",), loss=lambda row: row["loss_openlm"])
    tables = [*porian, *gemstones, *gadre]
    assert (len(porian), len(gemstones)) == (7, 2)
    assert [table.flags for table in tables] == [()] * len(tables)
    assert len(np.unique(gemstones[0].cluster)) < len(gemstones[0]) / 5


def robust_sd(residual):
    return 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
