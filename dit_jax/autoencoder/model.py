# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A causal video autoencoder: clips to spacetime latents and back.

A pyramid. Level 0 folds patches of pixels into channels before any convolution, so that nothing runs at
full resolution; every further level halves what is still to be halved of time and of space. The decoder
is its mirror.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from dit_jax.arrays import Latents, Video
from dit_jax.autoencoder.streaming import CausalAutoencoder, Shape, latent_shape
from dit_jax.layers.causal_conv import (
    Cache,
    CausalConv3d,
    Features,
    Resampled,
    depth_to_space_time,
    space_time_to_depth,
    stream_through,
)
from dit_jax.layers.norm import rms_norm

COLOURS = 3


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of an `Autoencoder`. Its defaults fit small clips on a CPU.

    Attributes:
      temporal_compression: frames to a latent frame, after the first; a power of two.
      spatial_compression: pixels along one side of a latent cell; `patch_size` times a power of two.
      latent_channels: values of a latent cell.
      patch_size: pixels along one side of the patch that level 0 folds into channels.
      encoder_widths, decoder_widths: channels by level, from the pixels down; `len(strides)` of them.
      encoder_blocks, decoder_blocks: residual blocks by level, likewise.

    Raises:
      ValueError: where sizes do not divide, or there is not one width and one count of blocks per level.
    """

    temporal_compression: int = 4
    spatial_compression: int = 8
    latent_channels: int = 16
    patch_size: int = 2
    encoder_widths: tuple[int, ...] = (16, 48, 80)
    decoder_widths: tuple[int, ...] = (24, 48, 96)
    encoder_blocks: tuple[int, ...] = (0, 1, 1)
    decoder_blocks: tuple[int, ...] = (2, 2, 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if field.type is int and not _whole(getattr(self, field.name), 1):
                raise ValueError(
                    f"{field.name}={getattr(self, field.name)} must be a whole number of at least 1"
                )
        if not _is_power_of_two(self.temporal_compression):
            raise ValueError(
                f"temporal_compression={self.temporal_compression} must be a power of two: 1, 2, 4, 8"
            )
        halvings, rest = divmod(self.spatial_compression, self.patch_size)
        if rest or not _is_power_of_two(halvings):
            raise ValueError(
                f"spatial_compression={self.spatial_compression} must be patch_size={self.patch_size} "
                "times a power of two: change either"
            )
        for side in ("encoder", "decoder"):
            self._check_levels(f"{side}_widths", 1)
            self._check_levels(f"{side}_blocks", 0)

    def _check_levels(self, name: str, least: int) -> None:
        values = getattr(self, name)
        if len(values) != len(self.strides) or not all(_whole(value, least) for value in values):
            raise ValueError(
                f"{name}={values}: give {len(self.strides)} whole numbers of at least {least}, one for each "
                f"level of {self.temporal_compression}x{self.spatial_compression}x{self.spatial_compression} "
                f"at patch_size={self.patch_size}"
            )

    @property
    def strides(self) -> tuple[tuple[int, int], ...]:
        """(time, space) compression of each level, from the pixels down."""
        times = int(math.log2(self.temporal_compression))
        spaces = int(math.log2(self.spatial_compression // self.patch_size))
        halves = ((1 + (i < times), 1 + (i < spaces)) for i in range(max(times, spaces)))
        return ((1, self.patch_size), *halves)

    def latent_shape(self, shape: Shape) -> Shape:
        """(t, h, w) of the latents of a (T, H, W) video.

        Raises:
          ValueError: where T is not 1 + a multiple of `temporal_compression`, or H or W not a multiple of
            `spatial_compression`.
        """
        return latent_shape(shape, self.temporal_compression, self.spatial_compression)


def _whole(number: object, least: int) -> bool:
    return isinstance(number, int) and number >= least


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


class Block(nnx.Module):
    """Residual block: a convolution over space, then one over time. The identity at initialisation."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.gain = nnx.Param(jnp.ones((width,)))
        self.space = CausalConv3d(width, width, (1, 3, 3), rngs=rngs)
        self.time = CausalConv3d(width, width, (3, 1, 1), rngs=rngs, scale=0.0)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Features, Cache]:
        y = rms_norm(x, self.gain[...])  # over channels alone: a statistic over frames would not be causal
        y, cache = self.time.stream(jax.nn.silu(self.space(jax.nn.silu(y))), cache)
        return x + y, cache

    def flops(self, shape: Shape) -> int:
        return self.space.flops(shape) + self.time.flops(shape)


