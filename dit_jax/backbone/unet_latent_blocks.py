# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of the latent video U-Net: each in space, then over time, then a learned blend of the two.

Blattmann et al. 2023, "Align your latents", arXiv 2304.08818, section 3.1 and eq. 2, as in Stable Video
Diffusion (arXiv 2311.15127, appendix D). At initialisation what is over time is the identity, so that a
clip's frames are treated one by one, as by the 2-D network. A clip of one frame is an image: nothing over
time is computed.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import DType, TextMask, TextTokens
from dit_jax.backbone.unet_latent_transformer import (
    FramePosition,
    GatedMLP,
    Sequences,
    TransformerBlock,
    layer_norm,
)
from dit_jax.layers.conv import Conv2d, GroupNorm, TemporalConv
from dit_jax.layers.dense import Dense

Features = Float[Array, "B t h w c"]
MIX = 0.5  # of the sigmoid, at initialisation


class Sizes(NamedTuple):
    """Of a block.

    Attributes:
      in_channels: of what comes in.
      out_channels: of what goes out.
      embedding: width of the embedding of time.
      text_width: of the text tokens.
      num_groups: of every group norm.
      head_dim: of the attention; None for a block without.
      epsilon: of the group norms of the residual part.
      dtype: of the computation.
    """

    in_channels: int
    out_channels: int
    embedding: int
    text_width: int
    num_groups: int
    head_dim: int | None
    epsilon: float
    dtype: DType


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
    """What every block reads besides the features."""

    embedding: Float[Array, "B D"]  # of time and micro-conditioning, after SiLU
    text: TextTokens
    text_mask: TextMask
    image_only: Bool[Array, " B"] | None


class Block(nnx.Module):
    """A residual block, and a transformer where `sizes.head_dim` says so."""

    def __init__(self, sizes: Sizes, *, rngs: nnx.Rngs):
        self.residual = SpaceTimeResidual(sizes, rngs=rngs)
        self.transformer = None if sizes.head_dim is None else SpaceTimeTransformer(sizes, rngs=rngs)

    def __call__(self, x: Features, context: Context) -> Float[Array, "B t h w d"]:
        x = self.residual(x, context)
        return x if self.transformer is None else self.transformer(x, context)


class Blend(nnx.Module):
    """`sigmoid(mix) space + (1 - sigmoid(mix)) time`; of clips that are unrelated images, `space`."""

    def __init__(self):
        self.mix = nnx.Param(jnp.full((1,), MIX, jnp.float32))

    def __call__(
        self,
        space: Float[Array, "B *sites d"],
        time: Float[Array, "B *sites d"],
        image_only: Bool[Array, " B"] | None,
    ) -> Float[Array, "B *sites d"]:
        share = jax.nn.sigmoid(-self.mix[...])
        if image_only is not None:
            share = jnp.where(image_only, 0.0, share)
        share = share.reshape(-1, *[1] * (space.ndim - 1)).astype(space.dtype)
        return space + share * (time - space)


class Residual(nnx.Module):
    """Two of norm, SiLU and convolution, the embedding added between, beside a shortcut.

    The second convolution is zero at initialisation.

    Args:
      sizes: of the block.
      conv: `Conv2d` for frames, with statistics of each frame; `TemporalConv` for pixels, of each clip.
      rngs: for the kernels.
    """

    def __init__(self, sizes: Sizes, conv: type[Conv2d] | type[TemporalConv], *, rngs: nnx.Rngs):
        in_channels, channels, dtype = sizes.in_channels, sizes.out_channels, sizes.dtype
        norm = dict(num_groups=sizes.num_groups, axes=2 if conv is Conv2d else 3, epsilon=sizes.epsilon)
        self.norm1 = GroupNorm(in_channels, **norm)
        self.conv1 = conv(in_channels, channels, rngs=rngs, dtype=dtype)
        self.embedding = Dense(sizes.embedding, channels, rngs=rngs, dtype=dtype)
        self.norm2 = GroupNorm(channels, **norm)
        self.conv2 = conv(channels, channels, rngs=rngs, scale=0.0, dtype=dtype)
        same = in_channels == channels
        self.shortcut = None if same else Dense(in_channels, channels, rngs=rngs, dtype=dtype)

    def __call__(self, x: Features, embedding: Float[Array, "B D"]) -> Float[Array, "B t h w d"]:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = y + self.embedding(embedding)[:, None, None, None]
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return (x if self.shortcut is None else self.shortcut(x)) + y


class SpaceTimeResidual(nnx.Module):
    """A residual block of frames, blended with one over time that follows it."""

    def __init__(self, sizes: Sizes, *, rngs: nnx.Rngs):
        self.space = Residual(sizes, Conv2d, rngs=rngs)
        self.time = Residual(sizes._replace(in_channels=sizes.out_channels), TemporalConv, rngs=rngs)
        self.blend = Blend()

    def __call__(self, x: Features, context: Context) -> Float[Array, "B t h w d"]:
        x = self.space(x, context.embedding)
        if x.shape[1] == 1:
            return x
        return self.blend(x, self.time(x, context.embedding), context.image_only)


class SpaceTimeTransformer(nnx.Module):
    """A transformer block of frames, blended with one over time that follows it; as a whole a residual.

    Its last product is zero at initialisation.
    """

    def __init__(self, sizes: Sizes, *, rngs: nnx.Rngs):
        width, make = sizes.out_channels, dict(rngs=rngs, dtype=sizes.dtype)
        self.norm = GroupNorm(width, sizes.num_groups, epsilon=1e-6)
        self.enter = Dense(width, width, **make)
        self.space = TransformerBlock(width, sizes.text_width, sizes.head_dim, **make)
        self.position = FramePosition(width, **make)
        self.time_norm = layer_norm(width)
        self.time_mlp = GatedMLP(width, scale=0.0, **make)
        self.time = TransformerBlock(width, sizes.text_width, sizes.head_dim, scale=0.0, **make)
        self.blend = Blend()
        self.leave = Dense(width, width, scale=0.0, **make)

    def __call__(self, x: Features, context: Context) -> Features:
        batch, frames, height, width, channels = x.shape
        y = self.enter(self.norm(x)).reshape(batch, frames, height * width, channels)
        y = self.space(y, context.text, context.text_mask)
        if frames > 1:
            y = self.blend(y, self._over_time(y, context), context.image_only)
        return x + self.leave(y).reshape(x.shape)

    def _over_time(self, x: Sequences, context: Context) -> Sequences:
        x = (x + self.position(x.shape[1])[:, None]).swapaxes(1, 2)
        x = x + self.time_mlp(self.time_norm(x))
        return self.time(x, context.text, context.text_mask).swapaxes(1, 2)
