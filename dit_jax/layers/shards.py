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
    return jax.lax.all_gather(_cast(shard, dtype), GATHERED, axis=dim, tiled=True)


def _cast(shard: Array, dtype: DType) -> Array:
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


def _scatter(dim: int, stages: Stages, dtype: DType, _: None, gradient: Array) -> tuple[Array]:
    """Parts are an axis of their own: along a dim of tiles that they do not fill, XLA for TPUs sums the whole."""
    for groups in stages:
        size = jax.lax.axis_size(GATHERED) if groups is None else len(groups[0])
        parts = jnp.moveaxis(gradient, dim, 0)
        parts = jax.lax.psum_scatter(
            parts.reshape(size, -1, parts.shape[1]), GATHERED, axis_index_groups=groups
        )
        gradient = jnp.moveaxis(parts, 0, dim)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_shards(
    x: Float[Array, "rows i"], shard: Float[Array, "_ _"], dim: int, dtype: DType
) -> Float[Array, "rows o"]:
    """`x @ kernel` in `dtype`, of which every device has the part `shard` along `dim`, and rows of its own.

    Each multiplies all rows with its shard. The kernel's gradient is such a product too: of it nothing is sent, nor
    is there an outer product for every device, to be summed.
    """
    every, own = _operands(x, shard, dim, dtype)
    return _rows_of(every @ own) if dim == 1 else _summed(every @ own).astype(dtype)


def _by_shards_backward(dim: int, dtype: DType, kept: tuple[Array, Array], out: Array) -> tuple[Array, Array]:
    x, shard = kept
    every, own = _operands(x, shard, dim, dtype)
    out = _columns_of(out.astype(dtype)) if dim == 1 else _all(out.astype(dtype))
    of_every = out @ own.T
    of_x = _summed(of_every) if dim == 1 else _rows_of(of_every)
    return of_x.astype(x.dtype), (every.T @ out).astype(shard.dtype)


by_shards.defvjp(lambda x, shard, *how: (by_shards(x, shard, *how), (x, shard)), _by_shards_backward)


def _operands(x: Array, shard: Array, dim: int, dtype: DType) -> tuple[Array, Array]:
    """All rows, as far as they meet the shard, and that."""
    x = x.astype(dtype)
    return _all(x) if dim == 1 else _columns_of(x), _cast(shard, dtype).astype(dtype)


def _all(x: Array, axis: int = 0) -> Array:
    return jax.lax.all_gather(x, GATHERED, axis=axis, tiled=True)


def _columns_of(x: Array) -> Array:
    """Of some rows whole, every row's own columns. On few numbers a gather does what all-to-all would."""
    return _own(_all(x), 1)


def _rows_of(x: Array) -> Array:
    """The reverse of `_columns_of`."""
    return _own(_all(x, 1), 0)


def _summed(x: Array) -> Array:
    """Over devices, each of which has its own rows of the sum."""
    return jax.lax.psum_scatter(x.astype(jnp.float32), GATHERED, tiled=True)


def _own(x: Array, axis: int) -> Array:
    size = x.shape[axis] // jax.lax.axis_size(GATHERED)
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(GATHERED) * size, size, axis)