class Down(nnx.Module):
    """One level of the encoder: fold, project to the width of the level, blocks."""

    def __init__(self, width_in: int, width: int, blocks: int, stride: tuple[int, int], *, rngs: nnx.Rngs):
        self.stride = stride
        self.project = CausalConv3d(width_in * stride[0] * stride[1] ** 2, width, (1, 1, 1), rngs=rngs)
        self.blocks = nnx.List([Block(width, rngs=rngs) for _ in range(blocks)])

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
        x = self.project(space_time_to_depth(x, self.stride, begins=cache is None))
        return stream_through(self.blocks, x, cache)

    def flops(self, shape: Shape) -> int:
        return self.project.flops(shape) + sum(block.flops(shape) for block in self.blocks)


class Up(nnx.Module):
    """One level of the decoder: blocks, project, unfold."""

    def __init__(self, width: int, width_out: int, blocks: int, stride: tuple[int, int], *, rngs: nnx.Rngs):
        self.stride = stride
        self.blocks = nnx.List([Block(width, rngs=rngs) for _ in range(blocks)])
        self.project = CausalConv3d(width, width_out * stride[0] * stride[1] ** 2, (1, 1, 1), rngs=rngs)

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
        begins = cache is None
        x, cache = stream_through(self.blocks, x, cache)
        return depth_to_space_time(self.project(x), self.stride, begins), cache

    def flops(self, shape: Shape) -> int:
        return self.project.flops(shape) + sum(block.flops(shape) for block in self.blocks)


class Autoencoder(CausalAutoencoder):
    """Deterministic causal autoencoder of video; an image is a video of one frame.

    Latent frame k depends on the frames up to `k * temporal_compression` and no later ones; a decoded frame
    depends on the latents of its own group and earlier ones. Latents are raw: `LatentStats` normalises them.

    Args:
      config: sizes.
      rngs: its `params` stream draws the weights.
    """

    def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        widths = (COLOURS, *config.encoder_widths)
        self.encoder = nnx.List(
            [
                Down(*level, rngs=rngs)
                for level in zip(widths, config.encoder_widths, config.encoder_blocks, config.strides)
            ]
        )
        self.gain = nnx.Param(jnp.ones((widths[-1],)))
        self.to_latents = CausalConv3d(widths[-1], config.latent_channels, (1, 1, 1), rngs=rngs)
        widths = (COLOURS, *config.decoder_widths)
        self.from_latents = CausalConv3d(config.latent_channels, widths[-1], (1, 1, 1), rngs=rngs)
        self.decoder = nnx.List(
            [
                Up(*level, rngs=rngs)
                for level in zip(config.decoder_widths, widths, config.decoder_blocks, config.strides)
            ][::-1]
        )

    def encode_chunk(self, video: Video, cache: Cache | None = None) -> tuple[Latents, Cache]:
        """As `CausalAutoencoder.encode_chunk`."""
        x, cache = stream_through(self.encoder, video, cache)
        return self.to_latents(rms_norm(x, self.gain[...])), cache

    def decode_chunk(self, latents: Latents, cache: Cache | None = None) -> tuple[Video, Cache]:
        """As `CausalAutoencoder.decode_chunk`; pixels are about [-1, 1] and not clipped."""
        return stream_through(self.decoder, self.from_latents(latents), cache)

    def flops(self, shape: Shape) -> dict[str, int]:
        """Twice the multiply-adds of the convolutions for one clip of (T, H, W), by `encode` and `decode`."""
        latent_shape = self.config.latent_shape(shape)
        shapes = []
        for r, s in self.config.strides:
            shape = (1 + (shape[0] - 1) // r, shape[1] // s, shape[2] // s)
            shapes.append(shape)
        encode = sum(level.flops(shape) for level, shape in zip(self.encoder, shapes))
        decode = sum(level.flops(shape) for level, shape in zip(self.decoder, reversed(shapes)))
        return {
            "encode": encode + self.to_latents.flops(latent_shape),
            "decode": decode + self.from_latents.flops(latent_shape),
        }
