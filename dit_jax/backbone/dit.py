# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The spacetime diffusion transformer.

Peebles and Xie 2023 (DiT, arXiv 2212.09748) in three dimensions: patches of the latents attend to each
other, jointly over space and time, factorised (Ma et al. 2024, Latte, arXiv 2401.03048, variants 1 and 3),
in windows or sparsely, then to the text, under modulation by the diffusion time: adaLN-Zero, or adaLN-single
(Chen et al. 2023, PixArt-alpha, arXiv 2310.00426, section 2.3).

Known tokens (what is given of a clip) are modulated by t = 0, the others by their clip's or frame's t.
Registers are those of Darcet et al. 2023, arXiv 2309.16588.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dit_jax.arrays import Known, Latents, TextMask, TextTokens, Times, Tokens
from dit_jax.backbone import layout as layouts
from dit_jax.backbone.conditioning import Modulation, pooled, time_index, with_known
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.layout import Group, Layout, make_group
from dit_jax.backbone.patchify import patchify, token_grid, unpatchify
from dit_jax.layers.attend import Ids, ids_of_mask
from dit_jax.layers.attention import Attention
from dit_jax.layers.backward import together
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import TimeEmbedding
from dit_jax.layers.mlp import MLP
from dit_jax.layers.norm import LayerNorm, layer_norm, modulate
from dit_jax.layers.positions import LearnedPositions, cell_sincos, frame_sincos
from dit_jax.layers.stack import run_blocks, stack_blocks


class DiTBlock(nnx.Module):
    """Self-attentions, cross-attention to the text, perceptron; the identity at initialisation."""

    def __init__(self, config: DiTConfig, patterns: tuple[str, ...], *, rngs: nnx.Rngs):
        make = dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        kind = dict(qk_norm=config.qk_norm, qkv_bias=config.qkv_bias, **make)
        width, heads = config.width, config.num_heads
        num_modulations = 3 * (len(patterns) + 1)
        self.patterns = patterns
        if config.modulation == "block":
            self.modulation = Dense(width, num_modulations * width, scale=0.0, **make)
        else:
            self.modulation_table = nnx.Param(jnp.zeros((num_modulations * width,)))
        self.attention = nnx.List([Attention(width, heads, **kind) for _ in patterns])
        reads, norm = config.reads_text(patterns), config.text_norm
        context = dict(context_width=config.context_width, out_scale=0.0)
        self.text = Attention(width, heads, **context, **kind) if reads else None
        self.text_gain = LayerNorm(width) if reads and norm == "affine" else None
        self.text_norm = norm
        self.mlp = MLP(width, config.mlp_hidden, kind=config.mlp, **make)

    def __call__(self, x: Tokens, context: "Context") -> Tokens:
        per_token = context.modulation.of_tokens(self._modulation(context)).astype(x.dtype)
        modulations = iter(jnp.split(per_token, 3 * (len(self.patterns) + 1), -1))
        for pattern, attention in zip(self.patterns, self.attention):
            attend = context.groups[pattern].attend
            x = gated(x, functools.partial(attend, attention), modulations)
        if self.text is not None:
            x = x + self.text(self._before_text(x), context.text, ids=context.text_ids)
        return gated(x, self.mlp.gated, modulations)

    def _before_text(self, x: Tokens) -> Tokens:
        if self.text_gain is not None:
            return self.text_gain(x)
        return x if self.text_norm == "none" else layer_norm(x)

    def _modulation(self, context: "Context") -> Float[Array, "B S _"]:
        if context.shared is None:
            return self.modulation(jax.nn.silu(context.modulation.time))
        return context.shared[..., : self.modulation_table.shape[0]] + self.modulation_table[...]


def gated(x: Tokens, branch, modulations) -> Tokens:
    """`x + branch(modulate(x), gate)`, taking shift, scale and gate from the iterator."""
    shift, scale, gate = (next(modulations) for _ in range(3))
    return x + branch(modulate(x, shift, scale).astype(x.dtype), gate).astype(x.dtype)


