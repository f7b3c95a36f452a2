# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The pseudo-3D space-time U-Net (Singer et al. 2022, Make-A-Video, arXiv 2209.14792, section 3.2).

An image U-Net (of the kind of Dhariwal and Nichol 2021, arXiv 2105.05233) in which every convolution is
followed by one over time that begins as the identity, and every attention within frames by one across them
that begins as zero. It learns in three steps:

1. captioned images, as clips of one frame: what is temporal is not computed, and gets no gradient. A network
   with `temporal=False` has none of it; `config.init` puts its parameters into a video network;
2. unlabelled video, whose caption is empty and so the null text, to which images were trained, too, by
   `ObjectiveConfig.caption_dropout`. The optimizer trains all, or those that `is_temporal`
   (`optimizer.trainable="temporal"`);
3. finetuned from that by `config.init`: the frame interpolation network (`known_channels=True`), trained on the
   task of filling frames in, and, with `low_resolution_channels`, spatial super-resolution. Their additional
   inputs begin as zero, so that they start from what they were.

Known latents (what is given of a clip) are modulated by t = 0, the others by t.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from dit_jax.arrays import Known, Latents, TextMask, TextTokens, Time
from dit_jax.backbone.pseudo3d_blocks import (
    AttentionBlock,
    ConditionEmbedding,
    Context,
    PseudoConv3d,
    ResidualBlock,
    across_frames,
    group_norm,
    halve,
)
from dit_jax.backbone.pseudo3d_plan import Level, UNetPseudo3DConfig, plan, unet_pseudo3d_flops
from dit_jax.layers.conv import Conv2d, Convolved, Features, upsample
from dit_jax.layers.embed import TimeEmbedding
from dit_jax.layers.rope import rotations
from dit_jax.layers.stack import name_input, rematerialised

__all__ = ["UNetPseudo3D", "UNetPseudo3DConfig", "is_temporal", "unet_pseudo3d_flops"]

FPS_SCALE = 1e-3  # the embedding reads a thousandth: its sinusoids then turn once in 2 pi frames per second
TEMPORAL = ("temporal_", "fps_")  # how the names of what works across frames begin


class Block(nnx.Module):
    """A residual block and, at some levels, attention."""

    def __init__(
        self, config: UNetPseudo3DConfig, in_channels: int, width: int, attention: bool, *, rngs: nnx.Rngs
    ):
        make = dict(temporal=config.temporal, rngs=rngs, dtype=jnp.dtype(config.dtype))
        heads = width * config.num_heads // config.width
        sizes = (width, heads, config.text_width, config.mlp_ratio)
        self.residual = ResidualBlock(in_channels, width, config.time_width, **make)
        self.attention = AttentionBlock(*sizes, **make) if attention else None

    def __call__(self, x: Features, context: Context) -> Convolved:
        x = self.residual(x, context)
        return x if self.attention is None else self.attention(x, context)


class Blocks(nnx.Module):
    """The blocks of a level on the way down or up, and the convolution that leads to the next, if any."""

    def __init__(
        self,
        config: UNetPseudo3DConfig,
        level: Level,
        in_channels: tuple[int, ...],
        stride: int | None,
        *,
        rngs: nnx.Rngs,
    ):
        sizes, make = (level.width, level.attention), dict(temporal=config.temporal, rngs=rngs)
        self.blocks = nnx.List([Block(config, channels, *sizes, rngs=rngs) for channels in in_channels])
        resize = dict(stride=stride, dtype=jnp.dtype(config.dtype), **make)
        self.resize = PseudoConv3d(level.width, level.width, **resize) if stride else None


