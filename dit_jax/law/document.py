# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`law.json`: the whole fit as one document that others read."""

import dataclasses
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dit_jax.law.answers import fixed_size, metrics_json, with_inference
from dit_jax.law.design import next_run, runs_for
from dit_jax.law.flags import NOTES
from dit_jax.law.predict import Law, fit_law
from dit_jax.law.table import Table

VERSION = 1


class LawRefused(Exception):
    """No method could fit the runs."""


def law_json(
    table: Table, target_flops: Sequence[float] = (), *, heldout: Table | None = None, seed: int = 0
) -> dict[str, object]:
    """Fits a law, by whatever applies, and says what it predicts: `fit_law` and `describe` in one.

    Raises:
      ValueError: a target is not a positive number.
    """
    return describe(fit_law(table, seed=seed), target_flops, heldout, measured=table)


@dataclasses.dataclass(frozen=True)
class Questions:
    """What is asked of a law beside the best run of each budget.

    Attributes:
      params: sizes that are given: how far to train them.
      inference_tokens: to be passed through the model over its life: which size is cheapest then.
      precision: sd of log loss wanted at the largest target: which runs that needs.
    """

    params: Sequence[float] = ()
    inference_tokens: float | None = None
    precision: float | None = None


def describe(
    law: Law,
    target_flops: Sequence[float] = (),
    heldout: Table | None = None,
    asked: Questions = Questions(),
    measured: Table | None = None,
) -> dict[str, object]:
    """The document of a fitted law, every value JSON; what could not be known is None.

    Args:
      law: fitted, or refused.
      target_flops: budgets to predict.
      heldout: runs that the fit has not seen, of one budget: predicted, and compared with their best.
      asked: further questions.
      measured: all runs, where the law was fitted to the best of them: the other metrics follow from these.

    Raises:
      ValueError: a target is not a positive number.
    """
    for flops in target_flops:
        if not (np.isfinite(flops) and flops > 0):
            raise ValueError(f"target_flops has {flops!r}: give positive numbers, such as 1e24")
    table, flags = law.table, _flags(law)
    predictable = law.extrapolation is not None
    far = max(target_flops, default=None) if predictable else None
    return _known(
        {
            "version": VERSION,
            "status": _status(law, flags),
            "flags": flags,
            "rows": {
                "used": len(table),
                "dropped": [{"row": row, "reason": why} for row, why in table.dropped],
                "suspect": [{"row": row, "flag": flag, "reason": why} for row, flag, why in table.suspects],
            },
            "methods": {
                "parametric": law.parametric.summary(),
                "isoflop": law.isoflop.summary(),
                "frontier": law.frontier.summary(),
            },
            "rivals": {name: one.summary() for name, one in law.rivals.items()},
            "hyperparameters": {name: one and one.summary() for name, one in law.hyper.items()},
            "holdout": _holdout(law),
            "predictions": [law.predict(flops) for flops in target_flops] if predictable else [],
            "metrics": metrics_json(law, target_flops, measured),
            "next_run": next_run(law, far) if far is not None else None,
            "fixed_size": fixed_size(law, asked.params, target_flops),
            "inference": with_inference(law, target_flops, asked.inference_tokens)
            if asked.inference_tokens is not None
            else [],
            "runs_for_precision": runs_for(law, far, asked.precision)
            if asked.precision is not None and far is not None
            else None,
            "heldout": _heldout(law, heldout) if predictable and heldout is not None else None,
        }
    )


def _known(value: Any) -> Any:
    """The same with None for numbers that are not finite, such as those of a draw that ran away."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    found |= dict.fromkeys(flag for one in law.settings for flag in one.flags)
    found |= dict.fromkeys(flag for one in law.hyper.values() if one is not None for flag in one.flags)
    if law.extrapolation is not None and law.extrapolation.chosen.failed:
        found["holdout_failed"] = None
    if law.disagrees:
        found["methods_disagree"] = None
    return list(found)


def _status(law: Law, flags: Sequence[str]) -> str:
    if law.extrapolation is None:
        return "refused"
    methods = (law.parametric, law.isoflop, law.frontier)
    told = [
        method for method in methods if method.status != "refused" or method.flags
    ]  # the others do not apply
    clean = all(method.status == "ok" for method in told) and not set(flags) - NOTES
    return "ok" if clean else "ok_with_warning"


def _holdout(law: Law) -> dict[str, object]:
    """How the extrapolation fared on budgets it had not seen."""
    keys = ("cut_flops", "rmse_log", "coverage95", "chosen", "weights", "rmse_log_by_law")
    if law.extrapolation is None:
        return dict.fromkeys(keys)
    chosen = law.extrapolation.chosen
    everyone = (*law.extrapolation.candidates, *law.tried.values())
    tried = {one.name: one.errors.rmse for one in everyone}
    told = len(chosen.errors.cut) > 0
    values = (
        float(np.exp(chosen.errors.cut.max())) if told else None,
        chosen.errors.rmse,
        float(np.mean(chosen.inside[claimed])) if (claimed := np.isfinite(chosen.claims)).any() else None,
        chosen.name,
        law.extrapolation.weights,
        tried,
    )
    return dict(zip(keys, values))


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
