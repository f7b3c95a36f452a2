# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What became of each video: the rows of `report.jsonl`, their sum, and a table to look at."""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table


def kept_row(
    file: str,
    sha256: str,
    report: Mapping[str, Any],
    clips: Sequence[Mapping[str, Any]],
    num_bytes: int,
) -> dict[str, Any]:
    """The row of a video that gave clips.

    Args:
      file: its name.
      sha256: its digest.
      report: of `extract`.
      clips: as `extract` gives them, with the shape in place of the pixels.
      num_bytes: of the records.
    """
    reasons = [
        "every window is kept"
        if len(clips) == report["windows"]
        else f"{len(clips)} of {report['windows']} windows are kept, spread evenly: max_windows_per_file"
    ]
    if short := report["shots_too_short"]:
        reasons.append(f"{short} of {report['shots']} shots are shorter than a window")
    rows = [
        {
            "key": clip["key"],
            "start_seconds": clip["start_seconds"],
            "fps": clip["fps"],
            "shape": list(clip["video"]),
            "captions": len(clip["captions"]),
            **clip["quality"],
        }
        for clip in clips
    ]
    row = {"file": file, "sha256": sha256, "kept": len(clips), "reason": "; ".join(reasons)}
    return {**row, **report, "bytes": num_bytes, "clips": rows}


def dropped_row(file: str, sha256: str | None, report: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The row of a video that gave none, with what was known of it by then."""
    row = {"file": file, "sha256": sha256, "kept": 0, "reason": reason, "windows": 0}
    return {**row, **report, "bytes": 0, "clips": []}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all rows: `files`, `files_kept`, `clips`, `windows`, `bytes`, `dropped` (files by reason), and
    `overlap`, the most clips of a video before one that share frames with it."""
    dropped = collections.Counter(_kind(row["reason"]) for row in rows if not row["kept"])
    return {
        "files": len(rows),
        "files_kept": sum(row["kept"] > 0 for row in rows),
        "clips": sum(row["kept"] for row in rows),
        "windows": sum(row["windows"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "overlap": max((_overlap(row["clips"]) for row in rows), default=0),
        "dropped": dict(sorted(dropped.items())),
    }


def summary_table(total: Mapping[str, Any]) -> Table:
    """A summary for people."""
    table = Table(title="ingested", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("videos", f"{total['files']:,}")
    table.add_row("videos kept", f"{total['files_kept']:,}")
    table.add_row("windows", f"{total['windows']:,}")
    table.add_row("clips kept", f"{total['clips']:,}")
    table.add_row("MB", f"{total['bytes'] / 1e6:,.1f}")
    for reason, count in total["dropped"].items():
        table.add_row(f"dropped: {reason}", f"{count:,}")
    return table


def _kind(reason: str) -> str:
    """A reason without its numbers, so that like is counted with like."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "N", reason)


def _overlap(clips: Sequence[Mapping[str, Any]]) -> int:
    """By starts, which ascend."""
    starts = np.array([clip["start_seconds"] for clip in clips])
    ends = starts + np.array([clip["shape"][0] / clip["fps"] for clip in clips]) - 1e-6
    firsts = (np.argmax(ends[: number + 1] > start) for number, start in enumerate(starts))
    return max((number - int(first) for number, first in enumerate(firsts)), default=0)
