# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the pseudo-3D U-Net is made of: its sizes, its layers in order, and what they compute."""

import collections
import dataclasses
import math

from dit_jax.layers.attention import check_heads
from dit_jax.layers.conv import taps_inside
from dit_jax.layers.stack import check_remat


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
    def time_width(self) -> int:
        """Width of the embedding of time."""
        return 4 * self.width


@dataclasses.dataclass(frozen=True)
class Step:
    """One layer of the U: a block, or what leads to the next level."""

    kind: str  # block, down or up
    part: str  # down (its output is kept), middle, or up (its blocks take what was kept)
    level: int  # of its output
    in_channels: int
    out_channels: int
    attention: bool = False


def plan(config: UNetPseudo3DConfig) -> list[Step]:
    """The layers between the first convolution and the head, in order."""
    widths = [config.width * multiplier for multiplier in config.channel_multipliers]
    steps, kept, channels = [], [config.width], config.width
    for level, width in enumerate(widths):
        attention = level in config.attention_levels
        if level:
            steps.append(Step("down", "down", level, channels, channels))
            kept.append(channels)
        for _ in range(config.depth):
            steps.append(Step("block", "down", level, channels, width, attention))
            kept.append(channels := width)
    steps.append(Step("block", "middle", level, channels, channels, True))
    steps.append(Step("block", "middle", level, channels, channels))
    for level, width in reversed(list(enumerate(widths))):
        attention = level in config.attention_levels
        for _ in range(config.depth + 1):
            steps.append(Step("block", "up", level, channels + kept.pop(), width, attention))
            channels = width
        if level:
            steps.append(Step("up", "up", level - 1, channels, channels))
    return steps


def unet_pseudo3d_flops(
    config: UNetPseudo3DConfig, latent_shape: tuple[int, ...], num_text_tokens: int
) -> dict[str, int]:
    """FLOPs (multiply-adds times two) of one clip's forward pass by part: matrix products and convolutions.

    Args:
      config: the model; without known latents, unless it has `known_channels`.
      latent_shape: `(t, h, w, c)`.
      num_text_tokens: text tokens of a prompt, padding included, as they are computed.
    """
    grids = [tuple(latent_shape[:3])]
    for _ in config.channel_multipliers[1:]:
        grids.append((grids[0][0], *(-(-side // 2) for side in grids[-1][1:])))
    across, low = config.temporal and latent_shape[0] > 1, config.low_resolution_channels
    times, features, time_width = 1 + config.known_channels, config.time_features, config.time_width
    embedded = times + across + (low > 0)
    entries = (config.in_channels + 1) * config.known_channels + low
    counts = collections.Counter(
        convolution=_conv(grids[0], config.in_channels, config.width, across)
        + _conv(grids[0], entries, config.width, False)
        + _conv(grids[0], config.width, config.in_channels, across),
        modulation=embedded * (features + time_width) * time_width,
    )
    for step in plan(config):
        counts.update(_step(config, step, grids, num_text_tokens, across))
    return {part: 2 * counts[part] for part in ("convolution", "attention", "mlp", "text", "modulation")}


def _step(config: UNetPseudo3DConfig, step: Step, grids: list, num_text_tokens: int, across: bool) -> dict:
    """Multiply-adds of a layer by part."""
    width, grid = step.out_channels, grids[step.level]
    if step.kind != "block":
        down = step.kind == "down"
        source = grids[step.level - 1] if down else grid
        return {"convolution": _conv(source, step.in_channels, width, across, 2 if down else 1)}
    frames, cells = grid[0], grid[1] * grid[2]
    sites, skip = frames * cells, step.in_channels != width
    counts = {
        "convolution": _conv(grid, step.in_channels, width, across)
        + _conv(grid, width, width, across)
        + skip * sites * step.in_channels * width,
        "modulation": (1 + config.known_channels) * config.time_width * 2 * width,
    }
    if not step.attention:
        return counts
    spans = [cells, frames] if across else [cells]
    return counts | {
        "attention": sum(sites * (4 * width**2 + 2 * span * width) for span in spans),
        "text": 2 * sites * width**2 + 2 * num_text_tokens * (config.text_width + sites) * width,
        "mlp": 2 * sites * config.mlp_ratio * width**2,
    }


def _conv(grid: tuple[int, ...], in_channels: int, channels: int, across: bool, stride: int = 1) -> int:
    """Multiply-adds of a `PseudoConv3d` whose input has the `grid` (t, h, w)."""
    within = grid[0] * math.prod(taps_inside(3, side, stride) for side in grid[1:]) * in_channels
    pixels = grid[0] * math.prod(-(-side // stride) for side in grid[1:])
    return (within + across * 3 * pixels * channels) * channels
