# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The runs a law is fitted to: columns, where they came from, and what was left out and why."""

import csv
import dataclasses
import difflib
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dit_jax.record import numbered_records

REQUIRED = ("params", "tokens", "flops", "loss")
OPTIONAL = ("loss_se", "seed", "lr", "batch")

Column = Float[np.ndarray, " runs"]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Finished runs, one per entry of each column.

    Attributes:
      params: parameters active per token.
      tokens: tokens seen.
      flops: training FLOPs, exact from the architecture.
      loss: validation loss.
      row: where each run stands in its source: the data row of a CSV or the line of a record, from 1.
      loss_se, seed, lr, batch: the same columns of the source, NaN where a run lacks them; None where
        the source does.
      dropped: (row, reason) of what was left out.
      flags: what the audit found, in the words of `dit_jax.law.flags`.
    """

    params: Column
    tokens: Column
    flops: Column
    loss: Column
    row: Int[np.ndarray, " runs"]
    loss_se: Column | None = None
    seed: Column | None = None
    lr: Column | None = None
    batch: Column | None = None
    dropped: tuple[tuple[int, str], ...] = ()
    flags: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    def select(self, keep: Bool[np.ndarray, " runs"]) -> "Table":
        """The runs where `keep` holds, with the same notes."""
        columns = {name: _kept(getattr(self, name), keep) for name in (*REQUIRED, "row", *OPTIONAL)}
        return dataclasses.replace(self, **columns)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> "Table":
        """Audits numbered rows of numbers and text into a table.

        Args:
          rows: (row number, values by column) with at least `params`, `tokens`, `flops`, `loss`; where
            there is a `status` only "finished" counts.

        Raises:
          ValueError: a column is missing or a value is not a number.
        """
        rows = list(rows)
        finished = [(n, r) for n, r in rows if (r.get("status") or "finished") == "finished"]
        dropped = [
            (n, f"status {r['status']}") for n, r in rows if (r.get("status") or "finished") != "finished"
        ]
        names = [*REQUIRED, *(name for name in OPTIONAL if any(name in r for _, r in finished))]
        columns = {name: np.array([_number(r, name, n) for n, r in finished], float) for name in names}
        table = cls(row=np.array([n for n, _ in finished], int), dropped=tuple(dropped), **columns)
        return table._without_nonfinite()._without_duplicates()._noted()

    def _drop(
        self, keep: Bool[np.ndarray, " runs"], reasons: Sequence[tuple[int, str]], flag: str
    ) -> "Table":
        if keep.all():
            return self
        dropped = tuple(sorted((*self.dropped, *reasons)))
        return dataclasses.replace(self.select(keep), dropped=dropped, flags=(*self.flags, flag))

    def _without_nonfinite(self) -> "Table":
        bad = {name: ~np.isfinite(getattr(self, name)) for name in REQUIRED}
        for name in REQUIRED[:3]:
            bad[name] |= ~(getattr(self, name) > 0)
        reasons = [
            (int(self.row[i]), f"{name} is {getattr(self, name)[i]:g}: not a usable number")
            for name in REQUIRED
            for i in np.flatnonzero(bad[name])
        ]
        return self._drop(~np.any(list(bad.values()), axis=0), reasons, "nonfinite_rows_dropped")

    def _without_duplicates(self) -> "Table":
        first: dict[tuple[float, ...], int] = {}
        keep, reasons = np.ones(len(self), bool), []
        seeds = np.zeros(len(self)) if self.seed is None else np.nan_to_num(self.seed, nan=-1.0)
        for i, key in enumerate(zip(self.params, self.tokens, self.flops, self.loss, seeds)):
            if key in first:
                keep[i] = False
                reasons.append((int(self.row[i]), f"exact repeat of row {first[key]}"))
            first.setdefault(key, int(self.row[i]))
        return self._drop(keep, reasons, "duplicates_merged")

    def _noted(self) -> "Table":
        found = {
            "nonpositive_loss": np.any(self.loss <= 0),
            "no_variation": len(self) > 1 and np.ptp(self.loss) == 0,
            "replicates_used_for_noise": len(set(zip(self.params, self.tokens, self.flops))) < len(self),
        }
        return dataclasses.replace(self, flags=(*self.flags, *(flag for flag, seen in found.items() if seen)))


def read_table(path: str | os.PathLike[str]) -> Table:
    """Reads the runs of a sweep's `records.jsonl`, or of a CSV with `params,tokens,flops,loss`.

    Of a record, `params` is `params_active` and `tokens` is `tokens_seen`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a column is missing (the nearest name is given) or a value is not a number.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: give a records.jsonl or a CSV of runs")
    return _read_jsonl(path) if path.suffix == ".jsonl" else _read_csv(path)


def _read_jsonl(path: pathlib.Path) -> Table:
    rows, dropped = numbered_records(path)
    numbered = [
        (number, {**row, "params": row["params_active"], "tokens": row["tokens_seen"]})
        for number, row in rows.items()
    ]
    table = Table.from_rows(numbered)
    return dataclasses.replace(table, dropped=tuple(sorted((*table.dropped, *dropped))))


def _read_csv(path: pathlib.Path) -> Table:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        names = reader.fieldnames or []
        for name in REQUIRED:
            if name not in names:
                raise ValueError(f"{path.name} has no column {name!r}{_nearest(name, names)}")
        return Table.from_rows(enumerate(reader, 1))


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f": did you mean {close[0]!r}?" if close else f": it has {', '.join(names) or 'no header'}"


def _number(row: Mapping[str, Any], name: str, number: int) -> float:
    value = row.get(name)
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"row {number}: {name} is {value!r}, not a number") from None


def _kept(column: np.ndarray | None, keep: Bool[np.ndarray, " runs"]) -> np.ndarray | None:
    return None if column is None else column[keep]
