# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How long a step takes, from what the program does and what the chip can (Williams et al. 2009, CACM 52(4)).

    roofline = sum of max(FLOPs / peak, bytes / bandwidth of the memory)
    on_chip  = cycles / clock + roofline of kernels         where the compiler estimates cycles, else roofline of all
    step     = max(on_chip, asynchronous) + synchronous     the last two: bytes between chips / bandwidth of links

Kernels are those written for the chip, in which the compiler sees no cycles; of attention's the FLOPs are counted by
formula. An instruction is a fusion as a whole. An all-reduce moves its bytes twice (it scatters, then gathers).
"""

import dataclasses
from collections.abc import Mapping

from dit_jax.plan.chips import Chip
from dit_jax.plan.hlo import Module
from dit_jax.plan.work import ACROSS, hbm_traffic, is_kernel, kernel_flops, product_flops

Row = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Work:
    """What one chip does in a step.

    Attributes:
      flops: of its matrix products and convolutions, recomputation included.
      hbm_bytes: read and written.
      cycles: by the compiler's estimate; 0 where it makes none.
      instructions: (FLOPs, bytes, times) of each.
      kernels: the same, of those in which the compiler sees no cycles.
    """

    flops: int
    hbm_bytes: int
    cycles: int
    instructions: tuple[Row, ...]
    kernels: tuple[Row, ...] = ()


def work(module: Module) -> Work:
    """What the program does."""
    rows: list[Row] = []
    kernels: list[Row] = []
    cycles = 0
    for visit in module.visits():
        flops = product_flops(visit.instruction, visit.scope) + kernel_flops(visit.instruction, visit.scope)
        if visit.fused:  # its fusion has come just before
            rows[-1] = (rows[-1][0] + flops, *rows[-1][1:])
            continue
        rows.append((flops, hbm_traffic(visit.instruction, visit.scope, module), visit.times))
        cycles += visit.times * (visit.instruction.cycles or 0)
        if is_kernel(visit.instruction):
            kernels.append(rows[-1])
    flops, num_bytes = (sum(row[i] * row[2] for row in rows) for i in range(2))
    return Work(flops, num_bytes, cycles, tuple(row for row in rows if row[0] or row[1]), tuple(kernels))


def step_seconds(
    done: Work, communication: Mapping[str, Mapping[str, int | float]], chip: Chip
) -> dict[str, float | None] | None:
    """`estimate` and its parts; None for a chip of which nothing is known.

    Args:
      done: by one chip.
      communication: from `collectives`.
      chip: that does it.
    """
    if chip.flops is None:
        return None
    moved = {"asynchronous": 0.0, "synchronous": 0.0}
    for kind, total in communication.items():
        if kind == ACROSS:  # at whatever speed the network has
            continue
        factor = (2 if kind == "all-reduce" else 1) / chip.link_bandwidth
        moved["asynchronous"] += factor * total["asynchronous_bytes"]
        moved["synchronous"] += factor * (total["bytes"] - total["asynchronous_bytes"])
    roofline, kernels = (
        sum(
            times * max(flops / chip.flops, num_bytes / chip.hbm_bandwidth)
            for flops, num_bytes, times in rows
        )
        for rows in (done.instructions, done.kernels)
    )
    cycles = done.cycles / chip.clock if chip.clock and done.cycles else None
    on_chip = roofline if cycles is None else cycles + kernels
    return {
        "estimate": max(on_chip, moved["asynchronous"]) + moved["synchronous"],
        "compute": done.flops / chip.flops,
        "hbm": done.hbm_bytes / chip.hbm_bandwidth,
        "roofline": roofline,
        "cycles": cycles,
        "kernels": kernels,
        "interconnect_asynchronous": moved["asynchronous"],
        "interconnect_synchronous": moved["synchronous"],
    }
