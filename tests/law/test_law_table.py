# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from law_worlds import table_of

from dit_jax.law import read_table
from dit_jax.record import NUMBERS, append_record


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
