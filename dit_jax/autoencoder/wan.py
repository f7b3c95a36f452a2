# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The video autoencoder of Wan 2.1 (Wan team 2025, "Wan", arXiv 2503.20314), 4 x 8 x 8 to 16 channels.

`interop.wan_autoencoder` reads its published weights.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dit_jax.arrays import Latents, Video
from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.streaming import CausalAutoencoder, Shape, latent_shape
from dit_jax.autoencoder.wan_layers import Downsample, Head, Middle, ResidualBlock, Upsample, conv
from dit_jax.layers.causal_conv import Cache, Streamed, stream_through

COLOURS = 3

_STATS = np.array(  # mean, then standard deviation, by channel
    [
        [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508],
        [0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921],
        [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743],
        [3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160],
    ],
    np.float32,
).reshape(2, 16)
WAN_LATENT_STATS = LatentStats(*_STATS)  # published with the weights


@dataclasses.dataclass(frozen=True)
class WanAutoencoderConfig:
    """Sizes of a `WanAutoencoder`; the defaults are those of the published weights.

    Attributes:
      width: channels at the pixels; even.
      width_multipliers: of `width`, by level, from the pixels down; each level but the last halves space.
      latent_channels: values of a latent cell.
      num_blocks: residual blocks of a level of the encoder; the decoder has one more.
      halve_time: whether a level halves time as well, for each level but the last.

    Raises:
      ValueError: for a size below one, an odd width, or too many or few entries of `halve_time`.
    """

    width: int = 96
    width_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    latent_channels: int = 16
    num_blocks: int = 2
    halve_time: tuple[bool, ...] = (False, True, True)

    def __post_init__(self):
        if self.width < 2 or self.width % 2:
            raise ValueError(f"width={self.width} must be even and at least 2: the decoder halves it")
        for name in ("latent_channels", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.width_multipliers or min(self.width_multipliers) < 1:
            raise ValueError(
                f"width_multipliers={self.width_multipliers}: give a whole number of at least 1 for each level"
            )
        if len(self.halve_time) != len(self.width_multipliers) - 1:
            raise ValueError(
                f"halve_time={self.halve_time}: give {len(self.width_multipliers) - 1} of True and False, "
                f"one for each level of width_multipliers={self.width_multipliers} but the last"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the pixels down."""
        return tuple(self.width * multiplier for multiplier in self.width_multipliers)

    @property
    def temporal_compression(self) -> int:
        """Frames to a latent frame, after the first."""
        return 2 ** sum(self.halve_time)

    @property
    def spatial_compression(self) -> int:
        """Pixels along one side of a latent cell."""
        return 2 ** len(self.halve_time)

    def latent_shape(self, shape: Shape) -> Shape:
        """(t, h, w) of the latents of a (T, H, W) video; raises as `streaming.latent_shape`."""
        return latent_shape(shape, self.temporal_compression, self.spatial_compression)


class Encoder(nnx.Module):
    """Convolution, levels from the pixels down, middle, head."""

    def __init__(self, config: WanAutoencoderConfig, *, rngs: nnx.Rngs):
        widths = config.widths
        self.conv = conv(COLOURS, config.width, (3, 3, 3), rngs=rngs)
        layers, width_in = [], config.width
        for level, width in enumerate(widths):
            for _ in range(config.num_blocks):
                layers.append(ResidualBlock(width_in, width, rngs=rngs))
                width_in = width
            if level < len(config.halve_time):
                layers.append(Downsample(width, config.halve_time[level], rngs=rngs))
        self.layers = nnx.List(layers)
        self.middle = Middle(widths[-1], rngs=rngs)
        self.head = Head(widths[-1], 2 * config.latent_channels, rngs=rngs)

    def in_turn(self) -> list[Streamed]:
        """All layers."""
        return [self.conv, *self.layers, self.middle, self.head]


class Decoder(nnx.Module):
    """Convolution, middle, levels up to the pixels, head."""

    def __init__(self, config: WanAutoencoderConfig, *, rngs: nnx.Rngs):
        widths = config.widths[::-1]
        self.conv = conv(config.latent_channels, widths[0], (3, 3, 3), rngs=rngs)
        self.middle = Middle(widths[0], rngs=rngs)
        layers, width_in = [], widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.num_blocks + 1):
                layers.append(ResidualBlock(width_in, width, rngs=rngs))
                width_in = width
            if level < len(config.halve_time):
                layers.append(Upsample(width, config.halve_time[::-1][level], rngs=rngs))
                width_in = width // 2
        self.layers = nnx.List(layers)
        self.head = Head(widths[-1], COLOURS, rngs=rngs)

    def in_turn(self) -> list[Streamed]:
        """All layers."""
        return [self.conv, self.middle, *self.layers, self.head]


class WanAutoencoder(CausalAutoencoder):
    """The causal autoencoder of Wan 2.1: a Gaussian over latents, of which `encode` gives the mean.

    Args:
      config: sizes.
      rngs: its `params` stream draws the weights.
    """

    def __init__(self, config: WanAutoencoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        moments = 2 * config.latent_channels
        self.encoder = Encoder(config, rngs=rngs)
        self.to_moments = conv(moments, moments, (1, 1, 1), rngs=rngs)
        self.from_latents = conv(config.latent_channels, config.latent_channels, (1, 1, 1), rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def encode_moments(self, video: Video) -> tuple[Latents, Latents]:
        """Mean and log-variance, each `B t h w c`, of the latents of a video `B T H W C` in [-1, 1].

        The log-variance is kept within [-30, 20].

        Raises:
          ValueError: where T, H or W do not divide.
        """
        self.config.latent_shape(video.shape[1:4])
        (mean, log_variance), _ = self._moments(video, None)
        return mean, jnp.clip(log_variance, -30, 20)

    def encode_chunk(self, video: Video, cache: Cache | None = None) -> tuple[Latents, Cache]:
        """As `CausalAutoencoder.encode_chunk`."""
        (mean, _), cache = self._moments(video, cache)
        return mean, cache

    def decode_chunk(self, latents: Latents, cache: Cache | None = None) -> tuple[Video, Cache]:
        """As `CausalAutoencoder.decode_chunk`; pixels are clipped to [-1, 1]."""
        x, cache = stream_through(self.decoder.in_turn(), self.from_latents(latents), cache)
        return jnp.clip(x, -1, 1), cache

    def _moments(self, video: Video, cache: Cache | None) -> tuple[list[Latents], Cache]:
        x, cache = stream_through(self.encoder.in_turn(), video, cache)
        return jnp.split(self.to_moments(x), 2, axis=-1), cache

    def flops(self, shape: Shape) -> dict[str, int]:
        """Twice the multiply-adds of convolutions and attention for one clip of (T, H, W), both ways."""
        latents = self.config.latent_shape(shape)
        return {
            "encode": _flops(self.encoder.in_turn(), shape) + self.to_moments.flops(latents),
            "decode": _flops(self.decoder.in_turn(), latents) + self.from_latents.flops(latents),
        }


def _flops(layers: list[Streamed], shape: Shape) -> int:
    total = 0
    for layer in layers:
        total += layer.flops(shape)
        if isinstance(layer, Downsample | Upsample):
            shape = layer.shape(shape)
    return total
