# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and one rule that says where every array lies on it.

Axes: `data` replicates the parameters, `fsdp` shards them, `model` shards them along a second dim, and
`seq` shards the rows of the latents, or the tokens of packed rows. A batch is split over `data` and `fsdp`.
Slices (chips with links among themselves) are joined by a slower network, which is left to `data` as far as it
divides over them: its gradients are sent once a step.
The models know nothing of this: XLA's partitioner places their computation by the arrays they are given.
"""

import contextlib
import contextvars
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from absl import logging
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import PyTree

AXES = ("data", "fsdp", "model", "seq")
BATCH_AXES = ("data", "fsdp")
CONTEXTS = ("gather", "ulysses", "ring")
MIN_SHARDED_SIZE = 2**14  # smaller parameters cost more to gather than to hold
PACKED_SEQUENCES = ("tokens", "positions", "segment_ids")  # of packed rows: `B N ...`

TPU_OPTIONS = {
    # A kernel's share of a TPU's fast memory, of 16 MiB by default: room for the keys of long clips.
    "xla_tpu_scoped_vmem_limit_kib": 96 * 1024,
    # Both products of a perceptron in one, which takes longer than the two.
    "xla_tpu_dot_dot_fusion": False,
}

# What is sent goes through cores of its own, while the others compute; without effect where a TPU has none.
SPARSE_CORES = ("all_gather", "2d_all_gather", "3d_all_gather", "reduce_scatter", "nd_reduce_scatter")
SPARSE_CORE_OPTIONS = {f"xla_tpu_enable_sparse_core_collective_offload_{kind}": True for kind in SPARSE_CORES}

HOST_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
SLURM_TASKS = "SLURM_STEP_NUM_TASKS"  # set within `srun` alone: a batch script itself is one process


def initialise_hosts(environment: Mapping[str, str] = os.environ) -> None:
    """Joins the processes of a run, if there are several: before JAX is asked for a device.

    They are told of each other by `JAX_COORDINATOR_ADDRESS` (host:port of the first), `JAX_NUM_PROCESSES` and
    `JAX_PROCESS_ID`; under Slurm's `srun` and on TPU pods (where `JAX_NUM_PROCESSES` is `auto`) by what JAX
    finds. A single process does nothing here.

    Raises:
      ValueError: some of the three are missing, or not numbers.
    """
    given = {name: environment[name] for name in HOST_VARIABLES if name in environment}
    if given.get("JAX_NUM_PROCESSES") == "auto" or (not given and int(environment.get(SLURM_TASKS, 1)) > 1):
        jax.distributed.initialize()
    elif given:
        jax.distributed.initialize(*_hosts_given(given))


def _hosts_given(given: Mapping[str, str]) -> tuple[str, int, int]:
    """The address, the number of processes, and which of them this is."""
    if missing := [name for name in HOST_VARIABLES if name not in given]:
        raise ValueError(f"{', '.join(given)} without {', '.join(missing)}: set all of the three")
    address, count, number = given.values()
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
        raise ValueError(
            f"JAX_PROCESS_ID={number} must be a number from 0 below JAX_NUM_PROCESSES={count}: give each process "
            "its own"
        )
    return address, int(count), int(number)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; their product is the number of devices (-1 for `data`: the rest).

    Attributes:
      data: see above, as the next three.
      fsdp: the same.
      model: the same.
      seq: the same.
      context: how queries meet the keys of other devices along `seq`: a name in `CONTEXTS`, see `layers.attend`.
      sparse_cores: whether a TPU's SparseCores (v5p, v6e) gather parameters and scatter gradients.
    """

    data: int = -1
    fsdp: int = 1
    model: int = 1
    seq: int = 1
    context: str = "gather"
    sparse_cores: bool = False

    def __post_init__(self):
        if self.context not in CONTEXTS:
            raise ValueError(f"mesh.context={self.context!r} is not one of {', '.join(CONTEXTS)}")
        sizes = (self.fsdp, self.model, self.seq)
        if min(sizes) < 1 or (self.data < 1 and self.data != -1):
            raise ValueError(f"mesh {dataclasses.asdict(self)} must be positive (data may be -1: the rest)")


_ambient: contextvars.ContextVar[tuple[Mesh | None, str]] = contextvars.ContextVar(
    "mesh", default=(None, CONTEXTS[0])
)


@contextlib.contextmanager
def on_mesh(mesh: Mesh, context: str = CONTEXTS[0]) -> Iterator[None]:
    """Layers that are traced in the body lie on `mesh`, and attend along its `seq` by `context`."""
    token = _ambient.set((mesh, context))
    try:
        yield
    finally:
        _ambient.reset(token)


def ambient() -> tuple[Mesh | None, str]:
    """The mesh of `on_mesh` around, None where there is none, and its `context`."""
    return _ambient.get()


