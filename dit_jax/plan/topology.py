# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The devices of a machine that is not here."""

import contextlib
import dataclasses
import math
import os
import re

import jax
from jax.experimental import topologies

from dit_jax.plan.chips import Chip, chip

FORM = re.compile(r"(\w+):(\d+(?:x\d+)*)(?:@(\d+))?")


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips to compile for.

    Attributes:
      name: such as `v5e:4x4`, `v5e:4x4@2` (two slices), `h100:8` or `cpu:8`.
      chip: what each can do.
      devices: as many as chips.
    """

    name: str
    chip: Chip
    devices: tuple[jax.Device, ...]


def topology(name: str) -> Topology:
    """The topology `CHIP:AxB`, or `CHIP:AxB@SLICES`; nothing of JAX may have run in this process before.

    TPUs are described by libtpu; CPUs, and GPUs for which CPUs stand in, are virtual devices of this machine.

    Raises:
      ValueError: the name is not of this form, no such chip or topology is known, or libtpu is not installed.
    """
    found = FORM.fullmatch(name)
    if not found:
        raise ValueError(f"topology {name!r} is not CHIP:SHAPE: write v5e:4x4, v5e:4x4@2, h100:8 or cpu:8")
    kind, slices = chip(found[1]), int(found[3] or 1)
    count = slices * math.prod(map(int, found[2].split("x")))
    if count < 1:
        raise ValueError(f"topology {name!r} has no chip: give 1 or more along each axis")
    jax.config.update("jax_platforms", "cpu")
    devices = _tpus(name, slices) if kind.platform == "tpu" else _cpus(name, count)
    return Topology(name, kind, tuple(devices))


def _tpus(name: str, slices: int) -> list[jax.Device]:
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no machine to ask
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        shape = name.partition("@")[0]
        found = topologies.get_topology_desc(platform="tpu", topology_name=shape, num_slices=slices)
        return list(found.devices)
    except Exception as error:  # of whatever kind libtpu, or its absence, raises
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"no topology {name!r}: {reason}; is libtpu installed (pip install jax[tpu])?"
        ) from error


def _cpus(name: str, count: int) -> list[jax.Device]:
    with contextlib.suppress(RuntimeError):  # JAX has run already, and has what it has
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ValueError(
            f"topology {name!r} has {count} chips and this process {len(devices)} devices: start anew"
        )
    return devices[:count]