class Unit(nnx.Module):
    """The blocks that repeat."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        self.blocks = nnx.List([DiTBlock(config, patterns, rngs=rngs) for patterns in config.unit])

    def __call__(self, x: Tokens, context: "Context", is_first: Bool[Array, ""]) -> Tokens:
        for block in self.blocks:
            if context.frames is not None and block.patterns == ("time",):
                x = x + jnp.where(is_first, context.frames, 0).astype(x.dtype)
            x = block(x, context)
        return x


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
    """What every block reads besides the tokens."""

    modulation: Modulation
    shared: Float[Array, "B S _"] | None  # of all blocks, to which each adds its table
    groups: dict[str, Group]
    text: TextTokens
    text_ids: Ids | None
    frames: Float[Array, "_ N D"] | None  # positions in time that the first block across frames adds


class DiT(nnx.Module):
    """Predicts, from noisy latents, whatever the objective asks for, in their shape."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        width, make = config.width, dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        self.config = config
        self.embed = Dense(config.features, width, **make)
        self.time_embedding = TimeEmbedding(
            width, rngs=rngs, num_features=config.time_features, scale=config.time_scale
        )
        num_units = config.depth // len(config.unit)
        self.blocks = stack_blocks(lambda r: Unit(config, rngs=r), num_units, rngs=rngs)
        if config.modulation == "block":
            self.head_modulation = Dense(width, 2 * width, scale=0.0, **make)
        else:
            branches = max(len(patterns) + 1 for patterns in config.unit)
            self.shared_modulation = Dense(width, 3 * branches * width, scale=0.0, **make)
            self.head_modulation_table = nnx.Param(jnp.zeros((2 * width,)))
        self.head = Dense(width, config.features, rngs=rngs, scale=0.0)
        self.text_projection = self._make_text_projection(**make)
        if config.positions == "learned":
            self.learned_positions = LearnedPositions(config.learned_size, width, rngs=rngs)
        if config.num_registers:
            self.registers = nnx.Param(0.02 * jax.random.normal(rngs.params(), (config.num_registers, width)))

    def _make_text_projection(self, **make) -> nnx.Module | None:
        """Of the text to the tokens' width, where it must have it."""
        config = self.config
        if config.text_projection:
            return MLP(config.text_width, config.width, out_width=config.width, **make)
        return None if config.text == "cross" else Dense(config.text_width, config.width, **make)

    def __call__(
        self,
        x_t: Latents,
        t: Times,
        text: TextTokens,
        text_mask: TextMask,
        known: Known | None = None,
    ) -> Latents:
        """The prediction for `x_t`.

        Args:
          x_t: noisy latents; where `known`, the given ones.
          t: diffusion time of each clip, or of each latent frame of it.
          text: tokens of the prompt.
          text_mask: which of them hold text.
          known: what of the latents is given; a patch counts as known when all of it is.

        Raises:
          ValueError: the patch does not divide the latents, or windows or skips the tokens.
        """
        patch = self.config.patch
        grid = token_grid(x_t.shape, patch)
        t = t[:, None] if t.ndim == 1 else t[:, :: patch[0]]
        known = None if known is None else patchify(known, patch).all(-1, keepdims=True)
        where = layouts.on_grid(grid)
        y = self._transform(patchify(x_t, patch), where, t, text, ids_of_mask(text_mask), known)
        return unpatchify(y, patch, grid)

    def packed(
        self,
        tokens: Tokens,
        t: Times,
        text: TextTokens,
        text_mask: TextMask,
        positions: Float[Array, "B N 3"],
        segment_ids: Int[Array, "B N"],
        text_ids: Int[Array, "B M"],
        known: Bool[Array, "B N 1"] | None = None,
    ) -> Tokens:
        """The prediction for clips packed into rows (see `data.packing`): that for each clip alone.

        Args:
          tokens: patches of noisy latents; where `known`, of given ones.
          t: diffusion time of each segment.
          text: tokens of the prompts of all segments, one after the other.
          text_mask: which of them hold text.
          positions: of the tokens in their clips, in cells.
          segment_ids: which clip a token is of, from 1; 0 where the row is not full.
          text_ids: which clip a text token is of.
          known: which tokens are given.
        """
        where = layouts.packed(positions, segment_ids)
        ids = (segment_ids, jnp.where(text_mask, text_ids, -1))
        return self._transform(tokens, where, t, text, ids, known)

    def _transform(self, tokens: Tokens, layout: Layout, t, text, text_ids: Ids, known) -> Tokens:
        config = self.config
        times, index = with_known(t, time_index(layout, t), known)
        numbers = jnp.arange(1, t.shape[1] + 1) if layout.grid is None else jnp.zeros((1,), jnp.int32)
        text = text if self.text_projection is None else self.text_projection(text)
        time = self.time_embedding(times.reshape(-1)).reshape(*times.shape, -1)
        if config.text == "pooled":
            time += jnp.tile(pooled(text, text_ids, numbers), (1, times.shape[1] // len(numbers), 1))
        x, frames = self._with_positions(self.embed(tokens), layout)
        x, prefix_ids, index = self._with_prefix(x, text, text_ids, numbers, index)
        context = self._context(time, index, layout, text, text_ids, prefix_ids, frames)
        x = self._run(x, context)[:, x.shape[1] - tokens.shape[1] :]
        if index is not None:
            index = index[:, -tokens.shape[1] :]
        return self._head(x, Modulation(time, index))

    def _with_positions(self, x: Tokens, layout: Layout) -> tuple[Tokens, Float[Array, "#B N D"] | None]:
        """Tokens with their positions, and what of these the first block across frames is to add."""
        if self.config.positions == "learned":
            return x + self.learned_positions(layout.positions, layout.sizes).astype(x.dtype), None
        if self.config.positions == "rotary":
            return x, None
        # An image has no place in time.
        frames = frame_sincos(layout.positions, x.shape[-1]) * (layout.sizes[..., :1] > 1)
        x = x + cell_sincos(layout.positions, x.shape[-1]).astype(x.dtype)
        return (x, frames) if self.config.attention == "alternating" else (x + frames.astype(x.dtype), None)

    def _with_prefix(self, x, text, text_ids: Ids, numbers, index):
        """Registers and text in context before the tokens, the clips that they are of, and all times."""
        prefix, ids = [], []
        if count := self.config.num_registers:
            registers = jnp.tile(self.registers[...].astype(x.dtype), (len(numbers), 1))
            prefix.append(jnp.broadcast_to(registers, (len(x), *registers.shape)))
            ids.append(jnp.broadcast_to(jnp.repeat(numbers, count), (len(x), len(registers))))
        if self.config.text == "context":
            prefix.append(text.astype(x.dtype))
            ids.append(jnp.broadcast_to(text_ids[1], text.shape[:2]))
        if not prefix:
            return x, None, index
        ids = jnp.concatenate(ids, 1)
        if index is not None:
            index = jnp.concatenate([jnp.maximum(ids - numbers[0], 0), index], 1)
        return jnp.concatenate([*prefix, x], 1), ids, index

    def _context(self, time, index, layout, text, text_ids, prefix_ids, frames) -> Context:
        config, groups = self.config, {}
        rope = dict(head_dim=config.head_dim if config.positions == "rotary" else 0)
        rope |= dict(pairs=config.rope_pairs or None, base=config.rope_base)
        for pattern in {pattern for patterns in config.unit for pattern in patterns}:
            groups[pattern] = make_group(pattern, layout, config.sizes, prefix_ids, **rope)
        if prefix_ids is not None and layout.grid is None:
            text_ids = (jnp.concatenate([prefix_ids, text_ids[0]], 1), text_ids[1])
        shared = self.shared_modulation(jax.nn.silu(time)) if config.modulation == "shared" else None
        return Context(Modulation(time, index), shared, groups, text, text_ids, frames)

    def _run(self, x: Tokens, context: Context) -> Tokens:
        first = jnp.arange(self.config.depth // len(self.config.unit)) == 0
        apply = lambda unit, y: unit[0](y, context, unit[1])  # noqa: E731
        config = self.config
        return run_blocks((self.blocks, first), apply, x, remat=config.remat, unroll=config.unroll)

    def _head(self, x: Tokens, modulation: Modulation) -> Float[Array, "B N F"]:
        if self.config.modulation == "block":
            m = self.head_modulation(jax.nn.silu(modulation.time))
        else:
            m = self.head_modulation_table[...] + jnp.tile(modulation.time, (1, 1, 2))
        shift, scale = jnp.split(modulation.of_tokens(m), 2, -1)
        return self.head(modulate(*together((x, shift, scale))))
