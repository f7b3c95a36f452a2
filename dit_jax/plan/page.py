# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A plan in a few lines, and several in a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

GIB = 2**30
HEADING = ("mesh", "remat", "fits", "peak GiB", "step ms", "MFU %", "compile s")


def mesh_name(mesh: Mapping[str, int]) -> str:
    """The axes that split something."""
    return " x ".join(f"{axis}={size}" for axis, size in mesh.items() if size > 1) or "nothing split"


def table(plans: Sequence[Mapping[str, Any]]) -> Table:
    """One line for each plan."""
    made = Table(*HEADING)
    for plan in plans:
        made.add_row(*_row(plan))
    return made


def _row(plan: Mapping[str, Any]) -> tuple[str, ...]:
    peak, seconds = plan["hbm_bytes"]["peak"], plan["step_seconds"]
    return (
        mesh_name(plan["mesh"]),
        str(plan["remat"]),
        "yes" if plan["fits"] else "no",
        f"{peak / GIB:.3g}" if peak else "?",
        f"{1000 * seconds['estimate']:.4g}" if seconds else "?",
        f"{100 * plan['mfu']:.1f}" if plan["mfu"] else "?",
        f"{plan['compile_seconds']:.0f}",
    )


def show(console: Console, plan: Mapping[str, Any]) -> None:
    """Prints a plan."""
    for line in _lines(plan):
        console.print(line, highlight=False)


def _lines(plan: Mapping[str, Any]) -> list[str]:
    where, how = f"{plan['topology']}, {mesh_name(plan['mesh'])}", f"remat={plan['remat']}"
    head = f"{plan['what']}: {where}, {how}, {plan['batch_size']} clips a step"
    if not plan["fits"]:
        return [f"{head}: does not fit: {plan['refusal']}"]
    widened = plan["float32_products"]
    memory = {name: plan["hbm_bytes"][name] / GIB for name in ("peak", "arguments", "temporaries")}
    lines = [
        f"{head}: fits; compiled in {plan['compile_seconds']:.0f} s",
        f"memory of a chip: {', '.join(f'{name} {value:.3g} GiB' for name, value in memory.items())}",
        *(_collective(kind, total) for kind, total in plan["collectives"].items()),
        f"products with a float32 operand: {widened['in_loops']} in loops, {widened['outside']} outside",
    ]
    if seconds := plan["step_seconds"]:
        parts = ", ".join(f"{name} {1000 * s:.4g}" for name, s in seconds.items() if s is not None)
        lines.append(f"step in ms: {parts}")
        if plan["mfu"]:
            lines.append(f"model FLOPs: {plan['flops']:.3g} a step, MFU {plan['mfu']:.1%}")
    if cost := plan["cost"]:
        dollars = "" if cost["dollars"] is None else f", {cost['dollars']:.4g} dollars"
        lines += [
            f"{cost['tokens']:.3g} tokens: {cost['hours']:.4g} h, {cost['chip_hours']:.4g} chip-hours{dollars}"
        ]
    if bought := plan.get("bought"):
        lines += [
            f"{bought['chip_hours']:.4g} chip-hours buy {bought['flops']:.3g} FLOPs: N = {bought['params']:.3g} "
            f"parameters, D = {bought['tokens']:.3g} tokens"
        ]
    return lines


def _collective(kind: str, total: Mapping[str, int]) -> str:
    share = total["asynchronous_bytes"] / total["bytes"] if total["bytes"] else 0.0
    return (
        f"{kind}: {total['count']} a step, {total['bytes'] / GIB:.3g} GiB, {share:.0%} of them asynchronous"
    )
