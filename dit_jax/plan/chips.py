# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a chip can do, by its maker's word.

Sources: Google Cloud's documentation of TPU v5e, v5p and v6e (system architecture; figures per chip), NVIDIA's
data sheets of H100 SXM5 and H200 SXM (dense bfloat16, without sparsity; NVLink in both directions together).
The clock of a TPU turns the compiler's cycles into seconds: a large matrix product then comes out at 96 % of
the peak.
"""

import dataclasses

from dit_jax.sections import nearest


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip of a topology.

    Attributes:
      platform: that compiles for it: `tpu`, or `cpu`, which stands in for GPUs.
      flops: peak bfloat16 FLOP/s; None where nobody states one.
      hbm_bytes: of memory.
      hbm_bandwidth: bytes/s.
      link_bandwidth: bytes/s that leave the chip over all its links, one direction.
      clock: Hz of the cycles that the compiler estimates; None where it estimates none.
    """

    platform: str
    flops: float | None = None
    hbm_bytes: float | None = None
    hbm_bandwidth: float | None = None
    link_bandwidth: float | None = None
    clock: float | None = None


GIB = 2.0**30
CHIPS = {
    "v5e": Chip("tpu", 197e12, 16 * GIB, 819e9, 200e9, 1.5e9),  # 1,600 Gbit/s
    "v5p": Chip("tpu", 459e12, 95 * GIB, 2765e9, 600e9, 1.75e9),  # 4,800 Gbit/s
    "v6e": Chip("tpu", 918e12, 32 * GIB, 1638e9, 400e9, 1.75e9),  # 3,200 Gbit/s
    "h100": Chip("cpu", 989e12, 80e9, 3350e9, 450e9),
    "h200": Chip("cpu", 989e12, 141e9, 4800e9, 450e9),
    "cpu": Chip("cpu"),
}


def chip(name: str) -> Chip:
    """The chip of a name.

    Raises:
      ValueError: there is none of this name.
    """
    if name not in CHIPS:
        raise ValueError(f"chip {name!r} is unknown; {nearest(name, list(CHIPS))}")
    return CHIPS[name]
