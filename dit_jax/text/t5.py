# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The encoders of T5 v1.1 and UMT5, which read a prompt for a video model and are not trained with it.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", arXiv
1910.10683; the gated perceptron of v1.1 is that of Shazeer 2020, arXiv 2002.05202. UMT5 (Chung et al. 2023,
"UniMax", arXiv 2304.09151) differs in its vocabulary, and in a position bias for every block, where T5 has
one for all. Attention logits are not scaled: the initialisation of the queries stands for it.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dit_jax.arrays import DType, TextIds, TextTokens
from dit_jax.layers.dense import Dense
from dit_jax.layers.norm import rms_norm
from dit_jax.layers.stack import run_blocks, stack_blocks

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes of a `T5Encoder`.

    Attributes:
      vocab_size: rows of the embedding; more than the tokenizer's pieces.
      width: of the tokens.
      depth: blocks.
      num_heads: of each block.
      head_dim: of each head; heads need not fill the width.
      mlp_width: in between, in the perceptron.
      num_buckets: of relative positions, half for each direction.
      max_distance: from which on all positions share a bucket.
      per_layer_bias: UMT5's position bias for every block; else T5's one for all.
      dtype: of the matrix products; norms, softmax and the sum over blocks are float32.
    """

    vocab_size: int
    width: int
    depth: int
    num_heads: int
    head_dim: int
    mlp_width: int
    num_buckets: int = 32
    max_distance: int = 128
    per_layer_bias: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        for name in ("vocab_size", "width", "depth", "num_heads", "head_dim", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.num_buckets < 4 or self.num_buckets % 4:
            raise ValueError(f"num_buckets={self.num_buckets} must be a multiple of 4: choose 32")
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"max_distance={self.max_distance} must exceed num_buckets / 4 = {self.num_buckets // 4}"
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r} is not one of {', '.join(DTYPES)}")


def _published(vocab_size: int, per_layer_bias: bool, *sizes: int) -> T5Config:
    width, depth, num_heads, mlp_width = sizes
    return T5Config(vocab_size, width, depth, num_heads, 64, mlp_width, per_layer_bias=per_layer_bias)


PRESETS = {
    "t5-v1_1-small": _published(32128, False, 512, 8, 6, 1024),
    "t5-v1_1-base": _published(32128, False, 768, 12, 12, 2048),
    "t5-v1_1-large": _published(32128, False, 1024, 24, 16, 2816),
    "t5-v1_1-xl": _published(32128, False, 2048, 24, 32, 5120),
    "t5-v1_1-xxl": _published(32128, False, 4096, 24, 64, 10240),
    "umt5-small": _published(256384, True, 512, 8, 6, 1024),
    "umt5-base": _published(256384, True, 768, 12, 12, 2048),
    "umt5-xl": _published(256384, True, 2048, 24, 32, 5120),
    "umt5-xxl": _published(256384, True, 4096, 24, 64, 10240),
}


def relative_buckets(
    offsets: Int[np.ndarray, " offsets"], num_buckets: int, max_distance: int
) -> Int[np.ndarray, " offsets"]:
    """The bucket of each offset (key's position less query's).

    Half of the buckets are for keys behind the query and half for keys ahead. Of each half, one half holds a
    distance each, and the others grow geometrically up to `max_distance`.
    """
    half, exact = num_buckets // 2, num_buckets // 4
    distance = np.abs(offsets)
    # In float32, as it was published: a distance on the edge of a bucket falls where it fell in training.
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    growth = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum(exact + growth.astype(np.int32), half - 1)
    return np.where(distance < exact, distance, far) + half * (offsets > 0)


class PositionBias(nnx.Module):
    """What a head adds to its logits for each bucket of relative positions."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.config = config
        init = nnx.initializers.normal(config.width**-0.5)
        self.table = nnx.Param(init(rngs.params(), (config.num_buckets, config.num_heads)))

    def __call__(self, length: int) -> Float[Array, "heads L L"]:
        offsets = np.arange(1 - length, length)
        buckets = relative_buckets(offsets, self.config.num_buckets, self.config.max_distance)
        by_offset = self.table[...].astype(jnp.float32)[buckets]
        position = jnp.arange(length)
        return by_offset[position[None, :] - position[:, None] + length - 1].transpose(2, 0, 1)


