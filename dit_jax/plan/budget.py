# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What training costs in chip-hours, and what size of model and data chip-hours buy by a law."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

HOUR = 3600.0


def cost(
    step_seconds: float,
    num_chips: int,
    tokens_per_step: float,
    tokens: float,
    dollars_per_chip_hour: float | None,
) -> dict[str, float | None]:
    """Chip-hours, hours and dollars of training on `tokens`.

    Raises:
      ValueError: tokens or dollars are not positive.
    """
    if not tokens > 0 or (dollars_per_chip_hour is not None and not dollars_per_chip_hour > 0):
        raise ValueError(
            f"tokens={tokens} and dollars_per_chip_hour={dollars_per_chip_hour} must be positive"
        )
    steps = math.ceil(tokens / tokens_per_step)
    hours = steps * step_seconds / HOUR
    dollars = None if dollars_per_chip_hour is None else hours * num_chips * dollars_per_chip_hour
    return {
        "tokens": tokens,
        "steps": steps,
        "hours": hours,
        "chip_hours": hours * num_chips,
        "dollars": dollars,
    }


def bought(law: Mapping[str, Any], chip_hours: float, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The best size N and tokens D that `chip_hours` buy, by a `law.json`.

    Between two predicted budgets sizes are interpolated in logarithms. Beyond them, the method `isoflop` or
    `parametric` that has exponents a and b (N ~ C^a, D ~ C^b) carries the nearest prediction on.

    Args:
      law: the document that experiments.fit writes.
      chip_hours: of the budget.
      plan: whose model FLOPs per chip and second the budget is spent at.

    Raises:
      ValueError: the law is refused or predicts no size, the budget is not positive, or the plan has no speed.
    """
    if not plan["step_seconds"]:
        raise ValueError(
            f"the plan for {plan['topology']} has no speed (fits={plan['fits']}): choose another"
        )
    if not chip_hours > 0:
        raise ValueError(f"chip_hours={chip_hours} must be positive")
    known = [one for one in law.get("predictions") or () if one.get("params") and one.get("tokens")]
    if law.get("status") == "refused" or not known:
        raise ValueError(f"the law is {law.get('status')!r} and predicts no size: fit one on more runs")
    rate = plan["flops"] / plan["step_seconds"]["estimate"] / plan["num_chips"]
    flops = chip_hours * HOUR * rate
    known.sort(key=lambda one: one["flops"])
    below = [one for one in known if one["flops"] <= flops]
    above = [one for one in known if one["flops"] >= flops]
    if below and above:
        params, tokens = (_between(below[-1], above[0], flops, name) for name in ("params", "tokens"))
        extrapolated = 1.0
    else:
        nearest, (a, b) = (below[-1] if below else above[0]), _exponents(law)
        extrapolated = flops / nearest["flops"]
        params, tokens = nearest["params"] * extrapolated**a, nearest["tokens"] * extrapolated**b
    return dict(
        chip_hours=chip_hours, flops=flops, params=params, tokens=tokens, beyond_predictions=extrapolated
    )


def read_law(path: str | pathlib.Path) -> dict[str, Any]:
    """A `law.json`.

    Raises:
      ValueError: it is none, or of another version.
    """
    try:
        law = json.loads(pathlib.Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): give the law.json of experiments.fit") from error
    if not isinstance(law, dict) or law.get("version") != 1:
        raise ValueError(f"{path} is no law.json of version 1: fit the runs again with experiments.fit")
    return law


def _between(low: Mapping[str, float], high: Mapping[str, float], flops: float, name: str) -> float:
    width = math.log(high["flops"] / low["flops"])
    share = math.log(flops / low["flops"]) / width if width else 0.0
    return low[name] * (high[name] / low[name]) ** share


def _exponents(law: Mapping[str, Any]) -> tuple[float, float]:
    for name in ("isoflop", "parametric"):  # as predictions prefer them
        found = (law.get("methods", {}).get(name) or {}).get("exponents") or {}
        if found.get("a") is not None and found.get("b") is not None:
            return found["a"], found["b"]
    raise ValueError(
        "the budget is beyond the law's predictions, and it has no exponents: fit with --target_flops"
    )