class UNetPseudo3D(nnx.Module):
    """Predicts, from noisy latents, whatever the objective asks for, in their shape."""

    def __init__(self, config: UNetPseudo3DConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        temporal = dict(temporal=config.temporal, rngs=rngs)
        extra = dict(scale=0.0, rngs=rngs, dtype=dtype)
        embedding = dict(rngs=rngs, num_features=config.time_features)
        low, width, time_width = config.low_resolution_channels, config.width, config.time_width
        self.config = config
        self.embed = PseudoConv3d(config.in_channels, width, dtype=dtype, **temporal)
        self.embed_known = Conv2d(config.in_channels + 1, width, **extra) if config.known_channels else None
        self.embed_low_resolution = Conv2d(low, width, **extra) if low else None
        self.time_embedding = TimeEmbedding(time_width, **embedding)
        self.fps_embedding = ConditionEmbedding(time_width, **embedding) if config.temporal else None
        self.noise_embedding = ConditionEmbedding(time_width, **embedding) if low else None
        levels, last = plan(config), len(config.channel_multipliers) - 1
        self.down = nnx.List(
            [Blocks(config, v, v.down, 2 if i < last else None, rngs=rngs) for i, v in enumerate(levels)]
        )
        middle = (levels[-1].width, levels[-1].width)
        self.middle = nnx.List([Block(config, *middle, attends, rngs=rngs) for attends in (True, False)])
        self.up = nnx.List(
            [Blocks(config, v, v.up, 1 if i else None, rngs=rngs) for i, v in enumerate(levels)][::-1]
        )
        self.head_norm = group_norm(width)
        self.head = PseudoConv3d(width, config.in_channels, scale=0.0, **temporal)

    def __call__(
        self,
        x_t: Latents,
        t: Time,
        text: TextTokens,
        text_mask: TextMask,
        known: Known | None = None,
        micro: Mapping[str, Shaped[Array, "B ..."]] | None = None,
    ) -> Latents:
        """The prediction for `x_t`, of any number of frames and any size.

        Args:
          x_t: noisy latents; where `known`, the given ones.
          t: diffusion time of each clip.
          text: tokens of the prompt.
          text_mask: which of them hold text.
          known: what of the latents is given.
          micro: `fps` [B], frames per second (`default_fps` where there is none; of no effect on one frame);
            of a network with `low_resolution_channels`, `low_resolution` [B, t, h, w, c], the clip to refine,
            resized to that of `x_t` and noised, and `noise_augmentation` [B], the time in [0, 1] to which
            it was noised (0 where there is none).

        Raises:
          ValueError: `micro` has what the network does not read, or not what it needs.
        """
        config, micro = self.config, dict(micro or {})
        self._check(micro, x_t.shape)
        if config.known_channels and known is None:
            known = jnp.zeros((*x_t.shape[:-1], 1), bool)
        context = self._context(x_t, t, text, text_mask, known, micro)
        x = self._embed(x_t, known, micro)
        kept = [x]
        for level in self.down:
            for block in level.blocks:
                kept.append(x := self._run(block, context, x))
            if level.resize is not None:
                kept.append(x := level.resize(x))
        for block in self.middle:
            x = self._run(block, context, x)
        for level in self.up:
            for block in level.blocks:
                x = self._run(block, context, x, kept.pop())
            if level.resize is not None:
                x = level.resize(upsample(x, kept[-1].shape[2:4]))
        return self.head(jax.nn.silu(self.head_norm(x)))

    def _run(self, block: Block, context: Context, *parts: Float[Array, "B t h w _"]) -> Convolved:
        def apply(block, context, *parts):
            return block(name_input(jnp.concatenate(parts, -1)), context)

        return rematerialised(apply, self.config.remat)(block, context, *parts)

    def _embed(self, x_t: Latents, known: Known | None, micro: dict[str, Array]) -> Convolved:
        x = self.embed.conv(x_t)
        if self.embed_known is not None:
            x = x + self.embed_known(jnp.concatenate([jnp.where(known, x_t, 0), known], -1))
        if self.embed_low_resolution is not None:
            x = x + self.embed_low_resolution(micro["low_resolution"])
        return across_frames(self.embed.temporal_conv, x)

    def _context(self, x_t, t, text, text_mask, known, micro) -> Context:
        config, frames = self.config, x_t.shape[1]
        times = jnp.stack([t] if known is None else [t, jnp.zeros_like(t)])
        time = self.time_embedding(times.reshape(-1)).reshape(*times.shape, -1)
        if self.fps_embedding is not None and frames > 1:
            fps = micro.get("fps", jnp.full_like(t, config.default_fps))
            time = time + self.fps_embedding(FPS_SCALE * fps)
        if self.noise_embedding is not None:
            time = time + self.noise_embedding(micro.get("noise_augmentation", jnp.zeros_like(t)))
        levels = [] if known is None else [known]
        for _ in config.channel_multipliers[1:] if levels else ():
            levels.append(halve(levels[-1]))
        positions = jnp.arange(frames, dtype=jnp.float32)[:, None]
        rotation = rotations(positions, config.width // config.num_heads)
        return Context(time, tuple(levels), text, text_mask, rotation)

    def _check(self, micro: Mapping[str, Array], shape: tuple[int, ...]) -> None:
        refining = self.config.low_resolution_channels > 0
        readable = ["fps", *(["low_resolution", "noise_augmentation"] if refining else [])]
        if unread := sorted(set(micro) - set(readable)):
            raise ValueError(f"micro has {', '.join(unread)}; this network reads {', '.join(readable)} alone")
        low = getattr(micro.get("low_resolution"), "shape", None)
        wanted = (*shape[:-1], self.config.low_resolution_channels)
        if refining and low != wanted:
            raise ValueError(
                f"micro['low_resolution'], the clip to refine, has shape {low}: resize it to {wanted}"
            )


def is_temporal(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at a path (of names, or of `jax.tree_util`) works across frames, and so learns from
    video alone."""
    return any(str(getattr(key, "key", getattr(key, "name", key))).startswith(TEMPORAL) for key in path)
