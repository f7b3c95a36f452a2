# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels of which each device along a mesh's axis `fsdp` has a shard, inside `shard_map`: made whole where many rows
are multiplied with them, and left where they lie where few are."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.mesh import platform

GATHERED = "fsdp"
Stages = tuple[tuple[tuple[int, ...], ...] | None, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def whole(shard: Array, dim: int, stages: Stages, dtype: DType) -> Array:
    """The array of which every device has a part along `dim`, in `dtype`; its gradient is scattered in stages."""
    return jax.lax.all_gather(cast(shard, dtype), GATHERED, axis=dim, tiled=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def cast(shard: Array, dtype: DType) -> Array:
    """`shard` in `dtype`, in which it is sent.

    On a TPU by way of its bits, which the compiler can not cast. It would take the cast out of the loop over blocks,
    and hold all parameters in both types.
    """
    if platform() == "cpu":  # see `summable`
        return shard
    if platform() == "tpu":
        bits = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(shard, jnp.uint32))
        shard = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return shard.astype(dtype)


cast.defvjp(lambda shard, dtype: (cast(shard, dtype), None), lambda _, __, out: (out.astype(jnp.float32),))


def _scatter(dim: int, stages: Stages, dtype: DType, _: None, gradient: Array) -> tuple[Array]:
    for groups in stages:
        gradient = jax.lax.psum_scatter(
            gradient, GATHERED, scatter_dimension=dim, axis_index_groups=groups, tiled=True
        )
    return (gradient.astype(jnp.float32),)


whole.defvjp(lambda shard, *how: (whole(shard, *how), None), _scatter)


def scatter_stages(coords: Sequence[Sequence[int]]) -> Stages:
    """Groups of devices over which a sum is scattered along an axis of the mesh, stage by stage; None is all at once.

    XLA's compiler for TPUs makes a scatter over three dims of the torus a sum of the whole: there the sum is
    scattered over planes first, and then over what lies across them.

    Args:
      coords: of the devices along the axis, in the torus; empty where there is none.
    """
    count = len(coords)
    if _dims_of(coords) > 2:
        for size in (size for size in range(2, count) if count % size == 0):
            lines = tuple(tuple(range(first, first + size)) for first in range(0, count, size))
            planes = tuple(tuple(range(first, count, size)) for first in range(size))
            if all(_dims_of([coords[i] for i in group]) <= 2 for group in lines + planes):
                return planes, lines
    return (None,)


def _dims_of(coords: Sequence[Sequence[int]]) -> int:
    """Along which places differ."""
    return sum(len(set(along)) > 1 for along in zip(*coords))


def by_shards(
    x: Float[Array, "rows i"], shard: Float[Array, "_ _"], dim: int, dtype: DType
) -> Float[Array, "rows o"]:
    """`x @ kernel` in `dtype`, of which every device has the part `shard` along `dim`, and rows of its own.

    Each multiplies all rows with its shard. The kernel's gradient is such a product too: of it nothing is sent, nor
    is there an outer product for every device, to be summed.
    """
    shard = cast(shard, dtype).astype(dtype)
    if dim == 1:
        every = jax.lax.all_gather(
            x.astype(jnp.float32), GATHERED, tiled=True
        )  # so that gradients are summed
        return _to_rows(every.astype(dtype) @ shard)
    y = _to_columns(x.astype(dtype)) @ shard
    return jax.lax.psum_scatter(y.astype(jnp.float32), GATHERED, tiled=True).astype(dtype)


@jax.custom_vjp
def _to_rows(x: Float[Array, "every o"]) -> Float[Array, "rows whole"]:
    """Of every row some columns, into some rows whole. On few numbers a gather does what all-to-all would."""
    return _own(jax.lax.all_gather(x, GATHERED, axis=1, tiled=True), 0)


@jax.custom_vjp
def _to_columns(x: Float[Array, "rows whole"]) -> Float[Array, "every o"]:
    """The reverse of `_to_rows`, and its gradient."""
    return _own(jax.lax.all_gather(x, GATHERED, tiled=True), 1)


_to_rows.defvjp(lambda x: (_to_rows(x), None), lambda _, out: (_to_columns(out),))
_to_columns.defvjp(lambda x: (_to_columns(x), None), lambda _, out: (_to_rows(out),))


def _own(x: Array, axis: int) -> Array:
    size = x.shape[axis] // jax.lax.axis_size(GATHERED)
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(GATHERED) * size, size, axis)
