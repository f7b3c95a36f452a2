# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs as they are written down, records or a CSV, into columns of numbers."""

import csv
import difflib
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dit_jax.record import numbered_records

REQUIRED = ("params", "tokens", "flops", "loss")
OPTIONAL = (
    "loss_se",
    "seed",
    "lr",
    "batch",
    "unique_tokens",
    "warmup",
    "schedule_tokens",
    "spatial_tokens",
    "temporal_tokens",
    "isoflop_budget",
)
# Numbers that say how a run was set up or what it cost, not how well it did.
_NO_METRICS = frozenset(
    ("row", "index", "id", "step", "steps", "epoch", "epochs", "width", "depth", "heads", "head_dim")
)
_NO_METRICS |= {"layers", "seconds", "mfu", "wd", "weight_decay", "dropout", "horizon", "token_multiplier"}
_NO_METRIC_STARTS = ("num_", "params_", "tokens_", "flops_", "device_", "config_", "budget_", "Unnamed")
_NO_METRIC_ENDS = ("_steps", "_seconds", "_bytes", "_flops", "_tokens", "_count", "_budget", "_per_second")

Column = Float[np.ndarray, " runs"]
Rows = Sequence[tuple[int, Mapping[str, Any]]]


def read_rows(path: pathlib.Path) -> tuple[Rows, list[tuple[int, str]]]:
    """Numbered rows of a file, and (row number, reason) of those that are none.

    Raises:
      ValueError: a CSV lacks a column; the nearest name is given.
    """
    return _read_jsonl(path) if path.suffix == ".jsonl" else (_read_csv(path), [])


def _read_jsonl(path: pathlib.Path) -> tuple[Rows, list[tuple[int, str]]]:
    rows, dropped = numbered_records(path)  # one row a trial and seed: each its own run
    renamed = [
        (number, {**row, "params": row["params_active"], "tokens": row["tokens_seen"]})
        for number, row in rows.items()
    ]
    return renamed, dropped


def _read_csv(path: pathlib.Path) -> Rows:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        names = reader.fieldnames or []
        if twice := {name for name in names if name and names.count(name) > 1}:
            raise ValueError(f"{path.name} has two columns {sorted(twice)[0]!r}: give each name once")
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            raise ValueError(f"{path.name} is not separated by commas: its first line is {names[0]!r}")
        for name in REQUIRED:
            if name not in names:
                raise ValueError(f"{path.name} has no column {name!r}{_nearest(name, names)}")
        return list(enumerate(reader, 1))


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f": did you mean {close[0]!r}?" if close else f": it has {', '.join(names) or 'no header'}"


def number_columns(rows: Rows) -> dict[str, Column]:
    """The columns a law reads, NaN where a row lacks one.

    An optional name over text alone, such as a `warmup` of "long", is another column than ours.

    Raises:
      ValueError: a value is not a number.
    """
    present = [name for name in OPTIONAL if _some_number(rows, name)]
    found = {name: np.array([_number(r, name, n) for n, r in rows], float) for name in (*REQUIRED, *present)}
    for name in present:
        usable = np.isfinite(found[name]) & ((found[name] > 0) | (name in ("seed", "warmup")))
        found[name] = np.where(usable, found[name], np.nan)  # no lr is negative, no batch empty: not known
    return found


def metric_columns(rows: Rows) -> dict[str, Column]:
    """Every other column that holds numbers alone, but for settings and standard errors."""
    names = dict.fromkeys(name for _, row in rows for name in row if isinstance(name, str))
    wanted = [name for name in names if _may_be_metric(name, names)]
    columns = {name: np.array([_value(row.get(name)) for _, row in rows], object) for name in wanted}
    numeric = {name: column.astype(float) for name, column in columns.items() if None not in column}
    return {name: column for name, column in numeric.items() if np.isfinite(column).any()}


def clusters(rows: Rows) -> Int[np.ndarray, " runs"]:
    """Which training run each row came from: checkpoints of one share the text of column `run`."""
    seen: dict[Any, int] = {}
    keys = [(str(row["run"]),) if row.get("run") not in (None, "") else n for n, row in rows]
    return np.array([seen.setdefault(key, len(seen)) for key in keys], int)


def _may_be_metric(name: str, names: Mapping[str, None]) -> bool:
    ours = name in REQUIRED or name in OPTIONAL or name in ("", "run", "trial", "status")
    setting = name in _NO_METRICS or name.startswith(_NO_METRIC_STARTS) or name.endswith(_NO_METRIC_ENDS)
    error = name.endswith("_se") and name.removesuffix("_se") in names
    return not (ours or setting or error)


def _value(value: Any) -> float | None:
    """A number, NaN for an empty place, None for anything else."""
    if value is None or value == "":
        return math.nan
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _some_number(rows: Rows, name: str) -> bool:
    values = (_value(row.get(name)) for _, row in rows)
    return any(value is not None and math.isfinite(value) for value in values)


def _number(row: Mapping[str, Any], name: str, number: int) -> float:
    value = _value(row.get(name))
    if value is None:
        raise ValueError(f"row {number}: {name} is {row[name]!r}, not a number")
    return value
