# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The conditions of a transformer's tokens: modulation by their times, and the text they may read."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dit_jax.arrays import TextTokens, Times
from dit_jax.backbone.layout import Layout
from dit_jax.layers.attend import Ids


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Modulation:
    """Embeddings of the times that occur, and which of them is each token's.

    Attributes:
      time: embedding of each time (of a clip, a frame or a segment; then, if some tokens are known, of 0).
      index: of each token's time; None when there is one for all.
    """

    time: Float[Array, "B S D"]
    index: Int[Array, "B N"] | None

    def of_tokens(self, modulation: Float[Array, "B S m"]) -> Float[Array, "B _ m"]:
        """What each time gives, handed to its tokens."""
        if self.index is None:
            return modulation
        return jnp.take_along_axis(modulation, self.index[..., None], 1)


def time_index(layout: Layout, t: Times) -> Int[Array, "B N"] | None:
    """Which of the times `t` (of clips, frames or segments) is each token's."""
    if layout.segment_ids is not None:
        return jnp.maximum(layout.segment_ids - 1, 0)
    if t.shape[1] == 1:
        return None
    return jnp.broadcast_to(layout.positions[..., 0].astype(jnp.int32), (len(t), layout.positions.shape[1]))


def with_known(
    t: Times, index: Int[Array, "B N"] | None, known: Bool[Array, "B N 1"] | None
) -> tuple[Float[Array, "B _"], Int[Array, "B N"] | None]:
    """Times with those of known tokens behind them, which are 0."""
    if known is None:
        return t, index
    index = 0 if index is None else index
    return jnp.concatenate([t, jnp.zeros_like(t)], 1), index + t.shape[1] * known[..., 0]


def pooled(text: TextTokens, ids: Ids, numbers: Int[Array, " S"]) -> Float[Array, "B S E"]:
    """The mean of the text tokens of each number; zero where there are none."""
    mine = (ids[1][:, None, :] == numbers[:, None]).astype(text.dtype)
    return jnp.einsum("bsm,bme->bse", mine, text) / jnp.maximum(mine.sum(-1, keepdims=True), 1)
