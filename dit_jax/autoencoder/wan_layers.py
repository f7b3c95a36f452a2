# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Layers of the Wan 2.1 video autoencoder (Wan team 2025, "Wan", arXiv 2503.20314, section 4.1).

They differ from those of our own autoencoder in what checkpoints hold fast: video is zero before its first
frame, and the layers that change the frame rate leave the first frame out altogether.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.autoencoder.streaming import Shape
from dit_jax.layers.attend import attend
from dit_jax.layers.causal_conv import (
    Cache,
    CausalConv3d,
    Features,
    Resampled,
    StridedConv3d,
    stream_through,
)

Kernel = tuple[int, int, int]


def conv(in_features: int, out_features: int, kernel_size: Kernel, *, rngs: nnx.Rngs) -> CausalConv3d:
    """A causal convolution of a video that is zero before its first frame."""
    return CausalConv3d(in_features, out_features, kernel_size, rngs=rngs, before="zero")


def unit_norm(x: Features, gain: Float[Array, " C"]) -> Features:
    """Unit root mean square over channels, computed in float32, times `gain`.

    Unlike `layers.norm.rms_norm` nothing is added to the mean square: small features come out as large ones.
    """
    x32 = x.astype(jnp.float32)
    squares = jnp.square(x32).sum(-1, keepdims=True)
    unit = x32 * jax.lax.rsqrt(jnp.maximum(squares, 1e-24)) * x.shape[-1] ** 0.5
    return unit.astype(x.dtype) * gain.astype(x.dtype)


class ResidualBlock(nnx.Module):
    """Twice norm, SiLU, 3x3x3 convolution, beside a shortcut that is 1x1x1 where the width changes."""

    def __init__(self, width_in: int, width: int, *, rngs: nnx.Rngs):
        self.gain1 = nnx.Param(jnp.ones((width_in,)))
        self.conv1 = conv(width_in, width, (3, 3, 3), rngs=rngs)
        self.gain2 = nnx.Param(jnp.ones((width,)))
        self.conv2 = conv(width, width, (3, 3, 3), rngs=rngs)
        self.shortcut = None if width_in == width else conv(width_in, width, (1, 1, 1), rngs=rngs)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
        cache1, cache2 = (None, None) if cache is None else cache
        y, cache1 = self.conv1.stream(jax.nn.silu(unit_norm(x, self.gain1[...])), cache1)
        y, cache2 = self.conv2.stream(jax.nn.silu(unit_norm(y, self.gain2[...])), cache2)
        return y + (x if self.shortcut is None else self.shortcut(x)), (cache1, cache2)

    def flops(self, shape: Shape) -> int:
        convs = [self.conv1, self.conv2] + ([] if self.shortcut is None else [self.shortcut])
        return sum(conv.flops(shape) for conv in convs)


