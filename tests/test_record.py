# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import multiprocessing
import signal
import subprocess
import sys

import numpy as np
import pytest

from dit_jax.record import MAX_LINE_BYTES, NUMBERS, append_record, read_records


def row(trial="a", seed=0, **changes):
    numbers = dict.fromkeys(NUMBERS, 1.5)
    return {"trial": trial, "seed": seed, "status": "finished", "device_kind": "cpu", **numbers, **changes}


def test_a_row_comes_back_as_it_was(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    append_record(path, row(lr=1e-3, loss_by_t=[0.1, 0.2], note="π\n"))
    append_record(path, row("b", flops=12345678901234567890))
    rows, dropped = read_records(path)
    assert rows == [
        row(lr=1e-3, loss_by_t=[0.1, 0.2], note="π\n"),
        row("b", flops=12345678901234567890),
    ]
    assert dropped == []


def test_numpy_values_are_plain_and_nonfinite_numbers_are_null(tmp_path):
    path = tmp_path / "r.jsonl"
    lost = row(status="diverged", loss=float("nan"), loss_se=float("inf"), flops=np.float32(2))
    append_record(path, lost | {"curve": np.array([1.0, np.nan])})
    (kept,), _ = read_records(path)
    assert (kept["loss"], kept["loss_se"], kept["flops"], kept["curve"]) == (None, None, 2.0, [1.0, None])

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "done"}, "finished, diverged, failed, pruned"),
        ({"loss": None}, "diverged"),
        ({"loss": float("nan")}, "diverged"),
        ({"loss": "0.5"}, "loss is '0.5'"),
        ({"trial": ""}, "trial"),
        ({"config": object()}, "config holds an unfit object"),
        ({"text": "x" * (MAX_LINE_BYTES + 1)}, "bytes"),
        ({"deep": [[[[[[[[[[1]]]]]]]]]]}, "deeper"),
    ],
)
def test_a_bad_row_is_refused_in_one_line_and_writes_nothing(tmp_path, changes, says):
    path = tmp_path / "r.jsonl"
    with pytest.raises(ValueError, match=says) as error:
        append_record(path, row(**changes))
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_a_missing_key_is_named(tmp_path):
    short = row()
    del short["tokens_seen"]
    with pytest.raises(ValueError, match="lacks tokens_seen"):
        append_record(tmp_path / "r.jsonl", short)


def test_a_writer_killed_at_any_byte_costs_its_own_row_only(tmp_path):
    whole = tmp_path / "whole.jsonl"
    append_record(whole, row("first", note="π"))
    first = len(whole.read_bytes())
    append_record(whole, row("second", note="π"))
    content = whole.read_bytes()
    path = tmp_path / "r.jsonl"
    for end in range(first, len(content) + 1):
        path.write_bytes(content[:end])
        rows, dropped = read_records(path)
        complete = end >= len(content) - 1  # only the newline is missing
        assert [r["trial"] for r in rows] == ["first"] + ["second"] * complete
        assert [line for line, _ in dropped] == ([] if complete or end == first else [2])
        if dropped:
            assert "cut off" in dropped[0][1]
        append_record(path, row("third"))
        rows, after = read_records(path)
        assert [r["trial"] for r in rows] == ["first"] + ["second"] * complete + ["third"]
        assert len(after) == len(dropped)


def _append_many(path, who, count):
    for i in range(count):
        append_record(path, row(f"{who}-{i}", note="x" * (i % 7) * 500))


def test_processes_appending_at_once_lose_nothing(tmp_path):
    path = str(tmp_path / "r.jsonl")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, who, 30)) for who in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    rows, dropped = read_records(path)
    assert dropped == []
    assert {r["trial"] for r in rows} == {f"{who}-{i}" for who in "abc" for i in range(30)}


FULL_DISK = """
import resource, signal, sys
from dit_jax.record import NUMBERS, append_record
row = dict.fromkeys(NUMBERS, 1.0) | {"seed": 0, "status": "finished", "device_kind": "cpu"}
append_record(sys.argv[1], row | {"trial": "fits"})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = len(open(sys.argv[1], "rb").read())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
try:
    append_record(sys.argv[1], row | {"trial": "does not"})
except OSError as error:
    sys.exit(7)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on file size")
def test_no_room_for_a_row_is_an_error_and_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "r.jsonl"
    assert subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], check=False).returncode == 7
    rows, dropped = read_records(path)
    assert ([r["trial"] for r in rows], dropped) == (["fits"], [])


def test_lines_that_are_no_rows_are_reported_with_their_number(tmp_path):
    path = tmp_path / "r.jsonl"
    good = json.dumps(row()).encode()
    lines = [b"{bad", b"[1]", b"", b"\xff\xfe", b"[" * 100_000, b'"' + b"x" * 2 * MAX_LINE_BYTES + b'"', good]
    nested = json.dumps(row("n", deep=[[[[[[[[[[1]]]]]]]]]])).encode()
    path.write_bytes(b"\n".join([*lines, nested, json.dumps({"trial": "short"}).encode()]) + b"\n")
    rows, dropped = read_records(path)
    assert rows == [row()]
    reasons = dict(dropped)
    assert sorted(reasons) == [1, 2, 4, 5, 6, 8, 9]
    assert reasons[2] == "not a JSON object"
    assert "deeper" in reasons[5]
    assert "longer" in reasons[6]
    assert "deeper" in reasons[8]
    assert "lacks seed" in reasons[9]


def test_of_a_repeated_trial_the_last_finished_row_counts(tmp_path):
    path = tmp_path / "r.jsonl"
    for status, loss in (("failed", None), ("finished", 0.5), ("finished", 0.6), ("failed", None)):
        append_record(path, row(status=status, loss=loss))
    append_record(path, row(seed=1, loss=0.7))  # another seed is another run
    rows, dropped = read_records(path)
    assert [(r["seed"], r["loss"]) for r in rows] == [(0, 0.6), (1, 0.7)]
    assert [line for line, _ in dropped] == [1, 2, 4]
    assert "loss 0.5 against 0.6" in dropped[1][1]
    assert "different" not in dropped[0][1]