def platform() -> str:
    """Of the devices that layers are traced for: `cpu`, `gpu`, `tpu`."""
    mesh, _ = ambient()
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def compiler_options(sharding: Sharding | None = None, sparse_cores: bool = False) -> dict[str, int]:
    """How programs with layers are compiled where an array of theirs lies; on the default devices by default."""
    kind = jax.default_backend() if sharding is None else next(iter(sharding.device_set)).platform
    return TPU_OPTIONS | (SPARSE_CORE_OPTIONS if sparse_cores else {}) if kind == "tpu" else {}


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices` (all by default), `data` across slices.

    Raises:
      ValueError: the axes' product is not the number of devices, or a slice or host would have no clips of its own.
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
    check_hosts(data * config.fsdp, len({device.process_index for device in devices}))
    return Mesh(arranged(shape, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def axes_that_divide(names: tuple[str, ...], size: int, mesh: Mesh) -> tuple[str, ...] | None:
    """`names`, if `size` divides over these axes of the mesh and there is something to divide."""
    count = math.prod(mesh.shape[name] for name in names)
    return names if count > 1 and size % count == 0 else None


def arranged(shape: tuple[int, int, int, int], devices: Sequence) -> np.ndarray:
    """Devices in the shape of a mesh, neighbours along an axis linked; slices lie along `data`, then along `fsdp`.

    Raises:
      ValueError: a slice would have no clips of its own.
    """
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices)
    data, fsdp, *others = shape
    if data * fsdp % slices:
        raise ValueError(
            f"data x fsdp = {data * fsdp} does not divide over {slices} slices, which no faster links join: raise "
            "data or fsdp, and keep model and seq within a slice"
        )
    across = math.gcd(data, slices)
    if data % slices:
        logging.warning("fsdp=%d crosses slices, in every block: data=%d keeps it within", fsdp, slices)
    within = (data // across, fsdp // (slices // across), *others)
    return mesh_utils.create_hybrid_device_mesh(within, (across, slices // across, 1, 1), devices)


def check_hosts(shards: int, hosts: int) -> None:
    """Raises ValueError when a host would have no clips of its own."""
    if shards % hosts:
        raise ValueError(
            f"data x fsdp = {shards} does not divide over {hosts} hosts, each of which reads clips of its own: "
            "raise data or fsdp, and keep model and seq within a host"
        )


def parameter_spec(shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """`fsdp` along the largest dim it divides, `model` along the largest other; of equals along the last.

    Arrays below `MIN_SHARDED_SIZE` elements are replicated. The choice depends on the shape alone, so that the
    optimizer's state and the moving average lie where their parameter does.
    """
    spec: list[str | None] = [None] * len(shape)
    if math.prod(shape) < MIN_SHARDED_SIZE:
        return PartitionSpec()
    for axis in ("fsdp", "model"):
        size = mesh.shape[axis]
        free = [i for i, n in enumerate(shape) if spec[i] is None and size > 1 and n % size == 0]
        if free:
            spec[max(free, key=lambda i: (shape[i], i))] = axis
    return PartitionSpec(*spec)


def parameter_shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """A `NamedSharding` for every array of a tree of parameters or optimizer state."""
    return jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh)), tree)


def batch_spec(
    shape: tuple[int, ...], mesh: Mesh | AbstractMesh, leading: int = 0, name: str = ""
) -> PartitionSpec:
    """Clips or packed rows over `data` and `fsdp`; rows of latents or pixels (`B t h w c`), and the tokens of
    packed rows, over `seq`.

    Args:
      shape: of one array of a batch, after `leading` axes (steps) that are not split.
      mesh: the mesh.
      leading: axes before the batch's.
      name: of the array in the batch.

    Raises:
      ValueError: the clips, rows or tokens do not divide over the mesh.
    """
    shape = shape[leading:]
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    if shape[0] % shards:
        raise ValueError(
            f"batch_size={shape[0]} does not divide over data x fsdp = {shards} devices: choose a multiple"
        )
    spec = [*[None] * leading, ("data", "fsdp")]
    seq, dim = mesh.shape["seq"], 1 if name in PACKED_SEQUENCES else 2
    if seq == 1 or not (name in PACKED_SEQUENCES or len(shape) == 5):
        return PartitionSpec(*spec)
    if shape[dim] % seq:
        what = "tokens of a packed row" if dim == 1 else "rows"
        raise ValueError(f"{shape[dim]} {what} do not divide over seq={seq} devices: choose a divisor")
    return PartitionSpec(*spec, *[None] * (dim - 1), "seq")


def place_batch(batch: PyTree, mesh: Mesh, leading: int = 0) -> PyTree:
    """Puts this host's rows of a batch on its devices, as one global array per leaf.

    Raises:
      ValueError: see `batch_spec`.
    """
    hosts = jax.process_count()

    def place(path: tuple, a: np.ndarray) -> jax.Array:
        shape = (*a.shape[:leading], a.shape[leading] * hosts, *a.shape[leading + 1 :])
        name = getattr(path[-1], "key", "") if path else ""
        sharding = NamedSharding(mesh, batch_spec(shape, mesh, leading, name))
        return jax.make_array_from_process_local_data(sharding, a, shape)

    return jax.tree_util.tree_map_with_path(place, batch)
