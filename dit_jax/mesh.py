# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and one rule that says where every array lies on it.

Axes: `data` replicates the parameters, `fsdp` shards them, `model` shards them along a second dim, and
`seq` shards the rows of the latents. A batch is split over `data` and `fsdp`. The models know nothing of
this: XLA's partitioner places their computation by the arrays they are given.
"""

import dataclasses
import math

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

AXES = ("data", "fsdp", "model", "seq")
MIN_SHARDED_SIZE = 2**14  # smaller parameters cost more to gather than to hold


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; their product is the number of devices (-1 for `data`: the rest)."""

    data: int = -1
    fsdp: int = 1
    model: int = 1
    seq: int = 1

    def __post_init__(self):
        sizes = (self.fsdp, self.model, self.seq)
        if min(sizes) < 1 or (self.data < 1 and self.data != -1):
            raise ValueError(f"mesh {dataclasses.asdict(self)} must be positive (data may be -1: the rest)")


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices` (all by default).

    Raises:
      ValueError: the axes' product is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    rest = config.fsdp * config.model * config.seq
    data = max(1, len(devices) // rest) if config.data == -1 else config.data
    shape = (data, config.fsdp, config.model, config.seq)
    if math.prod(shape) != len(devices):
        raise ValueError(
            f"mesh {dict(zip(AXES, shape))} needs {math.prod(shape)} devices and {len(devices)} are there: "
            "choose axes whose product is the number of devices"
        )
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def parameter_spec(
    shape: tuple[int, ...], mesh: Mesh | AbstractMesh, min_size: int = MIN_SHARDED_SIZE
) -> PartitionSpec:
    """`fsdp` along the largest dim it divides, `model` along the largest of the others it divides.

    Arrays below `min_size` elements are replicated. The choice depends on the shape alone, so that the
    optimizer's state and the moving average lie where their parameter does.
    """
    spec: list[str | None] = [None] * len(shape)
    if math.prod(shape) < min_size:
        return PartitionSpec()
    for axis in ("fsdp", "model"):
        size = mesh.shape[axis]
        free = [i for i, n in enumerate(shape) if spec[i] is None and size > 1 and n % size == 0]
        if free:
            spec[max(free, key=lambda i: shape[i])] = axis
    return PartitionSpec(*spec)


def parameter_shardings(tree: PyTree, mesh: Mesh, min_size: int = MIN_SHARDED_SIZE) -> PyTree:
    """A `NamedSharding` for every array of a tree of parameters or optimizer state."""
    return jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh, min_size)), tree)


def batch_spec(shape: tuple[int, ...], mesh: Mesh | AbstractMesh, leading: int = 0) -> PartitionSpec:
    """Clips over `data` and `fsdp`, rows of latents or pixels (`B t h w c`) over `seq`.

    Args:
      shape: of a batch, after `leading` axes (steps) that are not split.
      mesh: the mesh.
      leading: axes before the batch's.

    Raises:
      ValueError: the clips or rows do not divide over the mesh.
    """
    shape = shape[leading:]
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    if shape[0] % rows:
        raise ValueError(
            f"batch_size={shape[0]} does not divide over data x fsdp = {rows} devices: choose a multiple"
        )
    seq = mesh.shape["seq"]
    if len(shape) == 5 and seq > 1:
        if shape[2] % seq:
            raise ValueError(f"{shape[2]} rows do not divide over seq={seq} devices: choose a divisor")
        return PartitionSpec(*[None] * leading, ("data", "fsdp"), None, "seq")
    return PartitionSpec(*[None] * leading, ("data", "fsdp"))


def place_batch(batch: PyTree, mesh: Mesh, leading: int = 0) -> PyTree:
    """Puts this host's rows of a batch on its devices, as one global array per leaf."""

    def place(a: np.ndarray) -> jax.Array:
        hosts = jax.process_count()
        shape = (*a.shape[:leading], a.shape[leading] * hosts, *a.shape[leading + 1 :])
        sharding = NamedSharding(mesh, batch_spec(shape, mesh, leading))
        return jax.make_array_from_process_local_data(sharding, a, shape)

    return jax.tree.map(place, batch)
