# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from dit_jax.law import read_table
from dit_jax.record import NUMBERS, append_record
from tests.law.law_worlds import table_of


def run(i=0, **changes):
    return {"params": 1e6 * (i + 1), "tokens": 1e8, "flops": 6e14 * (i + 1), "loss": 1.0 / (i + 1)} | changes


def test_a_csv_is_read_with_its_optional_columns(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("loss, params,tokens,flops,lr,other\n2.5,1e6,2e7,1.2e14,0.01,x\n2.25,2e6,2e7,2.4e14,,y\n")
    table = read_table(path)
    np.testing.assert_array_equal(table.params, [1e6, 2e6])
    np.testing.assert_array_equal(table.loss, [2.5, 2.25])
    np.testing.assert_array_equal(table.lr, [0.01, math.nan])
    assert table.batch is None
    assert table.flags == ()


def test_records_count_active_parameters_and_finished_runs_only(tmp_path):
    path = tmp_path / "records.jsonl"
    base = dict.fromkeys(NUMBERS, 1.0) | {
        "seed": 0,
        "device_kind": "cpu",
        "params_active": 7.0,
        "tokens_seen": 9,
    }
    for i, status in enumerate(("finished", "diverged", "pruned", "failed")):
        loss = 0.5 if status == "finished" else None
        append_record(path, base | {"trial": str(i), "status": status, "loss": loss})
    with open(path, "a") as file:
        file.write('{"trial": "ha')
    table = read_table(path)
    assert (table.params.tolist(), table.tokens.tolist(), table.row.tolist()) == ([7.0], [9.0], [1])
    assert dict(table.dropped)[2] == "status diverged"
    assert [row for row, _ in table.dropped] == [2, 3, 4, 5]
    assert "cut off" in dict(table.dropped)[5]


def test_rows_that_cannot_be_used_are_listed_with_their_reason():
    bad = [run(1, loss=math.nan), run(2, flops=math.inf), run(3, params=-1.0), run(4, tokens=None)]
    table = table_of([run(0), *bad])
    assert len(table) == 1
    assert table.flags == ("nonfinite_rows_dropped",)
    assert [row for row, _ in table.dropped] == [2, 3, 4, 5]
    assert [reason.split()[0] for _, reason in table.dropped] == ["loss", "flops", "params", "tokens"]


def test_exact_repeats_are_merged_and_replicates_kept():
    table = table_of([run(0, seed=0), run(0, seed=1, loss=1.01), run(0, seed=0), run(1, seed=0)])
    assert table.row.tolist() == [1, 2, 4]
    assert table.dropped == ((3, "exact repeat of row 1"),)
    assert table.flags == ("duplicates_merged", "replicates_used_for_noise")


def test_another_seed_with_the_same_loss_is_no_repeat():
    table = table_of([run(0, seed=0), run(0, seed=1)])
    assert len(table) == 2
    assert "duplicates_merged" not in table.flags


def test_losses_that_admit_no_law_are_flagged():
    assert table_of([run(0), run(1, loss=-0.1)]).flags == ("nonpositive_loss",)
    assert table_of([run(0, loss=2.0), run(1, loss=2.0)]).flags == ("no_variation",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("param,tokens,flops,loss\n1,2,3,4\n", "no column 'params': did you mean 'param'"),
        ("params,tokens,flops,val_loss\n1,2,3,4\n", "did you mean 'val_loss'"),
        ("params,tokens,flops,loss\n1,2,3,4\n1,2,three,4\n", "row 2: flops is 'three', not a number"),
        ("", "no header"),
    ],
)
def test_a_csv_that_is_not_one_is_refused_in_one_line(tmp_path, text, says):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        read_table(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nope\.csv"):
        read_table(tmp_path / "nope.csv")


def test_other_numbers_are_metrics_and_settings_are_not(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        "params,tokens,flops,loss,fvd,fvd_se,depth,warmup,run,num_heads,eval_seconds,note,run_se\n"
        "1,2,3,4,90.5,1,2,long,a,4,7,x,1\n2,2,3,4.5,,1,2,short,a,4,8,,2\n3,2,3,5,70,1,4,long,,4,9,y,3\n"
    )
    table = read_table(path)
    assert list(table.metrics) == ["fvd"]
    np.testing.assert_array_equal(table.metrics["fvd"], [90.5, math.nan, 70])
    assert table.warmup is None
    assert table.cluster.tolist() == [0, 0, 1]


def test_a_mistyped_number_among_numbers_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("params,tokens,flops,loss,lr\n1,2,3,4,1e-3\n2,2,3,4,1e-3x\n")
    with pytest.raises(ValueError, match="row 2: lr is '1e-3x', not a number"):
        read_table(path)


def test_records_give_their_settings_and_metrics(tmp_path):
    path = tmp_path / "records.jsonl"
    base = dict.fromkeys(NUMBERS, 1.0) | {"seed": 0, "device_kind": "cpu", "status": "finished"}
    extra = {"lr": 0.01, "batch": 8, "warmup": 20, "unique_tokens": 1, "schedule": "cosine", "width": 24}
    scores = {
        "loss_t0": 0.5,
        "text_gap": 0.1,
        "text_gap_se": 0.01,
        "flops_by_part": {"mlp": 1},
        "role": "fit",
    }
    for i in range(3):
        append_record(
            path, base | extra | scores | {"trial": str(i), "params_active": i + 1.0, "loss": 1 / (i + 1)}
        )
    table = read_table(path)
    assert table.flags == ()
    assert (table.lr[0], table.batch[0], table.warmup[0], table.unique_tokens[0]) == (0.01, 8, 20, 1)
    assert list(table.metrics) == ["loss_t0", "text_gap"]
    assert table.cluster.tolist() == [0, 1, 2]


def test_a_selection_keeps_every_column_and_only_its_own_doubts():
    names = ("loss_se", "lr", "batch", "warmup", "spatial_tokens", "temporal_tokens", "score")
    rows = [run(i, **dict.fromkeys(names, i + 1.0), unique_tokens=5e7, schedule_tokens=2e8) for i in range(4)]
    table = table_of(rows)
    some = table.select(np.array([False, True, False, True]))
    assert (some.row.tolist(), some.cluster.tolist()) == ([2, 4], [1, 3])
    for name in names[:-1]:
        assert getattr(some, name).tolist() == [2.0, 4.0]
    assert some.metrics["score"].tolist() == [2.0, 4.0]
    assert {row for row, _, _ in some.suspects} == {2, 4}
    assert {row for row, _, _ in table.suspects} == {1, 2, 3, 4}
    assert some.suspect_mask("schedule_horizon_mismatch").all()
    assert some.flags == table.flags


def test_runs_at_other_learning_rates_are_no_replicates():
    assert table_of([run(0, lr=1e-3), run(0, lr=2e-3, loss=1.1)]).flags == ()
    table = table_of([run(0, lr=1e-3), run(0, lr=1e-3, loss=1.1)])
    assert table.flags == ("replicates_used_for_noise",)
    assert table.setting.tolist() == [0, 0]


def test_losses_equal_but_for_rounding_do_not_vary():
    assert table_of([run(0, loss=2.0), run(1, loss=2.0 + 1e-13)]).flags == ("no_variation",)
