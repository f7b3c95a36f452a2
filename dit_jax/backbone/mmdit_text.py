# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The text of a multimodal diffusion transformer, before it meets the video.

A language model reads from left to right; the refiner of HunyuanVideo (Kong et al. 2024, arXiv 2412.03603,
section 4.2) lets its tokens look both ways, under modulation by the time and the mean of the text.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from dit_jax.arrays import DType, TextTokens, Times, Tokens
from dit_jax.backbone.conditioning import Modulation, pooled
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.layers.attend import Ids
from dit_jax.layers.attention import Attention
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import TimeEmbedding
from dit_jax.layers.norm import LayerNorm
from dit_jax.layers.stack import run_blocks, stack_blocks


class Perceptron(nnx.Module):
    """Dense, SiLU, Dense."""

    def __init__(self, in_width: int, hidden: int, width: int, *, rngs: nnx.Rngs, dtype: DType = jnp.float32):
        self.up = Dense(in_width, hidden, rngs=rngs, dtype=dtype)
        self.down = Dense(hidden, width, rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        return self.down(jax.nn.silu(self.up(x)))


def embed_times(embedding: TimeEmbedding, t: Float[Array, "B S"]) -> Float[Array, "B S D"]:
    """Of several times of a clip or row."""
    return embedding(t.reshape(-1)).reshape(*t.shape, -1)


class RefinerBlock(nnx.Module):
    """Self-attention of the text and a perceptron, gated; the identity at initialisation."""

    def __init__(self, config: MMDiTConfig, *, rngs: nnx.Rngs):
        width, make = config.width, dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        self.modulation = Dense(width, 2 * width, scale=0.0, **make)
        self.attention_norm = LayerNorm(width)
        kind = dict(qk_norm="none", qkv_bias=config.qkv_bias)
        self.attention = Attention(width, config.num_heads, **kind, **make)
        self.mlp_norm = LayerNorm(width)
        self.mlp = Perceptron(width, config.mlp_hidden, width, **make)

    def __call__(self, x: Tokens, modulation: Modulation, ids: Ids) -> Tokens:
        gates = modulation.of_tokens(self.modulation(jax.nn.silu(modulation.time))).astype(x.dtype)
        attention_gate, mlp_gate = jnp.split(gates, 2, -1)
        x = x + attention_gate * self.attention(self.attention_norm(x), ids=ids)
        return x + mlp_gate * self.mlp(self.mlp_norm(x))


class TextRefiner(nnx.Module):
    """Text tokens to the tokens' width, having looked at each other."""

    def __init__(self, config: MMDiTConfig, *, rngs: nnx.Rngs):
        width, features = config.width, config.time_features
        self.config = config
        self.embed = Dense(config.text_width, width, rngs=rngs, dtype=jnp.dtype(config.dtype))
        self.time_embedding = TimeEmbedding(width, rngs=rngs, num_features=features, scale=config.time_scale)
        self.pooled_embedding = Perceptron(config.text_width, width, width, rngs=rngs)
        make = lambda r: RefinerBlock(config, rngs=r)  # noqa: E731
        self.blocks = stack_blocks(make, config.refiner_depth, rngs=rngs)

    def __call__(
        self,
        text: TextTokens,
        t: Times,
        ids: Int[Array, "B M"],
        numbers: Int[Array, " S"],
        index: Int[Array, "B M"] | None,
    ) -> Tokens:
        """The text that blocks are to read.

        Args:
          text: as the language model gives it.
          t: diffusion times.
          ids: which clip each token is of, -1 for padding.
          numbers: of the clips.
          index: which of the times is each token's.
        """
        mean = self.pooled_embedding(pooled(text, (ids, ids), numbers))
        modulation = Modulation(embed_times(self.time_embedding, t) + mean, index)
        apply = lambda block, x: block(x, modulation, (ids, ids))  # noqa: E731
        config = self.config
        return run_blocks(self.blocks, apply, self.embed(text), remat=config.remat, unroll=config.unroll)
