# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The cases of the benchmark by name, and what a measurement is."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def measured(name: str, unit: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """A case's row: `value` is the median of the runs."""
    runs = [float(value) for value in values]
    median = statistics.median(runs)
    return {
        "name": name,
        "value": median,
        "unit": unit,
        "median": median,
        "min": min(runs),
        "max": max(runs),
        "runs": runs,
        **more,
    }


def run_cases(
    cases: Mapping[str, Callable[[], dict[str, Any]]],
    only: Sequence[str] = (),
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Measures cases one after the other.

    Args:
      cases: name to measurement, which returns what `measured` does.
      only: names to measure; all by default.
      report: told of each row as soon as there is one.

    Raises:
      ValueError: a name that is no case.
    """
    if unknown := [name for name in only if name not in cases]:
        raise ValueError(f"case {unknown[0]!r} is unknown; the cases are {', '.join(cases)}")
    rows = []
    for name in only or cases:
        rows.append(cases[name]())
        report(rows[-1])
    return rows
