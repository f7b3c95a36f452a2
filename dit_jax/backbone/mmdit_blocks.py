# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The blocks of a multimodal diffusion transformer: of two streams, and of one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import Tokens
from dit_jax.backbone.conditioning import Modulation
from dit_jax.backbone.dit import gated
from dit_jax.backbone.layout import Group
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.layers.attend import QKV, attend
from dit_jax.layers.attention import ATTENTION, Attention, Projections
from dit_jax.layers.dense import Dense
from dit_jax.layers.gelu import gelu
from dit_jax.layers.mlp import MLP
from dit_jax.layers.norm import modulate
from dit_jax.layers.rope import apply_rope
from dit_jax.layers.turn import Heads

Streams = tuple[Float[Array, "B M D"], Float[Array, "B N D"]]  # text and video


class Context(NamedTuple):
    """What every block reads besides the tokens: conditions of text, video and both, and who sees whom."""

    text: Modulation
    video: Modulation
    both: Modulation
    group: Group


class Stream(nnx.Module):
    """The weights of a double block for one kind of tokens."""

    def __init__(self, config: MMDiTConfig, *, rngs: nnx.Rngs):
        width, make = config.width, dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        kind = dict(qk_norm=config.qk_norm, qkv_bias=config.qkv_bias)
        self.modulation = Dense(width, 6 * width, scale=0.0, **make)
        self.attention = Attention(width, config.num_heads, **kind, **make)
        self.mlp = MLP(width, config.mlp_hidden, **make)

    def heads(self, x: Tokens, parts: list[Float[Array, "B _ D"]]) -> QKV:
        """What goes into the attention, given the `modulation_parts`."""
        return self.attention.heads(modulate(x, *parts[:2]).astype(x.dtype))

    def after(self, x: Tokens, attended: Heads, parts: list[Float[Array, "B _ D"]]) -> Tokens:
        """The tokens after what they saw and the perceptron."""
        x = x + self.attention.out.from_heads(attended, parts[2])
        return gated(x, self.mlp.gated, iter(parts[3:]))


class DoubleBlock(nnx.Module):
    """Text and video with weights of their own, in one attention; the identity at initialisation."""

    def __init__(self, config: MMDiTConfig, *, rngs: nnx.Rngs):
        self.text = Stream(config, rngs=rngs)
        self.video = Stream(config, rngs=rngs)

    def __call__(self, streams: Streams, context: Context) -> Streams:
        text, video = streams
        text_parts = modulation_parts(self.text.modulation, context.text, text)
        video_parts = modulation_parts(self.video.modulation, context.video, video)
        pairs = zip(self.text.heads(text, text_parts), self.video.heads(video, video_parts))
        q, k, v = (jnp.concatenate(pair, 2) for pair in pairs)
        if (rotation := context.group.rotation) is not None:
            q, k = apply_rope(q, rotation), apply_rope(k, rotation)
        attended = attend_jointly((q, k, v), context.group)
        seen_by_text, seen_by_video = jnp.split(attended, [text.shape[1]], 2)
        text = self.text.after(text, seen_by_text, text_parts)
        return text, self.video.after(video, seen_by_video, video_parts)


class SingleBlock(nnx.Module):
    """Attention of all tokens beside a perceptron, with one layer after both; the identity at initialisation."""

    def __init__(self, config: MMDiTConfig, *, rngs: nnx.Rngs):
        width, make = config.width, dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        kind = dict(qk_norm=config.qk_norm, qkv_bias=config.qkv_bias)
        self.modulation = Dense(width, 3 * width, scale=0.0, **make)
        self.attention = Projections(width, config.num_heads, **kind, **make)
        self.up = Dense(width, config.mlp_hidden, **make)
        self.out = Dense(width + config.mlp_hidden, width, **make)

    def __call__(self, x: Tokens, context: Context) -> Tokens:
        parts = modulation_parts(self.modulation, context.both, x)
        return gated(x, lambda y, gate: self._branch(y, gate, context.group), iter(parts))

    def _branch(self, y: Tokens, gate: Float[Array, "B _ D"], group: Group) -> Tokens:
        attended = attend_jointly(self.attention.heads(y, rotation=group.rotation), group)
        attended = attended.swapaxes(1, 2).reshape(y.shape)
        both = jnp.concatenate([attended, gelu(self.up(y))], -1)
        return self.out.gated(both, gate)


def modulation_parts(layer: Dense, modulation: Modulation, x: Tokens) -> list[Float[Array, "B _ D"]]:
    """Shift, scale and gate of each branch, for the tokens `x`."""
    m = modulation.of_tokens(layer(jax.nn.silu(modulation.time))).astype(x.dtype)
    return jnp.split(m, m.shape[-1] // x.shape[-1], -1)


def attend_jointly(qkv: QKV, group: Group) -> Heads:
    """All tokens of a clip attend to each other."""
    return attend(*qkv, (group.ids, group.ids), name=ATTENTION)
