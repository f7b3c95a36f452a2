# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of the pseudo-3D U-Net: each works within frames, then across them.

Singer et al. 2022, Make-A-Video, arXiv 2209.14792, section 3.2. What works across frames does nothing at
initialisation, and is left out for clips of one frame.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import DType, Known, TextMask, TextTokens, Time
from dit_jax.layers.attend import ids_of_mask
from dit_jax.layers.attention import Attention
from dit_jax.layers.conv import Conv2d, Convolved, Features, GroupNorm, TemporalConv
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import sinusoids
from dit_jax.layers.gelu import gelu
from dit_jax.layers.norm import layer_norm
from dit_jax.layers.rope import Rotation

MAX_GROUPS, LEAST_CHANNELS = 32, 4  # of a normalisation, and of its groups: alone, a channel loses its mean


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
    """What every block reads besides the features."""

    time: Float[Array, "S B D"]  # embedding of t, and of 0 when some latents are known (S = 2)
    known: tuple[Bool[Array, "B t _h _w 1"], ...]  # at each level; empty when nothing is
    text: TextTokens
    text_mask: TextMask
    rotation: Rotation  # of temporal attention

    def modulation(self, dense: Dense, size: tuple[int, int]) -> Float[Array, "B #t #h #w M"]:
        """Modulation of features of `size` (h, w): that of t = 0 where they are known."""
        m = dense(jax.nn.silu(self.time))[:, :, None, None, None]
        if not self.known:
            return m[0]
        return jnp.where(next(known for known in self.known if known.shape[2:4] == size), m[1], m[0])


def halve(known: Known) -> Bool[Array, "B t _h _w 1"]:
    """What is known at half the height and width, rounded up: where all of a two by two cell is."""
    odd = [(0, size % 2) for size in known.shape[2:4]]
    known = jnp.pad(known, [(0, 0), (0, 0), *odd, (0, 0)], constant_values=True)
    batch, frames, height, width, _ = known.shape
    return known.reshape(batch, frames, height // 2, 2, width // 2, 2, 1).all((3, 5))


def temporal_conv(
    channels: int, temporal: bool, *, rngs: nnx.Rngs, dtype: DType = jnp.float32
) -> TemporalConv | None:
    """A 1-D convolution over time that begins as the identity; None unless `temporal`."""
    return TemporalConv(channels, channels, identity=True, rngs=rngs, dtype=dtype) if temporal else None


def across_frames(conv: TemporalConv | None, x: Features) -> Features:
    """The convolution over time, unless there is one frame."""
    return x if conv is None or x.shape[1] == 1 else conv(x)


class PseudoConv3d(nnx.Module):
    """A 2-D convolution within frames, then a 1-D convolution across them.

    Args:
      in_channels: of the input.
      out_channels: of the output.
      temporal: whether there is the second one.
      rngs: for the kernels.
      stride: in height and width.
      scale: variance scale of the 2-D kernel.
      dtype: of the computation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        temporal: bool,
        rngs: nnx.Rngs,
        stride: int = 1,
        scale: float = 1.0,
        dtype: DType = jnp.float32,
    ):
        make = dict(rngs=rngs, dtype=dtype)
        self.conv = Conv2d(in_channels, out_channels, stride=stride, scale=scale, **make)
        self.temporal_conv = temporal_conv(out_channels, temporal, **make)

    def __call__(self, x: Features) -> Convolved:
        return across_frames(self.temporal_conv, self.conv(x))


class ResidualBlock(nnx.Module):
    """Normalisation, SiLU and convolution, twice; the second is modulated by time, and begins as zero.

    Args:
      in_channels: of the input.
      out_channels: of the output.
      time_width: of the time's embedding.
      temporal: whether convolutions go across frames, too.
      rngs: for the kernels.
      dtype: of the computation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_width: int,
        *,
        temporal: bool,
        rngs: nnx.Rngs,
        dtype: DType = jnp.float32,
    ):
        make = dict(rngs=rngs, dtype=dtype)
        self.norm1 = group_norm(in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, **make)
        self.temporal_conv1 = temporal_conv(out_channels, temporal, **make)
        self.modulation = Dense(time_width, 2 * out_channels, **make)
        self.norm2 = group_norm(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, scale=0.0, **make)
        self.temporal_conv2 = temporal_conv(out_channels, temporal, **make)
        self.skip = None if in_channels == out_channels else Dense(in_channels, out_channels, **make)

    def __call__(self, x: Features, context: Context) -> Convolved:
        y = across_frames(self.temporal_conv1, self.conv1(jax.nn.silu(self.norm1(x))))
        shift, scale = jnp.split(context.modulation(self.modulation, x.shape[2:4]), 2, -1)
        y = self.conv2(jax.nn.silu(self.norm2(y) * (1 + scale) + shift))
        return across_frames(self.temporal_conv2, y) + (x if self.skip is None else self.skip(x))


class AttentionBlock(nnx.Module):
    """Attention within frames, across them, and to the text, then a perceptron; begins as the identity.

    Args:
      width: of the features.
      num_heads: divides it.
      text_width: of the text tokens.
      mlp_ratio: hidden width of the perceptron over `width`.
      temporal: whether there is attention across frames.
      rngs: for the kernels.
      dtype: of the computation.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        text_width: int,
        mlp_ratio: int,
        *,
        temporal: bool,
        rngs: nnx.Rngs,
        dtype: DType = jnp.float32,
    ):
        make = dict(rngs=rngs, dtype=dtype)
        attention = dict(out_scale=0.0, **make)
        self.norm = group_norm(width)
        self.spatial_attention = Attention(width, num_heads, **attention)
        self.temporal_attention = Attention(width, num_heads, **attention) if temporal else None
        self.text_attention = Attention(width, num_heads, context_width=text_width, **attention)
        self.mlp_up = Dense(width, mlp_ratio * width, **make)
        self.mlp_down = Dense(mlp_ratio * width, width, scale=0.0, **make)

    def __call__(self, x: Features, context: Context) -> Features:
        batch, frames, height, width, channels = x.shape
        within = self.norm(x).reshape(batch * frames, height * width, channels)
        x = x + self.spatial_attention(within).reshape(x.shape)
        if self.temporal_attention is not None and frames > 1:
            across = layer_norm(x).reshape(batch, frames, -1, channels).swapaxes(1, 2)
            y = self.temporal_attention(across.reshape(-1, frames, channels), rotation=context.rotation)
            x = x + y.reshape(across.shape).swapaxes(1, 2).reshape(x.shape)
        y = layer_norm(x).reshape(batch, -1, channels)
        x = x + self.text_attention(y, context.text, ids=ids_of_mask(context.text_mask)).reshape(x.shape)
        return x + self.mlp_down(gelu(self.mlp_up(layer_norm(x))))


class ConditionEmbedding(nnx.Module):
    """Sinusoids of a number through a perceptron whose output begins as zero: `B -> B D`.

    Args:
      width: of the embedding.
      rngs: for the kernels.
      num_features: sinusoids; even.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, num_features: int = 256):
        self.num_features = num_features
        self.up = Dense(num_features, width, rngs=rngs)
        self.down = Dense(width, width, rngs=rngs, scale=0.0)

    def __call__(self, value: Time) -> Float[Array, "B D"]:
        return self.down(jax.nn.silu(self.up(sinusoids(value, self.num_features))))


def group_norm(channels: int) -> GroupNorm:
    """Of each frame by itself."""
    return GroupNorm(channels, math.gcd(channels, max(1, channels // LEAST_CHANNELS), MAX_GROUPS))
