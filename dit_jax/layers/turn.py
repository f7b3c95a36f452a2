# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Queries and keys, normalised per head and turned, by what suits the device."""

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from dit_jax.layers.norm import rms_norm
from dit_jax.layers.rope import Rotation, apply_rope
from dit_jax.mesh import BATCH_AXES, ambient, axes_that_divide, platform

Heads = Float[Array, "B heads N head_dim"]


def normed_and_turned(x: Heads, gain: Float[Array, " head_dim"], rotation: Rotation | None = None) -> Heads:
    """`rms_norm(x, gain)`, turned by `rotation`; on a TPU by one kernel, on each device for its share."""
    kernel = _kernel(x) if platform() == "tpu" else None
    if kernel is None:
        y = rms_norm(x, gain)
        return y if rotation is None else apply_rope(y, rotation)
    mesh, _ = ambient()
    tables = () if rotation is None else rotation
    if mesh is None or mesh.size == 1:
        return kernel(x, gain, tables)
    lies = _lies(x)
    tables_lie = tuple(PartitionSpec(lies[0] if len(one) > 1 else None, lies[2]) for one in tables)
    specs = (lies, PartitionSpec(), tables_lie)
    return jax.shard_map(kernel, mesh=mesh, in_specs=specs, out_specs=lies, check_vma=False)(x, gain, tables)


def _kernel(x: Heads):
    """That of TPUs, where it takes a device's share of `x`."""
    from dit_jax.layers import turn_tpu  # Pallas takes .6 s to import, which only a TPU is worth

    mesh, _ = ambient()
    shape = x.shape if mesh is None else jax.sharding.NamedSharding(mesh, _lies(x)).shard_shape(x.shape)
    return turn_tpu.normed_and_turned if turn_tpu.fits(*shape[2:]) else None


def _lies(x: Heads) -> PartitionSpec:
    mesh, _ = ambient()
    axes = zip((BATCH_AXES, ("model",), ("seq",)), x.shape)
    return PartitionSpec(*(axes_that_divide(names, size, mesh) for names, size in axes))
