# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A law as a page of text."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from dit_jax.law.flags import MEANINGS


def show(law: Mapping[str, Any], out: pathlib.Path) -> None:
    """Prints what `law.json` says: flags with their meaning, exponents, predictions, what to run next."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    rows = law["rows"]
    console.print(f"{rows['used']} runs, {len(rows['dropped'])} left out: {law['status']}")
    for flag in law["flags"]:
        console.print(f"  {flag}: {MEANINGS[flag]}")
    _exponents(console, law["methods"])
    _predictions(console, law)
    for line in (line for one in law["fixed_size"] for line in _fixed(one)):
        console.print(line)
    for one in law["inference"]:
        console.print(_served(one))
    _next(console, law)
    console.print(f"written: {out / 'law.json'}, {out / 'plots'}")


def _exponents(console: Console, methods: Mapping[str, Any]) -> None:
    shown = Table("method", "status", "a: N ~ C^a", "b: D ~ C^b", box=None)
    for name, one in methods.items():
        found, ends = one.get("exponents"), one.get("exponents_ci95")
        cells = [f"{found[key]:.3f} {_ends(ends[key])}" if found else "-" for key in "ab"]
        shown.add_row(name, one["status"], *cells)
    console.print(shown)


def _predictions(console: Console, law: Mapping[str, Any]) -> None:
    shown = Table("FLOPs", "parameters", "tokens", "lr", "batch", "loss of a run", "95 % interval", box=None)
    for one in law["predictions"]:
        sizes = [
            "-" if one[key] is None else f"{one[key]:.3g}" for key in ("params", "tokens", "lr", "batch")
        ]
        low, high = one["loss_pi95"]
        shown.add_row(f"{one['flops']:.3g}", *sizes, f"{one['loss']:.4g}", f"{low:.4g} to {high:.4g}")
    if law["predictions"]:
        console.print(shown)


def _fixed(one: Mapping[str, Any]) -> list[str]:
    head = f"{one['params']:.3g} parameters"
    if one["budgets"] is None:
        return [f"{head}: not known: {one['reason']}"]
    lines = [
        f"{head} at {at['flops']:.3g} FLOPs: loss {at['loss']:.4g} {_ends(at['loss_ci95'])}, "
        f"{at['tokens_per_param']:.3g} tokens a parameter, {at['overhead']:.3g}x the compute of the best size"
        for at in one["budgets"]
    ]
    stop = one["stop"]
    if stop:
        lines.append(
            f"{head}: beyond {stop['tokens']:.3g} tokens twice as many gain less than a seed's noise"
        )
    return lines


def _served(one: Mapping[str, Any]) -> str:
    head = f"serving {one['inference_tokens']:.3g} tokens at the loss of {one['flops']:.3g} FLOPs: "
    if one["params"] is None:
        return head + f"not known: {one['reason']}"
    sizes = f"{one['params']:.3g} parameters, {one['tokens']:.3g} tokens"
    return head + f"{sizes}, {one['saving']:.0%} cheaper in all than the compute-optimal model"


def _next(console: Console, law: Mapping[str, Any]) -> None:
    run = law["next_run"]
    if run:
        size = "" if run["params"] is None else f" of {run['params']:.3g} parameters"
        narrows = f"the sd of the prediction from {run['sd_before']:.2%} to {run['sd_after']:.2%}"
        console.print(f"next run: {run['flops']:.3g} FLOPs{size} narrows {narrows}")
    plan = law["runs_for_precision"]
    if plan:
        said = plan["reason"] or f"{len(plan['runs'])} runs, {plan['flops']:.3g} FLOPs in all"
        console.print(f"to a precision of {plan['precision']:.2%}: {said}")


def _ends(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]"
