# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the pseudo-3D U-Net is made of: its sizes, its levels, and what they compute."""

import collections
import dataclasses
import math

from dit_jax.layers.attention import check_heads
from dit_jax.layers.conv import taps_inside
from dit_jax.layers.stack import check_remat

Grid = tuple[int, int, int]  # (t, h, w)
Counts = dict[str, int]  # multiply-adds by part


@dataclasses.dataclass(frozen=True)
class UNetPseudo3DConfig:
    """Sizes of a `UNetPseudo3D`.

    Attributes:
      in_channels: of the latents.
      width: channels of the first level.
      depth: residual blocks of a level on the way down; one more on the way up.
      num_heads: divides `width` into heads of even width; wider levels have more heads of that width.
      text_width: of the text tokens.
      channel_multipliers: of each level, times `width`; each level has half the height and width of the last.
      attention_levels: which levels have attention, from 0; the middle always has.
      mlp_ratio: hidden width of the perceptrons over that of the level.
      time_features: sinusoids that embed t, the frame rate and the level of noise.
      temporal: whether anything works across frames; a network without is the image network of each frame.
      default_fps: frame rate of clips that come without.
      known_channels: whether known latents and their mask are additional inputs.
      low_resolution_channels: of a clip to refine, an additional input; 0 for none.
      remat: what the backward pass recomputes of each block: none, dots (all but matrix products; convolutions
        are none) or full.
      dtype: of the computation; parameters are float32.
    """

    in_channels: int = 16
    width: int = 128
    depth: int = 2
    num_heads: int = 4
    text_width: int = 384
    channel_multipliers: tuple[int, ...] = (1, 2, 4)
    attention_levels: tuple[int, ...] = (1, 2)
    mlp_ratio: int = 4
    time_features: int = 256
    temporal: bool = True
    default_fps: float = 8.0
    known_channels: bool = False
    low_resolution_channels: int = 0
    remat: str = "none"
    dtype: str = "float32"

    def __post_init__(self):
        check_heads(self.width, self.num_heads)
        check_remat(self.remat)
        self._check_sizes()
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={self.dtype!r} is not one of float32, bfloat16")

    def _check_sizes(self):
        for name in ("in_channels", "width", "depth", "text_width", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.time_features < 2 or self.time_features % 2:
            raise ValueError(f"time_features={self.time_features} must be even and at least 2")
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ValueError(
                f"channel_multipliers={self.channel_multipliers} must be one or more of at least 1"
            )
        if not set(self.attention_levels) <= set(range(len(self.channel_multipliers))):
            raise ValueError(
                f"attention_levels={self.attention_levels} must be among the "
                f"{len(self.channel_multipliers)} levels of channel_multipliers, from 0"
            )
        if self.low_resolution_channels < 0 or self.default_fps <= 0:
            raise ValueError(
                f"low_resolution_channels={self.low_resolution_channels} must not be negative and "
                f"default_fps={self.default_fps} must be positive"
            )

    @property
    def micro(self) -> tuple[str, ...]:
        """What is read of a clip besides its text."""
        return ("fps",) if self.temporal else ()

    @property
    def time_width(self) -> int:
        """Width of the embedding of time."""
        return 4 * self.width


@dataclasses.dataclass(frozen=True)
class Level:
    """The blocks that work at one height and width."""

    width: int
    down: tuple[int, ...]  # channels into each block on the way down
    up: tuple[int, ...]  # and on the way up: with what was kept on the way down
    attention: bool


def plan(config: UNetPseudo3DConfig) -> list[Level]:
    """The levels, from the largest to the smallest. Between two, the width of the larger is resized on the way
    down, and that of the smaller on the way up."""
    widths = [config.width * multiplier for multiplier in config.channel_multipliers]
    levels = []
    for number, width in enumerate(widths):
        before = widths[max(number - 1, 0)] if number else config.width
        below = widths[min(number + 1, len(widths) - 1)]
        repeated = (config.depth - 1) * (width,)
        down, kept = (before, *repeated), (width, *repeated, before)
        up = tuple(a + b for a, b in zip((below, *repeated, width), kept))
        levels.append(Level(width, down, up, number in config.attention_levels))
    return levels


def unet_pseudo3d_flops(
    config: UNetPseudo3DConfig, latent_shape: tuple[int, ...], num_text_tokens: int
) -> dict[str, int]:
    """FLOPs (multiply-adds times two) of one clip's forward pass by part: matrix products and convolutions.

    Args:
      config: the model; without known latents, unless it has `known_channels`.
      latent_shape: `(t, h, w, c)`.
      num_text_tokens: text tokens of a prompt, padding included, as they are computed.
    """
    grid, levels = tuple(latent_shape[:3]), plan(config)
    over_time, low = config.temporal and grid[0] > 1, config.low_resolution_channels
    embedded = 1 + config.known_channels + over_time + (low > 0)
    entries = (config.in_channels + 1) * config.known_channels + low
    total = collections.Counter(
        convolution=_conv(grid, config.in_channels, config.width, over_time)
        + _conv(grid, entries, config.width, False)
        + _conv(grid, config.width, config.in_channels, over_time),
        modulation=embedded * (config.time_features + config.time_width) * config.time_width,
    )
    for number, level in enumerate(levels):
        if number:
            above = levels[number - 1].width
            total["convolution"] += _conv(grid, above, above, over_time, stride=2)
            total["convolution"] += _conv(grid, level.width, level.width, over_time)
            grid = halved(grid)
        for in_channels in level.down + level.up:
            total.update(_residual(config, in_channels, level.width, grid, over_time))
        for _ in level.down + level.up if level.attention else ():
            total.update(_attention(config, level.width, grid, over_time, num_text_tokens))
    for _ in range(2):  # the middle
        total.update(_residual(config, level.width, level.width, grid, over_time))
    total.update(_attention(config, level.width, grid, over_time, num_text_tokens))
    return {part: 2 * total[part] for part in ("convolution", "attention", "mlp", "text", "modulation")}


def halved(grid: Grid) -> Grid:
    """The next level's size, rounded up."""
    return grid[0], -(-grid[1] // 2), -(-grid[2] // 2)


def _residual(
    config: UNetPseudo3DConfig, in_channels: int, width: int, grid: Grid, over_time: bool
) -> Counts:
    skip = (in_channels != width) * math.prod(grid) * in_channels * width
    convolutions = _conv(grid, in_channels, width, over_time) + _conv(grid, width, width, over_time)
    modulation = (1 + config.known_channels) * config.time_width * 2 * width
    return {"convolution": convolutions + skip, "modulation": modulation}


def _attention(
    config: UNetPseudo3DConfig, width: int, grid: Grid, over_time: bool, num_text_tokens: int
) -> Counts:
    sites, spans = math.prod(grid), [grid[1] * grid[2], *([grid[0]] if over_time else [])]
    return {
        "attention": sum(sites * (4 * width**2 + 2 * span * width) for span in spans),
        "text": 2 * sites * width**2 + 2 * num_text_tokens * (config.text_width + sites) * width,
        "mlp": 2 * sites * config.mlp_ratio * width**2,
    }


def _conv(grid: Grid, in_channels: int, channels: int, over_time: bool, stride: int = 1) -> int:
    """Multiply-adds of a `PseudoConv3d` whose input has the `grid`."""
    taps = math.prod(taps_inside(3, side, stride) for side in grid[1:])
    pixels = math.prod(-(-side // stride) for side in grid[1:])
    return grid[0] * (taps * in_channels + over_time * 3 * pixels * channels) * channels
