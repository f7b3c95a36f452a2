# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The multimodal diffusion transformer.

Text and video attend to each other as equals: first with weights of their own (Esser et al. 2024, Stable
Diffusion 3, arXiv 2403.03206, section 4, figure 2b), then, in blocks of one stream whose attention and
perceptron run side by side, with the same (Kong et al. 2024, HunyuanVideo, arXiv 2412.03603, section 4.2).
Only the video has positions. All is modulated by the diffusion time (adaLN-Zero).

Known tokens (what is given of a clip) are modulated by t = 0, the others by their clip's or frame's t, and
the text by its clip's (its first frame's, where frames have their own).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from dit_jax.arrays import Known, Latents, TextMask, TextTokens, Times, Tokens
from dit_jax.backbone import layout as layouts
from dit_jax.backbone.conditioning import Modulation, time_index, with_known
from dit_jax.backbone.layout import Layout, make_group
from dit_jax.backbone.mmdit_blocks import Context, DoubleBlock, SingleBlock, Streams
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.backbone.mmdit_text import Perceptron, TextRefiner, embed_times
from dit_jax.backbone.patchify import patchify, token_grid, unpatchify
from dit_jax.backbone.patterns import PatternSizes
from dit_jax.layers.attend import ids_of_mask
from dit_jax.layers.backward import together
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import TimeEmbedding
from dit_jax.layers.norm import modulate
from dit_jax.layers.stack import run_blocks, stack_blocks

Micro = Mapping[str, Shaped[Array, "B ..."]]


class MMDiT(nnx.Module):
    """Predicts, from noisy latents, whatever the objective asks for, in their shape."""

    def __init__(self, config: MMDiTConfig, *, rngs: nnx.Rngs):
        width, make = config.width, dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        time = dict(num_features=config.time_features, scale=config.time_scale)
        self.config = config
        self.embed = Dense(config.features, width, **make)
        if config.refiner_depth:
            self.text = TextRefiner(config, rngs=rngs)
        else:
            self.text = Dense(config.text_width, width, **make)
        self.time_embedding = TimeEmbedding(width, rngs=rngs, **time)
        if config.pooled_text_width:
            self.pooled_embedding = Perceptron(config.pooled_text_width, width, width, rngs=rngs)
        if config.guidance:
            self.guidance_embedding = TimeEmbedding(width, rngs=rngs, **time)
        self.blocks = stack_blocks(lambda r: DoubleBlock(config, rngs=r), config.depth, rngs=rngs)
        if config.single_depth:
            single = lambda r: SingleBlock(config, rngs=r)  # noqa: E731
            self.single_blocks = stack_blocks(single, config.single_depth, rngs=rngs)
        self.head_modulation = Dense(width, 2 * width, scale=0.0, **make)
        self.head = Dense(width, config.features, rngs=rngs, scale=0.0)

    def __call__(
        self,
        x_t: Latents,
        t: Times,
        text: TextTokens,
        text_mask: TextMask,
        known: Known | None = None,
        micro: Micro | None = None,
    ) -> Latents:
        """The prediction for `x_t`.

        Args:
          x_t: noisy latents; where `known`, the given ones.
          t: diffusion time of each clip, or of each latent frame of it.
          text: tokens of the prompt.
          text_mask: which of them hold text.
          known: what of the latents is given; a patch counts as known when all of it is.
          micro: where the config has them, `pooled_text` (zero by default) and `guidance` (1 by default).

        Raises:
          ValueError: the patch does not divide the latents, or `micro` names what the config has not.
        """
        patch = self.config.patch
        grid = token_grid(x_t.shape, patch)
        t = t[:, None] if t.ndim == 1 else t[:, :: patch[0]]
        known = None if known is None else patchify(known, patch).all(-1, keepdims=True)
        where, ids = layouts.on_grid(grid), ids_of_mask(text_mask)[1]
        y = self._transform(patchify(x_t, patch), where, t, text, ids, known, micro)
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
        micro: Micro | None = None,
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
          micro: as for clips alone, of each segment.

        Raises:
          ValueError: `micro` names what the config has not.
        """
        ids = jnp.where(text_mask, text_ids, -1)
        return self._transform(tokens, layouts.packed(positions, segment_ids), t, text, ids, known, micro)

    def _transform(self, tokens: Tokens, layout: Layout, t, text, ids, known, micro) -> Tokens:
        numbers = jnp.arange(1, t.shape[1] + 1) if layout.grid is None else jnp.zeros((1,), jnp.int32)
        times, index = with_known(t, time_index(layout, t), known)
        text_index = None if index is None else jnp.maximum(ids - numbers[0], 0)
        condition = self._condition(t, times, len(numbers), micro or {})
        about = (t, ids, numbers, text_index) if self.config.refiner_depth else ()
        context = self._context(condition, index, text_index, layout, ids)
        video = self._run((self.text(text, *about), self.embed(tokens)), context)
        return self._head(video, context.video)

    def _condition(
        self, t: Times, times: Float[Array, "B _"], num_clips: int, micro: Micro
    ) -> Float[Array, "B _ D"]:
        """What modulates at each of the `times`: those of `t`, then, if some tokens are known, as many zeros."""
        config = self.config
        if unknown := sorted(set(micro) - set(config.micro)):
            raise ValueError(
                f"micro={unknown} is not among those of the config, {config.micro}: leave it out, or set "
                "pooled_text_width or guidance"
            )
        shape = len(t), num_clips
        condition = embed_times(self.time_embedding, times)
        if config.pooled_text_width:
            pooled = micro.get("pooled_text", jnp.zeros((*shape, config.pooled_text_width)))
            condition += _spread(self.pooled_embedding(pooled.reshape(*shape, -1)), times.shape[1])
        if config.guidance:  # not of what is known
            scale = micro.get("guidance", jnp.ones(shape)).reshape(shape)
            guidance = _spread(embed_times(self.guidance_embedding, scale), t.shape[1])
            condition = condition.at[:, : t.shape[1]].add(guidance)
        return condition

    def _context(self, condition, index, text_index, layout: Layout, ids) -> Context:
        config = self.config
        rope = dict(head_dim=config.head_dim, pairs=config.rope_pairs or None, base=config.rope_base)
        group = make_group("joint", layout, PatternSizes(), ids, **rope)
        both = None if index is None else jnp.concatenate([text_index, index], 1)
        return Context(*(Modulation(condition, i) for i in (text_index, index, both)), group)

    def _run(self, streams: Streams, context: Context) -> Tokens:
        """The video after all blocks."""
        how = dict(remat=self.config.remat, unroll=self.config.unroll)
        streams = run_blocks(self.blocks, lambda block, s: block(s, context), streams, **how)
        if not self.config.single_depth:
            return streams[1]
        both = jnp.concatenate(streams, 1)
        both = run_blocks(self.single_blocks, lambda block, x: block(x, context), both, **how)
        return both[:, streams[0].shape[1] :]

    def _head(self, x: Tokens, modulation: Modulation) -> Float[Array, "B N F"]:
        m = self.head_modulation(jax.nn.silu(modulation.time))
        shift, scale = jnp.split(modulation.of_tokens(m), 2, -1)
        return self.head(modulate(*together((x, shift, scale))))


def _spread(of_clips: Float[Array, "B S D"], num_times: int) -> Float[Array, "B _ D"]:
    """What clips have, for each of their times."""
    return jnp.tile(of_clips, (1, num_times // of_clips.shape[1], 1))
