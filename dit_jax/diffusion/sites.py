# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The two layouts of a batch, seen alike: latents on a grid `B t h w c`, or clips packed into rows `B N D`.

A packed row says what is whose in its `cond`: `segment_ids` [B, N] (1 to S, 0 where the row is not full) and
`positions` [B, N, 3]. It has a time for each segment.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import Cond, PerClip, Sites, Times


def is_packed(cond: Cond) -> bool:
    """Whether `cond` is that of packed rows."""
    return "segment_ids" in cond


def num_clips(x: Sites, cond: Cond) -> tuple[int, ...]:
    """The shape of what there is one of for each clip: `(B,)`, or `(B, S)` for packed rows."""
    return (x.shape[0], *cond["text_segment_ids"].shape[1:]) if is_packed(cond) else x.shape[:1]


def expand(t: Times, x: Sites, cond: Cond) -> Float[Array, "B ..."]:
    """Times of clips, frames or segments, shaped to broadcast over `x`."""
    if is_packed(cond):
        return jnp.take_along_axis(t, jnp.maximum(cond["segment_ids"] - 1, 0), 1)[..., None]
    return t.reshape(*t.shape, *(1,) * (x.ndim - t.ndim))


def valid(x: Sites, cond: Cond) -> Bool[Array, "B *#sites 1"]:
    """Where a row holds a clip."""
    if is_packed(cond):
        return (cond["segment_ids"] > 0)[..., None]
    return jnp.ones((x.shape[0], *(1,) * (x.ndim - 1)), bool)


def coordinates(x: Sites, cond: Cond) -> tuple[Float[Array, "... 3"], Float[Array, "... 3"]]:
    """Time, row and column of every site within its clip, and the clip's size along them."""
    if not is_packed(cond):
        size = x.shape[1:4]
        axes = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in size), indexing="ij")
        return jnp.stack(axes, -1)[None, ..., None, :], jnp.asarray(size, jnp.float32)
    ids, place = cond["segment_ids"], cond["positions"]
    mine = ids[:, :, None] == jnp.arange(1, num_clips(x, cond)[1] + 1)
    last = jnp.where(mine[..., None], place[:, :, None], 0).max(1)  # B S 3
    size = jnp.take_along_axis(last, jnp.maximum(ids - 1, 0)[..., None], 1) + 1
    return place[:, :, None], size[:, :, None]


def clip_sizes(x: Sites, cond: Cond) -> float | Float[Array, "B S"]:
    """How many values a clip has, the same number on a grid and in a packed row (there at least 1)."""
    if not is_packed(cond):
        return float(math.prod(x.shape[1:]))
    mine = cond["segment_ids"][:, :, None] == jnp.arange(1, num_clips(x, cond)[1] + 1)
    return jnp.maximum(mine.sum(1) * float(x.shape[-1]), 1.0)


def without_text(cond: Cond, null: Cond, drop: PerClip) -> Cond:
    """`cond` with the null text where `drop`: what `null` has a name for is replaced by it."""

    def replace(name: str, value: Array) -> Array:
        where = drop.reshape(*drop.shape, *(1,) * (value.ndim - drop.ndim))
        return jnp.where(where, null[name], value) if name in null else value

    return {name: replace(name, value) for name, value in cond.items()}
