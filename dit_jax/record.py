# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One row per run, in a file of JSON lines: what runs and laws share, and all they share.

A row holds at least the keys of `REQUIRED`; a sweep adds its own (hyperparameters, losses by
timestep, scores with their standard errors). A number that is not finite is written as `null`:
JSON has no NaN, and a run without a loss says why in its `status`.
"""

import contextlib
import fcntl
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

STATUSES = ("finished", "diverged", "failed", "pruned")
NUMBERS = ("params_total", "params_active", "tokens_seen", "flops", "loss", "loss_se", "seconds")
REQUIRED = ("trial", "seed", "status", *NUMBERS, "device_kind")
MAX_LINE_BYTES = 1 << 20
MAX_DEPTH = 8

_RESULT = ("params_active", "tokens_seen", "flops", "loss")  # what a repeat of a trial must reproduce


def append_record(path: str | os.PathLike[str], row: Mapping[str, Any]) -> None:
    """Appends one run to a record file, whole or not at all, also when several processes append.

    A line that a killed writer left unfinished is closed first, so it never swallows this row. When
    the disk is full the file is cut back to what it held before.

    Args:
      path: the file; it and its directory are made where they are missing.
      row: JSON values and NumPy scalars; parameters, tokens and FLOPs are counts, `seconds` wall time,
        `loss_se` the standard error of `loss`.

    Raises:
      ValueError: a required key is missing, a status is unknown, a finished run has no finite loss, or
        the row is not JSON, too deep or too long.
      OSError: the row could not be written in full.
    """
    line = json.dumps(_checked(row), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"a record of {len(line)} bytes is over {MAX_LINE_BYTES}: store arrays beside it")
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as descriptor:
        _write_whole(descriptor, line)


def read_records(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Reads every usable row, and says which lines were not used and why.

    A trial is a (`trial`, `seed`) pair. Where one was recorded several times the last finished row
    counts, else the last; the others are reported, with the difference where their results differ.

    Args:
      path: a file written by `append_record`.

    Returns:
      The rows in the order of their lines, and (line number from 1, reason) for each line left out.

    Raises:
      OSError: the file cannot be read.
    """
    rows, dropped = numbered_records(path)
    return list(rows.values()), dropped


def numbered_records(path: str | os.PathLike[str]) -> tuple[dict[int, dict[str, Any]], list[tuple[int, str]]]:
    """`read_records` with the rows by their line numbers, from 1."""
    rows: dict[int, dict[str, Any]] = {}
    dropped: list[tuple[int, str]] = []
    with open(path, "rb") as file:
        for number, line in _bounded_lines(file):
            if line is not None and not line.strip():
                continue
            row, reason = _parsed(line)
            if row is None:
                dropped.append((number, reason))
            else:
                rows[number] = row
    kept = _without_repeats(rows, dropped)
    return {number: rows[number] for number in kept}, sorted(dropped)


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in REQUIRED if key not in row]
    if missing:
        raise ValueError(
            f"a record lacks {', '.join(missing)}: every run writes all of {', '.join(REQUIRED)}"
        )
    plain = {str(key): _plain(str(key), value) for key, value in row.items()}
    _check_types(plain)
    return plain


def _check_types(row: Mapping[str, Any]) -> None:
    if not isinstance(row["trial"], str) or not row["trial"]:
        raise ValueError(f"trial is {row['trial']!r}: give a name that is not empty")
    if row["status"] not in STATUSES:
        raise ValueError(f"status is {row['status']!r}: use one of {', '.join(STATUSES)}")
    for key in NUMBERS:
        if row[key] is not None and (isinstance(row[key], bool) or not isinstance(row[key], int | float)):
            raise ValueError(f"{key} is {row[key]!r}: give a number")
    if row["status"] == "finished" and row["loss"] is None:
        raise ValueError(f"trial {row['trial']!r} finished without a finite loss: record it as diverged")


def _plain(key: str, value: Any, depth: int = 1) -> Any:
    """A value as JSON has it: NumPy scalars and arrays unpacked, numbers that are not finite as None."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{key} nests deeper than {MAX_DEPTH} levels: flatten it")
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(key, item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(key, item, depth + 1) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    raise ValueError(f"{key} holds an unfit {type(value).__name__}: give numbers, text, lists or mappings")


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # released with the descriptor, also by a kill
        yield descriptor
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    try:
        written = os.write(descriptor, line)
        os.fsync(descriptor)
        if written < len(line):
            raise OSError(f"only {written} of {len(line)} bytes of a record were written: is the disk full?")
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _bounded_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, None for one over the bound, never holding more than the bound in memory."""
    number = 0
    while chunk := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(chunk) <= MAX_LINE_BYTES:
            yield number, chunk
            continue
        while chunk and not chunk.endswith(b"\n"):
            chunk = file.readline(MAX_LINE_BYTES)
        yield number, None


def _parsed(line: bytes | None) -> tuple[dict[str, Any] | None, str]:
    if line is None:
        return None, f"longer than {MAX_LINE_BYTES} bytes"
    try:
        row = json.loads(line)
        return (_checked(row), "") if isinstance(row, dict) else (None, "not a JSON object")
    except RecursionError:
        return None, f"nests deeper than {MAX_DEPTH} levels"
    except ValueError as error:  # also bad UTF-8 and bad JSON
        torn = "" if line.endswith(b"\n") else "cut off: "
        bad_json = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
        return None, f"{torn}not JSON" if bad_json else str(error)


def _without_repeats(rows: Mapping[int, dict[str, Any]], dropped: list[tuple[int, str]]) -> list[int]:
    trials: dict[tuple[str, Any], list[int]] = {}
    for number, row in rows.items():
        trials.setdefault((row["trial"], json.dumps(row["seed"])), []).append(number)
    for numbers in trials.values():
        last = max(numbers, key=lambda number: (rows[number]["status"] == "finished", number))
        for number in numbers:
            if number != last:
                dropped.append((number, _repeat_reason(rows[number], rows[last], last)))
    left_out = {number for number, _ in dropped}
    return [number for number in rows if number not in left_out]


def _repeat_reason(row: Mapping[str, Any], kept: Mapping[str, Any], line: int) -> str:
    reason = f"trial {row['trial']!r} again on line {line}"
    both_finished = row["status"] == kept["status"] == "finished"
    differing = [key for key in _RESULT if row[key] != kept[key]]
    if not (both_finished and differing):
        return reason
    return f"{reason} with a different result: " + ", ".join(
        f"{key} {row[key]} against {kept[key]}" for key in differing
    )
