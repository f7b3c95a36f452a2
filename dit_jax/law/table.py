# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The runs a law is fitted to: columns, where they came from, and what was left out or doubted and why."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dit_jax.law import checks
from dit_jax.law.audit import isolated, judge, low
from dit_jax.law.ratios import counting
from dit_jax.law.read import OPTIONAL, REQUIRED, Column, clusters, metric_columns, number_columns, read_rows

SETTING = ("params", "tokens", "flops", *(name for name in OPTIONAL if name not in ("loss_se", "seed")))
SHAPE = ("spatial_tokens", "temporal_tokens")
NO_VARIATION = 1e-12  # of the largest loss


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Finished runs, one per entry of each column.

    Attributes:
      params: parameters active per token.
      tokens: tokens seen.
      flops: training FLOPs, exact from the architecture.
      loss: validation loss.
      row: where each run stands in its source: the data row of a CSV or the line of a record, from 1.
      cluster: which training run each row came from; checkpoints of one share a number.
      loss_se: standard error of `loss`. This and the columns below are NaN where a run lacks them, None where
        the source does.
      seed: of the run.
      lr: peak learning rate.
      batch: clips or sequences a step.
      unique_tokens: distinct tokens among those seen.
      warmup: steps of learning-rate warmup.
      schedule_tokens: the length that the learning-rate schedule was made for.
      spatial_tokens: seen over space: clips times the tokens of a frame.
      temporal_tokens: seen over time: clips times the token frames of a clip.
      isoflop_budget: which runs were made on one budget, where FLOPs alone do not say it.
      metrics: other numbers of the source by name, NaN where a run lacks one.
      dropped: (row, reason) of what was left out.
      suspects: (row, flag, reason) of what was kept with a doubt.
      flags: what the audit found, in the words of `dit_jax.law.flags`.
      flops_trusted: whether all FLOPs were counted alike: methods that need budgets refuse where not.
    """

    params: Column
    tokens: Column
    flops: Column
    loss: Column
    row: Int[np.ndarray, " runs"]
    cluster: Int[np.ndarray, " runs"]
    loss_se: Column | None = None
    seed: Column | None = None
    lr: Column | None = None
    batch: Column | None = None
    unique_tokens: Column | None = None
    warmup: Column | None = None
    schedule_tokens: Column | None = None
    spatial_tokens: Column | None = None
    temporal_tokens: Column | None = None
    isoflop_budget: Column | None = None
    metrics: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    dropped: tuple[tuple[int, str], ...] = ()
    suspects: tuple[tuple[int, str, str], ...] = ()
    flags: tuple[str, ...] = ()
    flops_trusted: bool = True

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def setting(self) -> Int[np.ndarray, " runs"]:
        """A number for each setting: runs that share one differ in their seed alone."""
        return checks.labels(len(self), *(getattr(self, name) for name in SETTING))

    def select(self, keep: Bool[np.ndarray, " runs"]) -> "Table":
        """The runs where `keep` holds, with the same notes but for doubts about the others."""
        columns = {
            name: _kept(getattr(self, name), keep) for name in (*REQUIRED, "row", "cluster", *OPTIONAL)
        }
        metrics = {name: column[keep] for name, column in self.metrics.items()}
        left = set(columns["row"].tolist())
        suspects = tuple(one for one in self.suspects if one[0] in left)
        return dataclasses.replace(self, **columns, metrics=metrics, suspects=suspects)

    def suspect_mask(self, flag: str) -> Bool[np.ndarray, " runs"]:
        """The runs that `flag` doubts."""
        return np.isin(self.row, [row for row, name, _ in self.suspects if name == flag])

    def marked(self, flag: str, where: Mapping[int, str]) -> "Table":
        """With a doubt about some runs, the reason by index, and its flag if there are any."""
        if not where:
            return self
        new = [(int(self.row[i]), flag, why) for i, why in where.items()]
        again = {one[:2] for one in new}
        kept = [one for one in self.suspects if one[:2] not in again]
        return dataclasses.replace(self._flagged(flag), suspects=tuple(sorted((*kept, *new))))

    def without(self, flag: str, where: Mapping[int, str]) -> "Table":
        """Without some runs, the reason by index, and with the flag if there are any."""
        if not where:
            return self
        keep = np.ones(len(self), bool)
        keep[list(where)] = False
        dropped = (*self.dropped, *((int(self.row[i]), why) for i, why in where.items()))
        return dataclasses.replace(self.select(keep)._flagged(flag), dropped=tuple(sorted(dropped)))

    def without_outliers(self, residual: Float[np.ndarray, " runs"], scale: float) -> "Table":
        """Without the runs that `dit_jax.law.audit` calls diverged or too low, the unfinished ones marked.

        Args:
          residual: log measured loss less the surface's log loss.
          scale: the residuals' robust sd.
        """
        diverged, unfinished = judge(residual, scale)
        alone = isolated(np.log(self.params), np.log(self.tokens), np.log(self.loss))
        measured, times = [f"loss {loss:.4g} is " for loss in self.loss], np.exp(residual)
        doubts = {
            int(i): measured[i] + f"{times[i] - 1:.1%} above the surface: unfinished?"
            for i in np.flatnonzero(unfinished & ~alone)
        }
        reasons = {int(i): measured[i] + "far above what the others predict" for i in np.flatnonzero(alone)}
        reasons |= {
            int(i): measured[i] + f"{times[i]:.3g}x the surface: diverged" for i in np.flatnonzero(diverged)
        }
        out = alone | diverged
        below = low(np.log(self.params), np.log(self.tokens), residual, scale)[~out]
        left = self.marked("suspected_unfinished", doubts).without("diverged_outlier", reasons)
        mistaken = {
            int(
                i
            ): f"loss {left.loss[i]:.4g} is {times[~out][i]:.3g}x the surface, unlike its neighbours: mistyped?"
            for i in np.flatnonzero(below)
        }
        return left.without("low_outlier", mistaken)

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
        for name in REQUIRED:
            if rows and not any(name in row for _, row in rows):
                raise ValueError(f"no row has {name!r}: give {', '.join(REQUIRED)}")
        rows, dropped, flags = checks.by_status(rows)
        table = cls(
            **number_columns(rows),
            row=np.array([number for number, _ in rows], int),
            cluster=clusters(rows),
            metrics=metric_columns(rows),
            dropped=tuple(dropped),
            flags=tuple(flags),
        )
        return table._without_nonfinite()._without_duplicates()._counted()._noted()

    def _flagged(self, flag: str) -> "Table":
        return self if flag in self.flags else dataclasses.replace(self, flags=(*self.flags, flag))

    def _without_nonfinite(self) -> "Table":
        where: dict[int, str] = {}
        for name in REQUIRED:
            column = getattr(self, name)
            usable = np.isfinite(column) & ((column > 0) | (name == "loss"))
            for i in np.flatnonzero(~usable):
                where.setdefault(int(i), f"{name} is {column[i]:g}: not a usable number")
        return self.without("nonfinite_rows_dropped", where)

    def _without_duplicates(self) -> "Table":
        first: dict[tuple[float, ...], int] = {}
        where: dict[int, str] = {}
        seeds = np.zeros(len(self)) if self.seed is None else np.nan_to_num(self.seed, nan=-1.0)
        for i, key in enumerate(zip(self.setting, self.loss, seeds)):
            if key in first:
                where[i] = f"exact repeat of row {first[key]}"
            first.setdefault(key, int(self.row[i]))
        return self.without("duplicates_merged", where)

    def _counted(self) -> "Table":
        """With FLOPs counted one way, as far as that can be mended."""
        found = counting(self.params, self.tokens, self.flops, self._comparable())
        if found.consistent:
            return self
        mended = dataclasses.replace(self, flops=self.flops * found.factor, flops_trusted=found.trusted)
        flag = "flops_inconsistent_with_6ND"
        return mended._flagged(flag).marked(flag, found.suspects)

    def _noted(self) -> "Table":
        positive, setting = bool(np.all(self.loss > 0)), self.setting
        varies = np.ptp(self.loss) > NO_VARIATION * np.abs(self.loss).max() if len(self) > 1 else True
        found = {
            "nonpositive_loss": not positive,
            "no_variation": not varies,
            "replicates_used_for_noise": len(np.unique(setting)) < len(self),
        }
        table = self
        for flag in (flag for flag, seen in found.items() if seen):
            table = table._flagged(flag)
        table = table.marked(
            "schedule_horizon_mismatch", checks.wrong_horizons(self.tokens, self.schedule_tokens)
        )
        table = table.marked("epochs_gt_1_needs_repeat_law", checks.repeats(self.tokens, self.unique_tokens))
        return table.marked("nonmonotone_in_D", self._rises()) if positive else table

    def _rises(self) -> dict[int, str]:
        comparable = self._comparable()
        columns = self.params, self.tokens, self.flops, self.loss
        noise = checks.noise_of(columns, self.setting, comparable, self.loss_se)
        return checks.rises(self.params, self.tokens, self.loss, noise, comparable)

    def _comparable(self) -> Int[np.ndarray, " runs"]:
        """A number for each sequence shape: losses and FLOPs per token of different ones differ."""
        return checks.labels(len(self), *(getattr(self, name) for name in SHAPE))


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
    rows, dropped = read_rows(path)
    table = Table.from_rows(rows)
    return dataclasses.replace(table, dropped=tuple(sorted((*table.dropped, *dropped))))


def _kept(column: np.ndarray | None, keep: Bool[np.ndarray, " runs"]) -> np.ndarray | None:
    return None if column is None else column[keep]