class FrameAttention(nnx.Module):
    """One head of attention within each frame, added to its input."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.gain = nnx.Param(jnp.ones((width,)))
        self.query_key_value = conv(width, 3 * width, (1, 1, 1), rngs=rngs)
        self.out = conv(width, width, (1, 1, 1), rngs=rngs)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Features, Cache]:
        """Frames do not see each other: there is nothing to remember."""
        batch, frames, height, width, channels = x.shape
        y = self.query_key_value(unit_norm(x, self.gain[...]))
        y = y.reshape(batch * frames, 1, height * width, 3 * channels)
        q, k, v = jnp.split(y, 3, axis=-1)
        y = attend(q / math.sqrt(channels), k, v).reshape(x.shape)
        return x + self.out(y), ()

    def flops(self, shape: Shape) -> int:
        frames, cells, width = shape[0], shape[1] * shape[2], self.gain.shape[0]
        return self.query_key_value.flops(shape) + self.out.flops(shape) + 4 * frames * cells**2 * width


class Downsample(nnx.Module):
    """Halves height and width, and the frames after the first where `in_time`."""

    def __init__(self, width: int, in_time: bool, *, rngs: nnx.Rngs):
        self.space = StridedConv3d(width, (1, 3, 3), (1, 2), rngs=rngs)
        self.time = StridedConv3d(width, (3, 1, 1), (2, 1), rngs=rngs) if in_time else None

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
        """The cache holds the last frame before the chunk.

        Raises:
          ValueError: where the frames of the chunk, but for a first one, are odd in number.
        """
        x = self.space(x)
        if self.time is None:
            return x, ()
        frames = x if cache is None else jnp.concatenate([cache, x], axis=1)
        if frames.shape[1] % 2 == 0:
            raise ValueError(
                f"T={x.shape[1]} frames of a chunk cannot be halved: give whole groups of frames"
            )
        y = self.time(frames)
        return (jnp.concatenate([x[:, :1], y], axis=1) if cache is None else y), x[:, -1:]

    def shape(self, shape: Shape) -> Shape:
        """What (T, H, W) becomes."""
        frames = shape[0] if self.time is None else 1 + (shape[0] - 1) // 2
        return frames, shape[1] // 2, shape[2] // 2

    def flops(self, shape: Shape) -> int:
        frames, height, width = self.shape(shape)
        in_time = 0 if self.time is None else self.time.flops((frames - 1, height, width))
        return self.space.flops((shape[0], height, width)) + in_time


class Upsample(nnx.Module):
    """Doubles height and width, and the frames after the first where `in_time`; halves the channels."""

    def __init__(self, width: int, in_time: bool, *, rngs: nnx.Rngs):
        self.time = conv(width, 2 * width, (3, 1, 1), rngs=rngs) if in_time else None
        self.space = conv(width, width // 2, (1, 3, 3), rngs=rngs)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
        """The first frame is neither doubled nor seen by the frames after it."""
        if self.time is None:
            return self.space(_repeat(x)), ()
        alone = 1 if cache is None else 0
        first, x = x[:, :alone], x[:, alone:]
        pairs, cache = self.time.stream(x, cache)
        batch, frames, height, width, channels = x.shape
        pairs = pairs.reshape(batch, frames, height, width, 2, channels).transpose(0, 1, 4, 2, 3, 5)
        x = jnp.concatenate([first, pairs.reshape(batch, 2 * frames, height, width, channels)], axis=1)
        return self.space(_repeat(x)), cache

    def shape(self, shape: Shape) -> Shape:
        """What (T, H, W) becomes."""
        frames = shape[0] if self.time is None else 2 * shape[0] - 1
        return frames, 2 * shape[1], 2 * shape[2]

    def flops(self, shape: Shape) -> int:
        in_time = 0 if self.time is None else self.time.flops((shape[0] - 1, *shape[1:]))
        return self.space.flops(self.shape(shape)) + in_time


def _repeat(x: Features) -> Resampled:
    """Every cell four times, two by two."""
    batch, frames, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, :, None, :, None], (batch, frames, height, 2, width, 2, channels))
    return x.reshape(batch, frames, 2 * height, 2 * width, channels)


class Middle(nnx.Module):
    """A residual block, attention, a residual block."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.before = ResidualBlock(width, width, rngs=rngs)
        self.attention = FrameAttention(width, rngs=rngs)
        self.after = ResidualBlock(width, width, rngs=rngs)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Features, Cache]:
        return stream_through([self.before, self.attention, self.after], x, cache)

    def flops(self, shape: Shape) -> int:
        return sum(layer.flops(shape) for layer in (self.before, self.attention, self.after))


class Head(nnx.Module):
    """Norm, SiLU, 3x3x3 convolution."""

    def __init__(self, width_in: int, width: int, *, rngs: nnx.Rngs):
        self.gain = nnx.Param(jnp.ones((width_in,)))
        self.conv = conv(width_in, width, (3, 3, 3), rngs=rngs)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
        return self.conv.stream(jax.nn.silu(unit_norm(x, self.gain[...])), cache)

    def flops(self, shape: Shape) -> int:
        return self.conv.flops(shape)
