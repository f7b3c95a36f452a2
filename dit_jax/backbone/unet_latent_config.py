# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the latent video U-Net: its config, and the plan of blocks that follows from it."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from dit_jax.backbone.unet_latent_blocks import Sizes
from dit_jax.layers.stack import check_remat

TIME_INPUTS = ("t", "log_sigma")
KNOWN_INPUTS = ("none", "first_frame", "mask", "augmented_frame")
AUGMENTED = "noise_augmentation"


class MicroCondition(NamedTuple):
    """What a clip without a value is taken to have, and what is added to a value before it is embedded."""

    default: float
    offset: float = 0.0


MICRO = {
    "fps": MicroCondition(7.0, -1.0),  # frames a second; published models were told one less
    "motion": MicroCondition(127.0),  # amount of motion, 1 to 255
    "noise_augmentation": MicroCondition(0.02),  # deviation of the noise added to the given frame
}


@dataclasses.dataclass(frozen=True)
class UNetLatentConfig:
    """Sizes of a `UNetLatent`; by default those published for Stable Video Diffusion.

    Attributes:
      in_channels: of the latents.
      width: channels of the first level; a multiple of `num_groups`.
      depth: residual blocks of a level on the way down; there is one more on the way up.
      channel_multipliers: channels of each level over `width`; every level but the last halves height and width.
      attention_levels: the levels whose blocks have a transformer. Those between down and up always have.
      head_dim: of all attention, or of each level's; even, and divides its channels.
      text_width: of the text tokens.
      num_groups: of every group norm.
      micro: names in `MICRO` of what is embedded beside the time.
      micro_features: sinusoids for each of them.
      time_input: `t`: 1000 t is embedded; or `log_sigma`: ln(sigma) / 4 with sigma = t / (1 - t), c_noise of
        Karras et al. 2022, arXiv 2206.00364, table 1, which published weights need.
      known_input: of what is given of a clip the network sees `none`, the `first_frame` beside every frame, or
        all of it, with its `mask`, as further channels; zero where nothing is given. `augmented_frame`: not what is
        known, but `first_frame` of the micro-conditions, noised, beside every frame.
      frame_scale: of the latents of `augmented_frame`: published weights take them as they were before they were
        scaled to unit deviation.
      remat: what the backward pass recomputes of each block: a name in `layers.stack.REMAT`.
      dtype: of the computation; parameters are float32.
    """

    in_channels: int = 4
    width: int = 320
    depth: int = 2
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    attention_levels: tuple[int, ...] = (0, 1, 2)
    head_dim: int | tuple[int, ...] = 64
    text_width: int = 1024
    num_groups: int = 32
    micro: tuple[str, ...] = tuple(MICRO)
    micro_features: int = 256
    time_input: str = "t"
    known_input: str = "first_frame"
    frame_scale: float = 1.0
    remat: str = "none"
    dtype: str = "float32"

    def __post_init__(self):
        check_remat(self.remat)
        self._check_names()
        self._check_sizes()
        self._check_levels()

    def _check_names(self):
        choices = dict(
            time_input=TIME_INPUTS,
            known_input=KNOWN_INPUTS,
            dtype=("float32", "bfloat16"),
            micro=tuple(MICRO),
        )
        for key, names in choices.items():
            given = getattr(self, key)
            for name in given if key == "micro" else (given,):
                if name not in names:
                    raise ValueError(f"{key}={given!r} is not one of {', '.join(names)}")
        if self.known_input == "augmented_frame" and AUGMENTED not in self.micro:
            raise ValueError(
                f"known_input='augmented_frame' and micro={self.micro}: add {AUGMENTED!r} to micro"
            )
        if len(set(self.micro)) < len(self.micro):
            raise ValueError(f"micro={self.micro} names one condition twice: name each once")

    def _check_sizes(self):
        for name in ("in_channels", "width", "depth", "text_width", "num_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("width", "micro_features"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise ValueError(f"{name}={getattr(self, name)} must be even and at least 2: half are sines")
        if self.width % self.num_groups:
            raise ValueError(f"width={self.width} must be a multiple of num_groups={self.num_groups}")

    def _check_levels(self):
        levels = len(self.channel_multipliers)
        if levels < 1 or min(self.channel_multipliers) < 1:
            raise ValueError(
                f"channel_multipliers={self.channel_multipliers} must be one or more, 1 at least"
            )
        if not set(self.attention_levels) <= set(range(levels)):
            raise ValueError(
                f"attention_levels={self.attention_levels} must be among the levels 0 to {levels - 1} of "
                f"channel_multipliers={self.channel_multipliers}"
            )
        if isinstance(self.head_dim, tuple) and len(self.head_dim) != levels:
            raise ValueError(f"head_dim={self.head_dim} must be one size, or one for each of {levels} levels")
        for level in {*self.attention_levels, levels - 1}:
            channels, head_dim = self.channels[level], self.head_dims[level]
            if head_dim < 2 or head_dim % 2 or channels % head_dim:
                raise ValueError(
                    f"head_dim={self.head_dim} must be even and divide the {channels} channels of level {level}"
                )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.channel_multipliers)

    @property
    def head_dims(self) -> tuple[int, ...]:
        """Width of a head at each level."""
        return self.head_dim if isinstance(self.head_dim, tuple) else (self.head_dim,) * len(self.channels)

    @property
    def input_channels(self) -> int:
        """Channels of the first convolution: the noisy latents, and what is given of them."""
        latents = self.in_channels
        given = dict(none=0, first_frame=latents, mask=latents + 1, augmented_frame=latents)
        return latents + given[self.known_input]

    @property
    def embedding(self) -> int:
        """Width of the embedding of time."""
        return 4 * self.width


class Plan(NamedTuple):
    """Sizes of all blocks, by levels in the order they run: down, between, up."""

    down: list[list[Sizes]]
    middle: list[Sizes]
    up: list[list[Sizes]]


def plan(config: UNetLatentConfig) -> Plan:
    """Sizes of the blocks. The epsilons differ as in the published code."""

    def sizes(incoming: int, level: int, attends: bool, epsilon: float) -> Sizes:
        head_dim = config.head_dims[level] if attends else None
        rest = (config.embedding, config.text_width, config.num_groups, head_dim, epsilon)
        return Sizes(incoming, config.channels[level], *rest, jnp.dtype(config.dtype))

    current, skips, down, up = config.width, [config.width], [], []
    last = len(config.channels) - 1
    for level, channels in enumerate(config.channels):
        attends = level in config.attention_levels
        incoming = [current] + [channels] * (config.depth - 1)
        down.append([sizes(n, level, attends, 1e-6 if attends else 1e-5) for n in incoming])
        skips += [channels] * (config.depth + (level < last))
        current = channels
    middle = [sizes(current, last, attends, 1e-5) for attends in (True, False)]
    for level in reversed(range(last + 1)):
        incoming = [current] + [config.channels[level]] * config.depth
        attends = level in config.attention_levels
        up.append([sizes(n + skips.pop(), level, attends, 1e-6) for n in incoming])
        current = config.channels[level]
    return Plan(down, middle, up)
