# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`law.json`: the whole fit as one document that others read."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from dit_jax.law.design import next_run
from dit_jax.law.flags import NOTES
from dit_jax.law.predict import Law, fit_law
from dit_jax.law.table import Table

VERSION = 1


class LawRefused(Exception):
    """No method could fit the runs."""


def law_json(
    table: Table, target_flops: Sequence[float] = (), *, heldout: Table | None = None, seed: int = 0
) -> dict[str, object]:
    """Fits a law and says what it predicts.

    Args:
      table: the runs.
      target_flops: budgets to predict.
      heldout: runs that the fit must not see, of one budget: predicted, and compared with their best.
      seed: the same table and seed give the same document.

    Returns:
      The document; every value is JSON, and what could not be known is None.

    Raises:
      ValueError: a target is not a positive number.
    """
    for flops in target_flops:
        if not (np.isfinite(flops) and flops > 0):
            raise ValueError(f"target_flops has {flops!r}: give positive numbers, such as 1e24")
    law = fit_law(table, seed=seed)
    predictable = law.extrapolation is not None
    flags = _flags(law)
    return {
        "version": VERSION,
        "status": _status(law, flags),
        "flags": flags,
        "rows": {"used": len(table), "dropped": [{"row": row, "reason": why} for row, why in table.dropped]},
        "methods": {
            "parametric": law.parametric.summary(),
            "isoflop": law.isoflop.summary(),
            "frontier": law.frontier.summary(),
        },
        "holdout": _holdout(law),
        "predictions": [law.predict(flops) for flops in target_flops] if predictable else [],
        "next_run": next_run(law, max(target_flops)) if predictable and len(target_flops) else None,
        "heldout": _heldout(law, heldout) if predictable and heldout is not None else None,
    }


def write_law(path: str | os.PathLike[str], document: Mapping[str, object]) -> None:
    """Writes the document whole or not at all.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    path = pathlib.Path(path)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _flags(law: Law) -> list[str]:
    methods = (law.parametric, law.isoflop, law.frontier)
    found = dict.fromkeys((*law.table.flags, *(flag for method in methods for flag in method.flags)))
    if _holdout_failed(law):
        found["holdout_failed"] = None
    return list(found)


def _status(law: Law, flags: Sequence[str]) -> str:
    if law.extrapolation is None:
        return "refused"
    methods = (law.parametric, law.isoflop, law.frontier)
    clean = all(method.status == "ok" for method in methods) and not set(flags) - NOTES
    return "ok" if clean else "ok_with_warning"


def _holdout_failed(law: Law) -> bool:
    """Whether the frontier below the last budget misses it by more than its interval."""
    tried = _tried(law)
    return bool(tried) and not tried[-1]


def _tried(law: Law) -> list[bool]:
    """Whether each later budget lies in the interval of the frontier below each cut of at least three."""
    frontier = law.frontier
    inside: list[bool] = []
    for cut in frontier.tries:
        if cut < 3:
            continue
        low, high = frontier.below(cut).extrapolation().predict(frontier.x[cut:]).interval95()
        inside += [bool(ok) for ok in (low <= frontier.y[0, cut:]) & (frontier.y[0, cut:] <= high)]
    return inside


def _holdout(law: Law) -> dict[str, object]:
    """How the extrapolation fared on budgets it had not seen."""
    if law.extrapolation is None:
        return dict.fromkeys(("cut_flops", "rmse_log", "coverage95", "chosen", "weights"))
    weights = law.extrapolation.weights
    chosen = max(weights, key=weights.get)
    errors = dict(zip(weights, law.extrapolation.errors))[chosen]
    inside = _tried(law)
    held_out = len(errors.cut) > 0
    return {
        "cut_flops": float(np.exp(errors.cut.max())) if held_out else None,
        "rmse_log": float(np.sqrt(np.mean(errors.error**2))) if held_out else None,
        "coverage95": float(np.mean(inside)) if inside else None,
        "chosen": chosen,
        "weights": weights,
    }


def _heldout(law: Law, heldout: Table) -> dict[str, object] | None:
    if not len(heldout):
        return None
    best = int(np.argmin(heldout.loss))
    predicted = law.predict(float(heldout.flops[best]))
    return {
        "flops": predicted["flops"],
        "loss_predicted": predicted["loss"],
        "loss_pi95": predicted["loss_pi95"],
        "loss_measured": float(heldout.loss[best]),
    }
