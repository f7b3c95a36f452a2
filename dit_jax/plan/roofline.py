# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How long a step takes, from what the program does and what the chip can (Williams et al. 2009, CACM 52(4)).

    on_chip = cycles / clock + kernels / peak             where the compiler estimates cycles, else
              sum over instructions of max(FLOPs / peak, bytes / bandwidth of the memory)
    step    = max(on_chip, asynchronous) + synchronous    the last two: bytes between chips / bandwidth of links

Kernels are those of attention, whose FLOPs are counted by formula. An instruction is a fusion as a whole. An
all-reduce moves its bytes twice (it scatters, then gathers).
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping

from dit_jax.plan.chips import Chip
from dit_jax.plan.hlo import Module
from dit_jax.plan.work import ACROSS, hbm_traffic, kernel_flops, product_flops


@dataclasses.dataclass(frozen=True)
class Work:
    """What one chip does in a step.

    Attributes:
      flops: of its matrix products and convolutions, recomputation included.
      hbm_bytes: read and written.
      cycles: by the compiler's estimate; 0 where it makes none.
      kernel_flops: of the attention's kernels, in which the compiler sees no cycles; part of `flops`.
      instructions: (FLOPs, bytes, times) of each.
    """

    flops: int
    hbm_bytes: int
    cycles: int
    kernel_flops: int
    instructions: tuple[tuple[int, int, int], ...]


def work(module: Module) -> Work:
    """What the program does."""
    rows: list[tuple[int, int, int]] = []
    cycles = in_kernels = 0
    for visit in module.visits():
        kernel = kernel_flops(visit.instruction, visit.scope)
        flops = product_flops(visit.instruction, visit.scope) + kernel
        in_kernels += visit.times * kernel
        if visit.fused:  # its fusion has come just before
            rows[-1] = (rows[-1][0] + flops, *rows[-1][1:])
            continue
        rows.append((flops, hbm_traffic(visit.instruction, visit.scope, module), visit.times))
        cycles += visit.times * (visit.instruction.cycles or 0)
    total = Counter(flops=sum(f * t for f, _, t in rows), bytes=sum(b * t for _, b, t in rows))
    return Work(
        total["flops"], total["bytes"], cycles, in_kernels, tuple(row for row in rows if row[0] or row[1])
    )


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
    roofline = sum(t * max(f / chip.flops, b / chip.hbm_bandwidth) for f, b, t in done.instructions)
    cycles = done.cycles / chip.clock if chip.clock and done.cycles else None
    kernels = done.kernel_flops / chip.flops
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
