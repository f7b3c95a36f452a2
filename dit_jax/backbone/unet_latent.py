# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The latent video U-Net of the Stable Video Diffusion class.

Blattmann et al. 2023, "Stable Video Diffusion", arXiv 2311.15127: a U-Net over latents whose residual and
transformer blocks each work in space, then over time, and blend the two by a learned factor; text by
cross-attention; the first frame, or all that is given of a clip, concatenated to the input; frames a second,
motion and noise augmentation embedded beside the diffusion time. An image is a clip of one frame: what is over
time is then left out.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import Known, Latents, TextMask, TextTokens, Time
from dit_jax.backbone.unet_latent_blocks import Block, Context, Sizes
from dit_jax.backbone.unet_latent_config import MICRO, UNetLatentConfig, plan
from dit_jax.backbone.unet_latent_transformer import MLP_RATIO
from dit_jax.layers.conv import Conv2d, GroupNorm, taps_inside, upsample
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import TIME_SCALE, TimeEmbedding, sinusoids
from dit_jax.layers.stack import name_input, rematerialised

EDGE = 1e-5  # how near to 0 and 1 the logarithm of sigma follows t
TEMPORAL = {"time", "time_mlp", "time_norm", "position", "blend"}  # modules that images do not need

Micro = Mapping[str, Float[Array, "B ..."]]
FRAME = "first_frame"  # among them, of the latents' shape with one frame


class Level(nnx.Module):
    """The blocks of a level, and the convolution that changes its size, where it does."""

    def __init__(self, blocks: list[Sizes], stride: int | None, *, rngs: nnx.Rngs):
        channels, dtype = blocks[-1].out_channels, blocks[-1].dtype
        resize = None if stride is None else Conv2d(channels, channels, rngs=rngs, stride=stride, dtype=dtype)
        self.blocks = nnx.List([Block(sizes, rngs=rngs) for sizes in blocks])
        self.resize = resize


class UNetLatent(nnx.Module):
    """Predicts, from noisy latents, whatever the objective asks for, in their shape."""

    def __init__(self, config: UNetLatentConfig, *, rngs: nnx.Rngs):
        blocks, width, last = plan(config), config.width, len(config.channels) - 1
        self.config = config
        self.stem = Conv2d(config.input_channels, width, rngs=rngs, dtype=jnp.dtype(config.dtype))
        scale = TIME_SCALE if config.time_input == "t" else 1.0
        self.time_embedding = TimeEmbedding(config.embedding, rngs=rngs, num_features=width, scale=scale)
        self.micro_embedding = MicroEmbedding(config, rngs=rngs) if config.micro else None
        self.down = nnx.List(
            [Level(sizes, 2 if i < last else None, rngs=rngs) for i, sizes in enumerate(blocks.down)]
        )
        self.middle = nnx.List([Block(sizes, rngs=rngs) for sizes in blocks.middle])
        self.up = nnx.List(
            [Level(sizes, 1 if i < last else None, rngs=rngs) for i, sizes in enumerate(blocks.up)]
        )
        self.head_norm = GroupNorm(width, config.num_groups)
        self.head = Conv2d(width, config.in_channels, rngs=rngs, scale=0.0)

    def __call__(
        self,
        x_t: Latents,
        t: Time,
        text: TextTokens,
        text_mask: TextMask,
        known: Known | None = None,
        micro: Micro | None = None,
        image_only: Bool[Array, " B"] | None = None,
    ) -> Latents:
        """The prediction for `x_t`.

        Args:
          x_t: noisy latents; where `known`, the given ones. Any size.
          t: diffusion time of each clip.
          text: tokens of the prompt.
          text_mask: which of them hold text.
          known: what of the latents is given.
          micro: values of the config's micro-conditions; one left out takes its default in `MICRO`. With
            `augmented_frame` also `first_frame` [B, 1, h, w, c], noised by `noise_augmentation`; zero if left out.
          image_only: clips whose frames are images that have nothing to do with each other: their frames are
            treated one by one. Clips of one frame always are.

        Raises:
          ValueError: `micro` names what the config does not.
        """
        micro = dict(micro or {})
        augmented = self.config.known_input == "augmented_frame"
        frame = micro.pop(FRAME, jnp.zeros_like(x_t[:, :1])) if augmented else None
        context = Context(self._embed(t, micro), text, text_mask, image_only)
        x = self.stem(self._with_known(x_t, known) if frame is None else self._with_frame(x_t, frame))
        skips = [x]
        for level in self.down:
            for block in level.blocks:
                skips.append(x := self._run(block, context, x))
            if level.resize is not None:
                skips.append(x := level.resize(x))
        for block in self.middle:
            x = self._run(block, context, x)
        for level in self.up:
            for block in level.blocks:
                x = self._run(block, context, x, skips.pop())
            if level.resize is not None:
                x = level.resize(upsample(x, skips[-1].shape[2:4]))
        return self.head(jax.nn.silu(self.head_norm(x)))

    def _run(
        self, block: Block, context: Context, *parts: Float[Array, "B t h w _"]
    ) -> Float[Array, "B t h w _"]:
        def apply(block, context, *parts):
            return block(name_input(jnp.concatenate(parts, -1)), context)

        return rematerialised(apply, self.config.remat)(block, context, *parts)

    def _embed(self, t: Time, micro: Micro | None) -> Float[Array, "B D"]:
        embedding = self.time_embedding(log_sigma(t) / 4 if self.config.time_input == "log_sigma" else t)
        taken = self.config.micro
        if unknown := sorted(set(micro or {}) - set(taken)):
            raise ValueError(
                f"micro={unknown} is not among the config's micro={taken}: leave it out, or add it"
            )
        if self.micro_embedding is not None:
            embedding = embedding + self.micro_embedding(micro or {}, len(t))
        return jax.nn.silu(embedding)

    def _with_frame(self, x_t: Latents, frame: Float[Array, "B 1 h w c"]) -> Float[Array, "B t h w d"]:
        frame = jnp.broadcast_to(self.config.frame_scale * frame, x_t.shape)
        return jnp.concatenate([x_t, frame], -1)

    def _with_known(self, x_t: Latents, known: Known | None) -> Float[Array, "B t h w d"]:
        known_input = self.config.known_input
        if known_input == "none":
            return x_t
        known = jnp.zeros((*x_t.shape[:-1], 1), bool) if known is None else known
        given = jnp.where(known, x_t, 0)
        if known_input == "first_frame":
            return jnp.concatenate([x_t, jnp.broadcast_to(given[:, :1], x_t.shape)], -1)
        return jnp.concatenate([x_t, given, known.astype(x_t.dtype)], -1)


