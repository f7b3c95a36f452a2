# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The spacetime diffusion transformer.

Peebles and Xie 2023 (DiT, arXiv 2212.09748) in three dimensions: patches of the latents attend to each
other, jointly over space and time or factorised (space, then time: Ma et al. 2024, Latte, arXiv
2401.03048, variant 3), then to the text, under adaLN-Zero modulation by the diffusion time.

Known tokens (what is given of a clip) are modulated by t = 0, the others by t.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import Known, Latents, TextMask, TextTokens, Time, Tokens
from dit_jax.backbone.patchify import Patch, grid_positions, patchify, token_grid, unpatchify
from dit_jax.layers.attention import Attention, check_heads
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import TimeEmbedding
from dit_jax.layers.mlp import MLP
from dit_jax.layers.norm import layer_norm, modulate
from dit_jax.layers.rope import rotations
from dit_jax.layers.stack import check_remat, run_blocks, stack_blocks

ATTENTION = ("joint", "factorised")


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """Sizes of a `DiT`.

    Attributes:
      in_channels: of the latents.
      width: of the tokens.
      depth: blocks.
      num_heads: divides `width` into heads of even width.
      text_width: of the text tokens.
      patch: latent frames, rows and columns of a patch.
      attention: `joint` over all tokens, or `factorised`: within frames, then across them.
      mlp_ratio: hidden width of the perceptrons over `width`.
      time_features: sinusoids that embed t.
      remat: what the backward pass recomputes: none, dots or full.
      unroll: blocks per scan iteration.
      dtype: of the computation; parameters are float32.
    """

    in_channels: int = 16
    width: int = 384
    depth: int = 12
    num_heads: int = 6
    text_width: int = 384
    patch: Patch = (1, 2, 2)
    attention: str = "joint"
    mlp_ratio: int = 4
    time_features: int = 256
    remat: str = "none"
    unroll: int = 1
    dtype: str = "float32"

    def __post_init__(self):
        check_heads(self.width, self.num_heads)
        check_remat(self.remat)
        self._check_sizes()
        if self.attention not in ATTENTION:
            raise ValueError(f"attention={self.attention!r} is not one of {', '.join(ATTENTION)}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={self.dtype!r} is not one of float32, bfloat16")

    def _check_sizes(self):
        for name in ("in_channels", "width", "depth", "text_width", "mlp_ratio", "unroll"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError(f"patch={self.patch} must be three sizes of at least 1: (frames, rows, columns)")
        if self.time_features < 2 or self.time_features % 2:
            raise ValueError(f"time_features={self.time_features} must be even and at least 2")
        least = 6 if self.attention == "joint" else 4
        if self.width // self.num_heads < least:
            raise ValueError(
                f"num_heads={self.num_heads} leave {self.width // self.num_heads} of width={self.width} to a "
                f"head, and every axis of position turns a pair: give a head {least} at least"
            )

    @property
    def num_modulations(self) -> int:
        """Modulated branches of a block: attention (one or two) and the perceptron."""
        return 3 if self.attention == "factorised" else 2


class DiTBlock(nnx.Module):
    """Attention, cross-attention to the text, perceptron; the identity at initialisation."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        make = dict(rngs=rngs, dtype=jnp.dtype(config.dtype))
        width, heads = config.width, config.num_heads
        self.config = config
        self.modulation = Dense(width, 3 * config.num_modulations * width, scale=0.0, **make)
        self.space = Attention(width, heads, **make)
        self.time = Attention(width, heads, **make) if config.attention == "factorised" else None
        self.text = Attention(width, heads, context_width=config.text_width, out_scale=0.0, **make)
        self.mlp = MLP(width, config.mlp_ratio * width, **make)

    def __call__(self, x: Tokens, context: "Context") -> Tokens:
        modulations = iter(
            jnp.split(context.modulation(self.modulation), 3 * self.config.num_modulations, -1)
        )
        branches = [self._joint] if self.time is None else [self._within_frames, self._across_frames]
        for branch in branches:
            x = gated(x, lambda y, branch=branch: branch(y, context), modulations)
        x = x + self.text(layer_norm(x), context.text, mask=context.text_mask[:, None, :])
        return gated(x, self.mlp, modulations)

    def _joint(self, x: Tokens, context: "Context") -> Tokens:
        return self.space(x, rotation=context.rotations[0])

    def _within_frames(self, x: Tokens, context: "Context") -> Tokens:
        frames = x.reshape(x.shape[0] * context.grid[0], -1, x.shape[-1])
        return self.space(frames, rotation=context.rotations[0]).reshape(x.shape)

    def _across_frames(self, x: Tokens, context: "Context") -> Tokens:
        frames, width = context.grid[0], x.shape[-1]
        cells = x.reshape(x.shape[0], frames, -1, width).swapaxes(1, 2)
        y = self.time(cells.reshape(-1, frames, width), rotation=context.rotations[1])
        return y.reshape(cells.shape).swapaxes(1, 2).reshape(x.shape)


def gated(x: Tokens, branch, modulations) -> Tokens:
    """`x + gate * branch(modulate(x))`, taking shift, scale and gate from the iterator."""
    shift, scale, gate = (next(modulations) for _ in range(3))
    return x + gate * branch(modulate(x, shift, scale).astype(x.dtype)).astype(x.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
    """What every block reads besides the tokens."""

    time: Float[Array, "S B D"]  # embedding of t, and of 0 when some tokens are known (S = 2)
    known: Bool[Array, "B N 1"] | None
    text: TextTokens
    text_mask: TextMask
    rotations: tuple[Float[Array, "2 _ half"], ...]  # of each kind of self-attention
    grid: tuple[int, int, int] = dataclasses.field(metadata=dict(static=True))

    def modulation(self, dense: Dense) -> Float[Array, "B #N M"]:
        """Modulation of each token: that of t = 0 where it is known."""
        m = dense(jax.nn.silu(self.time))[:, :, None, :]
        return m[0] if self.known is None else jnp.where(self.known, m[1], m[0])


class DiT(nnx.Module):
    """Predicts, from noisy latents, whatever the objective asks for, in their shape."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs):
        features = config.in_channels * config.patch[0] * config.patch[1] * config.patch[2]
        dtype = jnp.dtype(config.dtype)
        self.config = config
        self.embed = Dense(features, config.width, rngs=rngs, dtype=dtype)
        self.time_embedding = TimeEmbedding(config.width, rngs=rngs, num_features=config.time_features)
        self.blocks = stack_blocks(lambda r: DiTBlock(config, rngs=r), config.depth, rngs=rngs)
        self.head_modulation = Dense(config.width, 2 * config.width, rngs=rngs, scale=0.0, dtype=dtype)
        self.head = Dense(config.width, features, rngs=rngs, scale=0.0)

    def __call__(
        self,
        x_t: Latents,
        t: Time,
        text: TextTokens,
        text_mask: TextMask,
        known: Known | None = None,
    ) -> Latents:
        """The prediction for `x_t`.

        Args:
          x_t: noisy latents; where `known`, the given ones.
          t: diffusion time of each clip.
          text: tokens of the prompt.
          text_mask: which of them hold text.
          known: what of the latents is given; a patch counts as known when all of it is.

        Raises:
          ValueError: the patch does not divide the latents.
        """
        config = self.config
        grid = token_grid(x_t.shape, config.patch)
        context = self._context(t, text, text_mask, known, grid)
        x = self.embed(patchify(x_t, config.patch))
        x = run_blocks(self.blocks, lambda b, y: b(y, context), x, remat=config.remat, unroll=config.unroll)
        shift, scale = jnp.split(context.modulation(self.head_modulation), 2, -1)
        return unpatchify(self.head(modulate(x, shift, scale)), config.patch, grid)

    def _context(self, t, text, text_mask, known, grid) -> Context:
        times = jnp.stack([t] if known is None else [t, jnp.zeros_like(t)])
        embedding = self.time_embedding(times.reshape(-1)).reshape(*times.shape, -1)
        tokens_known = None if known is None else patchify(known, self.config.patch).all(-1, keepdims=True)
        return Context(embedding, tokens_known, text, text_mask, self._rotations(grid), grid)

    def _rotations(self, grid: tuple[int, int, int]) -> tuple[Float[Array, "2 _ half"], ...]:
        head_dim = self.config.width // self.config.num_heads
        if self.config.attention == "joint":
            return (rotations(grid_positions(grid), head_dim),)
        space, time = grid_positions((1, *grid[1:]))[:, 1:], grid_positions((grid[0], 1, 1))[:, :1]
        return rotations(space, head_dim), rotations(time, head_dim)


def dit_flops(config: DiTConfig, latent_shape: tuple[int, ...], num_text_tokens: int) -> dict[str, int]:
    """FLOPs (multiply-adds times two) of one clip's forward pass by part, matrix products only.

    Args:
      config: the model.
      latent_shape: `(t, h, w, c)`.
      num_text_tokens: text tokens of a prompt, padding included, as they are computed.
    """
    grid = token_grid(latent_shape, config.patch)
    num_tokens, width, depth = grid[0] * grid[1] * grid[2], config.width, config.depth
    features = config.in_channels * config.patch[0] * config.patch[1] * config.patch[2]
    spans = [grid[1] * grid[2], grid[0]] if config.attention == "factorised" else [num_tokens]
    multiply_adds = {
        "patching": 2 * num_tokens * features * width,
        "attention": depth * sum(num_tokens * (4 * width**2 + 2 * span * width) for span in spans),
        "text": depth
        * (2 * num_tokens * width**2 + 2 * num_text_tokens * (config.text_width + num_tokens) * width),
        "mlp": depth * num_tokens * 2 * config.mlp_ratio * width**2,
        "modulation": (config.time_features + width) * width
        + (depth * 3 * config.num_modulations + 2) * width**2,
    }
    return {part: 2 * value for part, value in multiply_adds.items()}
