# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Softmax attention on a CPU: a tile of logits at a time, which stays in the cache, and a gradient of its own.

XLA goes over the logits some ten times in a training step, and its product is slow where a matrix as large as they
are is transposed. Here no such one is: the backward pass makes the tiles anew, keys by queries (Dao et al. 2022,
FlashAttention, arXiv 2205.14135, algorithm 4 of appendix B), and multiplies them as they lie.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

TILE = 2**20  # logits, which stay in the cache
MIN_LOGITS = 2**17  # of a head, below which all heads at once are faster
UNSEEN = -1e30


class Head(NamedTuple):
    """One head of one clip: its keys and values, and the numbers of what it may see."""

    k: Float[Array, "M head_dim"]
    v: Float[Array, "M head_dim"]
    ids: Int[Array, " M"] | None


class Tile(NamedTuple):
    """Some of its queries."""

    q: Float[Array, "n head_dim"]
    ids: Int[Array, " n"] | None


def blocked(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    ids: tuple | None,
) -> Float[Array, "B heads N head_dim"]:
    """`attend`, by tiles where there is much to see."""
    if q.shape[2] * k.shape[2] < MIN_LOGITS:
        return plain(q, k, v, ids)
    if ids is not None:
        ids = tuple(jnp.broadcast_to(one[:, None], (*a.shape[:2], a.shape[2])) for one, a in zip(ids, (q, k)))
    return _attend(*(a.astype(jnp.float32) for a in (q, k, v)), ids).astype(v.dtype)


@jax.custom_vjp
def plain(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    ids: tuple | None,
) -> Float[Array, "B heads N head_dim"]:
    """`attend` with the logits of all heads in memory, which the backward pass makes anew."""
    return _plain_forward(q, k, v, ids)[0]


def _plain_forward(q, k, v, ids):
    logits = _logits(q, k, ids)
    largest = logits.max(-1, keepdims=True)
    weights = jnp.exp(logits - largest)
    total = weights.sum(-1, keepdims=True)
    y = jnp.einsum("bhnm,bhmd->bhnd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32) / total
    return y.astype(v.dtype), (q, k, v, ids, largest, total)


def _plain_backward(kept, dy):
    """What is summed over queries is put out by columns: XLA is faster so than with the logits transposed."""
    q, k, v, ids, largest, total = kept
    dy = (dy / total).astype(v.dtype)
    weights = jnp.exp(_logits(q, k, ids) - largest)
    dweights = _logits(dy, v)
    dlogits = weights * (dweights - (weights * dweights).sum(-1, keepdims=True) / total)
    if ids is not None:
        dlogits = jnp.where(_seen(ids), dlogits, 0)
    weights, dlogits = weights.astype(v.dtype), dlogits.astype(q.dtype)
    by_column = [jnp.einsum("bhnd,bhnm->bhdm", a, b) for a, b in ((dy, weights), (q, dlogits))]
    dv, dk = (a.mT for a in jax.lax.optimization_barrier(by_column))
    dq = jnp.einsum("bhnm,bhmd->bhnd", dlogits, k)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None


def _logits(q: Array, k: Array, ids: tuple | None = None) -> Array:
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32)
    return logits if ids is None else jnp.where(_seen(ids), logits, UNSEEN)


def _seen(ids: tuple) -> Array:
    """Which keys each query sees, `B 1 N M`."""
    return ids[0][:, None, :, None] == ids[1][:, None, None, :]


plain.defvjp(_plain_forward, _plain_backward)


@jax.custom_vjp
def _attend(q, k, v, ids):
    return _forward(q, k, v, ids)[0]


def _forward(q, k, v, ids):
    numbers = (None, None) if ids is None else ids

    def of_head(given):
        head, tiles = given
        return jax.lax.map(functools.partial(_tile_forward, head), tiles)

    tiled = functools.partial(_tiled, size=_tile_size(q, k))
    tiles = Tile(*jax.tree.map(tiled, (q, numbers[0])))
    y, largest, total = jax.lax.map(of_head, (Head(*_by_head((k, v, numbers[1]))), tiles))
    y = _whole(y, q.shape)
    return y, (q, k, v, ids, y, largest, total)


def _tile_forward(head: Head, tile: Tile):
    logits = tile.q @ head.k.T
    if tile.ids is not None:
        logits = jnp.where(tile.ids[:, None] == head.ids, logits, UNSEEN)
    largest = logits.max(-1)
    weights = jnp.exp(logits - largest[:, None])
    total = weights.sum(-1)
    return weights @ head.v / total[:, None], largest, total


def _backward(kept, dy):
    q, k, v, ids, y, largest, total = kept
    numbers = (None, None) if ids is None else ids

    def of_head(given):
        head, tiles = given
        start = (jnp.zeros_like(head.k), jnp.zeros_like(head.v))
        return jax.lax.scan(functools.partial(_tile_backward, head), start, tiles)

    tiled = functools.partial(_tiled, size=_tile_size(q, k))
    tiles = (Tile(*jax.tree.map(tiled, (q, numbers[0]))), largest, total, tiled(y), tiled(dy))
    (dk, dv), dq = jax.lax.map(of_head, (Head(*_by_head((k, v, numbers[1]))), tiles))
    return _whole(dq.swapaxes(2, 3), q.shape), dk.reshape(k.shape), dv.reshape(v.shape), None


def _tile_backward(head: Head, sums, given):
    """Keys by queries throughout; the sums are the gradients of the keys and values."""
    tile, largest, total, y, dy = given
    logits = head.k @ tile.q.T
    seen = None if tile.ids is None else head.ids[:, None] == tile.ids
    if seen is not None:
        logits = jnp.where(seen, logits, UNSEEN)
    weights, dy = jnp.exp(logits - largest), dy / total[:, None]  # of both their product alone is needed
    dlogits = weights * (head.v @ dy.T - (dy * y).sum(-1))
    if seen is not None:
        dlogits = jnp.where(seen, dlogits, 0)
    return (sums[0] + dlogits @ tile.q, sums[1] + weights @ dy), head.k.T @ dlogits


def _by_head(tree):
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), tree)


def _tile_size(q: Array, k: Array) -> int:
    return min(q.shape[2], max(128, TILE // k.shape[2]))


def _tiled(a: Array, size: int) -> Array:
    """Queries of every head, `(B heads) tiles size ...`, with zeros after the last."""
    pad = [(0, 0), (0, 0), (0, -a.shape[2] % size)] + [(0, 0)] * (a.ndim - 3)
    return jnp.pad(a, pad).reshape(a.shape[0] * a.shape[1], -1, size, *a.shape[3:])


def _whole(tiles: Array, shape: tuple[int, ...]) -> Array:
    """What `_tiled` was given, of this shape."""
    return tiles.reshape(*shape[:2], -1, shape[3])[:, :, : shape[2]]


_attend.defvjp(_forward, _backward)