class T5Attention(nnx.Module):
    """Self-attention with a position bias, without scaling."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        inner = config.num_heads * config.head_dim
        make = dict(rngs=rngs, use_bias=False, dtype=jnp.dtype(config.dtype))
        self.head_dim = config.head_dim
        self.query = Dense(config.width, inner, scale=1 / config.head_dim, **make)
        self.key = Dense(config.width, inner, **make)
        self.value = Dense(config.width, inner, **make)
        self.out = Dense(inner, config.width, **make)

    def __call__(
        self, x: TextTokens, bias: Float[Array, "heads M M"], mask: Bool[Array, "B M"]
    ) -> TextTokens:
        q, k, v = (
            y.reshape(*y.shape[:-1], -1, self.head_dim) for y in (self.query(x), self.key(x), self.value(x))
        )
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32) + bias
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, -1e30), -1)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(v.dtype), v)
        return self.out(y.reshape(*y.shape[:2], -1))


class GatedMLP(nnx.Module):
    """`down(gelu(gate(x)) * up(x))` with GELU in its tanh form."""

    def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs, dtype: DType):
        make = dict(rngs=rngs, use_bias=False, dtype=dtype)
        self.gate = Dense(width, hidden, **make)
        self.up = Dense(width, hidden, **make)
        self.down = Dense(hidden, width, **make)

    def __call__(self, x: TextTokens) -> TextTokens:
        return self.down(jax.nn.gelu(self.gate(x), approximate=True) * self.up(x))


class T5Block(nnx.Module):
    """Pre-norm self-attention and gated perceptron."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.attention_gain = nnx.Param(jnp.ones((config.width,)))
        self.attention = T5Attention(config, rngs=rngs)
        self.bias = PositionBias(config, rngs=rngs) if config.per_layer_bias else None
        self.mlp_gain = nnx.Param(jnp.ones((config.width,)))
        self.mlp = GatedMLP(config.width, config.mlp_width, rngs=rngs, dtype=jnp.dtype(config.dtype))

    def __call__(
        self, x: TextTokens, shared: Float[Array, "heads M M"] | None, mask: Bool[Array, "B M"]
    ) -> TextTokens:
        bias = shared if self.bias is None else self.bias(x.shape[1])
        x = x + self.attention(rms_norm(x, self.attention_gain[...]), bias, mask).astype(x.dtype)
        return x + self.mlp(rms_norm(x, self.mlp_gain[...])).astype(x.dtype)


class T5Encoder(nnx.Module):
    """Ids to text tokens.

    Args:
      config: sizes.
      rngs: for the parameters.
    """

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.config = config
        shape = (config.vocab_size, config.width)
        self.embedding = nnx.Param(nnx.initializers.normal(1.0)(rngs.params(), shape))
        self.bias = None if config.per_layer_bias else PositionBias(config, rngs=rngs)
        self.blocks = stack_blocks(lambda r: T5Block(config, rngs=r), config.depth, rngs=rngs)
        self.gain = nnx.Param(jnp.ones((config.width,)))

    def __call__(self, tokens: TextIds, mask: Bool[Array, "B L"]) -> Float[Array, "B L D"]:
        """Text tokens in float32; those where `mask` is False mean nothing, and change no other.

        Args:
          tokens: ids of pieces.
          mask: which of them are text.
        """
        x = self.embedding[...][tokens].astype(jnp.float32)
        bias = None if self.bias is None else self.bias(tokens.shape[1])
        x = run_blocks(self.blocks, lambda block, y: block(y, bias, mask), x)
        return rms_norm(x, self.gain[...])