def is_temporal(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at a path (of names, or of `jax.tree_util`) works over time, or blends that in: what
    Blattmann et al. 2023, arXiv 2304.08818, eq. 2, train on video."""
    return not TEMPORAL.isdisjoint(str(getattr(key, "key", getattr(key, "name", key))) for key in path)


def log_sigma(t: Time) -> Time:
    """Logarithm of the noise's deviation over the data's share, `t / (1 - t)`, within `EDGE` of 0 and 1."""
    t = jnp.clip(t.astype(jnp.float32), EDGE, 1 - EDGE)
    return jnp.log(t) - jnp.log1p(-t)


class MicroEmbedding(nnx.Module):
    """Sinusoids of every micro-condition, joined, through a perceptron."""

    def __init__(self, config: UNetLatentConfig, *, rngs: nnx.Rngs):
        self.names, self.num_features = config.micro, config.micro_features
        self.up = Dense(len(self.names) * self.num_features, config.embedding, rngs=rngs)
        self.down = Dense(config.embedding, config.embedding, rngs=rngs)

    def __call__(self, micro: Micro, batch: int) -> Float[Array, "B D"]:
        features = []
        for name in self.names:
            value = micro.get(name, jnp.full((batch,), MICRO[name].default, jnp.float32))
            features.append(sinusoids(value + MICRO[name].offset, self.num_features, scale=1.0))
        return self.down(jax.nn.silu(self.up(jnp.concatenate(features, -1))))


def unet_latent_flops(
    config: UNetLatentConfig, latent_shape: tuple[int, ...], num_text_tokens: int
) -> dict[str, int]:
    """FLOPs (multiply-adds times two) of one clip's forward pass by part, products and convolutions only.

    Args:
      config: the model.
      latent_shape: `(t, h, w, c)`.
      num_text_tokens: text tokens of a prompt, padding included, as they are computed.
    """
    frames, *size = latent_shape[:3]
    shapes = [(frames, -(-size[0] // 2**i), -(-size[1] // 2**i)) for i in range(len(config.channels))]
    blocks, last = plan(config), shapes[-1]
    width, wide, features = config.width, config.embedding, config.micro_features * len(config.micro)
    total = Counter(
        convolution=_conv(config.input_channels, width, shapes[0])
        + _conv(width, config.in_channels, shapes[0]),
        modulation=(width + wide) * wide + bool(features) * (features + wide) * wide,
    )
    for levels, level_shapes in ((blocks.down, shapes), ([blocks.middle], [last]), (blocks.up, shapes[::-1])):
        for level, shape in zip(levels, level_shapes):
            for sizes in level:
                total.update(_block(sizes, shape, num_text_tokens))
    for channels, shape in zip(config.channels, shapes[:-1]):
        total["convolution"] += _conv(channels, channels, shape, stride=2)
    for channels, shape in zip(config.channels[1:], shapes):  # after upsampling to the level above
        total["convolution"] += _conv(channels, channels, shape)
    parts = ("convolution", "attention", "mlp", "text", "modulation")
    return {part: 2 * total[part] for part in parts}


def _conv(in_channels: int, out_channels: int, shape: tuple[int, int, int], stride: int = 1) -> int:
    height, width = (taps_inside(3, length, stride) for length in shape[1:])
    return shape[0] * height * width * in_channels * out_channels


def _block(sizes: Sizes, shape: tuple[int, int, int], num_text_tokens: int) -> Counter[str]:
    """Multiply-adds of a block; over time there is nothing in an image."""
    frames, pixels, over_time = shape[0], shape[1] * shape[2], shape[0] > 1
    width, tokens = sizes.out_channels, frames * pixels
    total = Counter(
        convolution=_conv(sizes.in_channels, width, shape)
        + _conv(width, width, shape)
        + (sizes.in_channels != width) * tokens * sizes.in_channels * width
        + over_time * 2 * 3 * tokens * width**2,
        modulation=(1 + over_time) * sizes.embedding * width,
    )
    if sizes.head_dim is not None:
        spans = [pixels, frames] if over_time else [pixels]
        text = 2 * tokens * width**2 + 2 * num_text_tokens * (sizes.text_width + tokens) * width
        total.update(
            attention=2 * tokens * width**2 + sum(tokens * (4 * width**2 + 2 * n * width) for n in spans),
            text=len(spans) * text,
            mlp=(1 + 2 * over_time) * tokens * 3 * MLP_RATIO * width**2,
            modulation=over_time * frames * 2 * MLP_RATIO * width**2,
        )
    return total
