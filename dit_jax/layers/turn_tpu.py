# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Queries and keys on a TPU: normalised and turned in one pass, in which XLA takes three.

A mean over a head's features is a product with ones, which leaves it beside every one of them: a sum would leave it
where it has to be spread again.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from dit_jax.layers.norm import EPSILON

LANES, SUBLANES = 128, 8
TILE = 2048 * LANES  # numbers of a tile in fast memory, of one head or several
MIN_TOKENS = 128  # of a tile, below which its overhead is more than its work

Heads = Float[Array, "B heads N head_dim"]
Tables = tuple[Float[Array, "#B N head_dim"], ...]  # cosines and sines, or nothing


def fits(num_tokens: int, head_dim: int) -> bool:
    """Whether tiles of tokens fill what a device has of them."""
    return head_dim % LANES == 0 and math.gcd(num_tokens, _rows(head_dim)) >= MIN_TOKENS


def _rows(head_dim: int) -> int:
    """Of a tile: a power of two."""
    return 1 << (TILE // head_dim).bit_length() - 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normed_and_turned(
    x: Heads, gain: Float[Array, " head_dim"], tables: Tables, interpret: bool = False
) -> Heads:
    """`rms_norm(x, gain)`, turned by `tables`, where there are any.

    Args:
      x: queries or keys, of which `fits` is true.
      gain: of every head.
      tables: a `Rotation` as `rotations` makes it for a TPU.
      interpret: runs the kernel's own steps on any device.
    """
    return _with_kept(x, gain, tables, interpret)[0]


def _with_kept(x: Heads, gain: Array, tables: Tables, interpret: bool) -> tuple[Heads, tuple]:
    return _call(_forward, (x,), gain, tables, [x], interpret)[0], (x, gain, tables)


def _backward_of(interpret: bool, kept: tuple, out: Heads) -> tuple[Heads, Array, tuple]:
    x, gain, tables = kept
    sums = jax.ShapeDtypeStruct((len(x), SUBLANES, x.shape[-1]), jnp.float32)
    of_x, of_gain = _call(_backward, (x, out), gain, tables, [x, sums], interpret)
    return of_x, of_gain.sum((0, 1)).astype(gain.dtype), jax.tree.map(jnp.zeros_like, tables)


normed_and_turned.defvjp(_with_kept, _backward_of)


def _call(
    kernel, arrays: tuple, gain: Array, tables: Tables, like: list, interpret: bool
) -> tuple[Array, ...]:
    """`kernel` on tiles of `arrays`, all of which have one shape; those of one head after the other, so that tables
    are read once."""
    batch, num_heads, num_tokens, head_dim = arrays[0].shape
    tokens = math.gcd(num_tokens, _rows(head_dim))
    heads = next(n for n in range(_rows(head_dim) // tokens, 0, -1) if num_heads % n == 0)
    tile = pl.BlockSpec((1, heads, tokens, head_dim), lambda b, n, h: (b, h, n, 0))
    whole = pl.BlockSpec((1, head_dim), lambda b, n, h: (0, 0))
    sums = pl.BlockSpec((1, SUBLANES, head_dim), lambda b, n, h: (b, 0, 0))
    results = pl.pallas_call(
        functools.partial(kernel, turn=bool(tables)),
        grid=(batch, num_tokens // tokens, num_heads // heads),
        in_specs=[*[tile] * len(arrays), whole, *(_table_tile(table, tokens) for table in tables)],
        out_specs=[tile, sums][: len(like)],
        out_shape=[jax.ShapeDtypeStruct(one.shape, one.dtype) for one in like],
        interpret=interpret,
        name="normed_and_turned" + kernel.__name__,
    )(*arrays, gain.astype(jnp.float32)[None], *tables)
    return tuple(results)


def _table_tile(table: Array, tokens: int) -> pl.BlockSpec:
    of_clip = len(table) > 1
    return pl.BlockSpec((1, tokens, table.shape[-1]), lambda b, n, h: (b * of_clip, n, 0))


def _forward(x_ref, gain_ref, *refs, turn: bool):
    *tables, y_ref = refs
    normed, _ = _normed(x_ref)
    y = normed * gain_ref[...]
    y_ref[0] = (_turned(y, tables, 1.0) if turn else y).astype(y_ref.dtype)


def _backward(x_ref, out_ref, gain_ref, *refs, turn: bool):
    *tables, of_x_ref, of_gain_ref = refs

    @pl.when((pl.program_id(1) == 0) & (pl.program_id(2) == 0))
    def _():
        of_gain_ref[...] = jnp.zeros_like(of_gain_ref)

    out = out_ref[0].astype(jnp.float32)
    out = _turned(out, tables, -1.0) if turn else out
    normed, root = _normed(x_ref)
    of_gain_ref[0] += (out * normed).reshape(-1, SUBLANES, out.shape[-1]).sum(0)
    out = out * gain_ref[...]
    of_x_ref[0] = (root * (out - normed * _mean(out * normed, x_ref.dtype))).astype(of_x_ref.dtype)


def _normed(x_ref) -> tuple[Array, Array]:
    """Of unit mean square, and what it was multiplied by."""
    x = x_ref[0].astype(jnp.float32)
    root = jax.lax.rsqrt(_mean(x * x, x_ref.dtype) + EPSILON)
    return x * root, root


def _mean(x: Float[Array, "heads n head_dim"], dtype: jnp.dtype) -> Float[Array, "heads n head_dim"]:
    """Over features, beside each of them; of terms as exact as `dtype`."""
    ones = jnp.full((x.shape[-1],) * 2, 1 / x.shape[-1], dtype)
    rows = x.reshape(-1, x.shape[-1]).astype(dtype)
    exact = jax.lax.Precision.HIGHEST if dtype == jnp.float32 else None
    return jnp.dot(rows, ones, precision=exact, preferred_element_type=jnp.float32).reshape(x.shape)


def _turned(x: Float[Array, "heads n head_dim"], tables, way: float) -> Float[Array, "heads n head_dim"]:
    """By the angles of the tables, or back. The halves of `sin` are alike, but for the sign that comes here."""
    cos, sin = (table[...] for table in tables)
    half = x.shape[-1] // 2
    is_real = jax.lax.broadcasted_iota(jnp.int32, sin.shape, sin.ndim - 1) < half
    return x * cos + pltpu.roll(x, half, x.ndim - 1) * jnp.where(is_real, -way * sin, way * sin)
