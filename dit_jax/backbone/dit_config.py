# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a spacetime diffusion transformer is made of."""

import dataclasses

from dit_jax.backbone.patchify import Patch
from dit_jax.backbone.patterns import PatternSizes
from dit_jax.layers.attention import QK_NORMS, check_heads
from dit_jax.layers.embed import TIME_SCALE
from dit_jax.layers.mlp import KINDS
from dit_jax.layers.rope import BASE
from dit_jax.layers.stack import check_remat

# attention: the self-attentions of each block of the unit that repeats
ATTENTION = {
    "joint": (("joint",),),
    "factorised": (("space", "time"),),
    "alternating": (("space",), ("time",)),
    "windowed": (("window",), ("shifted_window",)),
    "sparse": (("skip",), ("skip_runs",)),
}
CHOICES = {
    "attention": tuple(ATTENTION),
    "text": ("cross", "context", "pooled"),
    "modulation": ("block", "shared"),
    "positions": ("rotary", "sincos", "learned"),
    "qk_norm": QK_NORMS,
    "text_norm": ("plain", "affine", "none"),
    "mlp": KINDS,
    "dtype": ("float32", "bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """Sizes and parts of a `DiT`.

    Attributes:
      in_channels: of the latents.
      width: of the tokens.
      depth: blocks.
      num_heads: divides `width` into heads of even width.
      text_width: of the text tokens.
      patch: latent frames, rows and columns of a patch.
      attention: `joint` over all tokens; `factorised`: within frames, then across them, in each block;
        `alternating`: blocks of the one and, without text, of the other kind; `windowed`: in windows and in
        shifted windows; `sparse`: of every `skip`-th token and of every `skip`-th run.
      window: tokens along time, rows and columns of `windowed` attention.
      skip: stride of `sparse` attention.
      text: read by `cross`-attention; in `context`, among the tokens of joint attention; or `pooled` into
        the modulation.
      text_norm: of the tokens that look at the text: `plain`, `affine`, or `none`.
      text_projection: text first goes through a two-layer perceptron to the tokens' width.
      modulation: of every `block` by a layer of its own (adaLN-Zero), or by one `shared` layer and a table
        for each block (adaLN-single).
      positions: `rotary` turns queries and keys, `sincos` and `learned` are added to the tokens.
      learned_size: entries for time, rows and columns of learned positions.
      rope_pairs: feature pairs that time, rows and columns turn; shared evenly when empty.
      rope_base: of the frequencies.
      num_registers: learned tokens that joint attention carries along.
      qk_norm: of queries and keys: per `head`, over the `width`, or `none`.
      qkv_bias: biases of queries, keys and values.
      mlp: `gelu`, or `swiglu`.
      mlp_ratio: hidden width of the perceptrons over `width`.
      time_features: sinusoids that embed t.
      time_scale: of t in them.
      remat: what the backward pass recomputes: a name in `layers.stack.REMAT`.
      unroll: units of blocks per scan iteration.
      dtype: of the computation; parameters are float32.
    """

    in_channels: int = 16
    width: int = 384
    depth: int = 12
    num_heads: int = 6
    text_width: int = 384
    patch: Patch = (1, 2, 2)
    attention: str = "joint"
    window: tuple[int, int, int] = (2, 4, 4)
    skip: int = 4
    text: str = "cross"
    text_norm: str = "plain"
    text_projection: bool = False
    modulation: str = "block"
    positions: str = "rotary"
    learned_size: tuple[int, int, int] = (16, 32, 32)
    rope_pairs: tuple[int, ...] = ()
    rope_base: float = BASE
    num_registers: int = 0
    qk_norm: str = "head"
    qkv_bias: bool = False
    mlp: str = "gelu"
    mlp_ratio: float = 4.0
    time_features: int = 256
    time_scale: float = TIME_SCALE
    remat: str = "none"
    unroll: int = 1
    dtype: str = "float32"

    def __post_init__(self):
        check_choices(self, CHOICES)
        check_heads(self.width, self.num_heads)
        check_remat(self.remat)
        check_least(self, 1, "in_channels", "width", "depth", "text_width", "skip", "unroll")
        check_triple("patch", self.patch)
        check_triple("window", self.window)
        check_triple("learned_size", self.learned_size)
        check_time_features(self.time_features)
        if self.mlp_hidden < 1:
            raise ValueError(f"mlp_ratio={self.mlp_ratio} leaves the perceptrons no hidden width: raise it")
        if self.depth % len(self.unit):
            raise ValueError(
                f"depth={self.depth} is not a multiple of the {len(self.unit)} kinds of block of "
                f"attention={self.attention!r}: choose one that is"
            )
        if self.attention != "joint" and (self.num_registers or self.text == "context"):
            raise ValueError(
                f"attention={self.attention!r} reaches neither registers nor text in context: use joint"
            )
        self._check_positions()

    def _check_positions(self):
        least = 6 if self.attention in ("joint", "windowed", "sparse") else 4
        if self.positions == "rotary" and self.head_dim < least:
            raise ValueError(
                f"num_heads={self.num_heads} leave {self.head_dim} of width={self.width} to a "
                f"head, and every axis of position turns a pair: give a head {least} at least"
            )
        check_rope_pairs(self.rope_pairs, self.head_dim)
        if self.positions == "sincos" and self.width % 4:
            raise ValueError(f"width={self.width} is not a multiple of 4, as positions=sincos needs")

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.width // self.num_heads

    @property
    def unit(self) -> tuple[tuple[str, ...], ...]:
        """The self-attentions of each block of the unit that repeats."""
        return ATTENTION[self.attention]

    @property
    def sizes(self) -> PatternSizes:
        """Of windows and skips."""
        return PatternSizes(tuple(self.window), self.skip)

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the perceptrons."""
        return round(self.mlp_ratio * self.width)

    @property
    def features(self) -> int:
        """Numbers in a patch."""
        return self.in_channels * self.patch[0] * self.patch[1] * self.patch[2]

    @property
    def context_width(self) -> int:
        """Width of the text tokens that blocks read."""
        return self.width if self.text_projection else self.text_width

    def reads_text(self, patterns: tuple[str, ...]) -> bool:
        """Whether a block with these self-attentions looks at the text."""
        return self.text == "cross" and not (self.attention == "alternating" and patterns == ("time",))


def check_choices(config, choices: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError when a field is none of its choices."""
    for name, valid in choices.items():
        if getattr(config, name) not in valid:
            raise ValueError(f"{name}={getattr(config, name)!r} is not one of {', '.join(valid)}")


def check_least(config, least: int, *names: str) -> None:
    """Raises ValueError when a field is below `least`."""
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name}={getattr(config, name)} must be at least {least}")


def check_triple(name: str, sizes: tuple[int, ...]) -> None:
    """Raises ValueError unless `sizes` are three of at least 1."""
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"{name}={sizes} must be three sizes of at least 1: (frames, rows, columns)")


def check_rope_pairs(pairs: tuple[int, ...], head_dim: int) -> None:
    """Raises ValueError unless there are none, or three that turn all features of a head."""
    if pairs and (len(pairs) != 3 or min(pairs) < 0 or 2 * sum(pairs) != head_dim):
        raise ValueError(f"rope_pairs={pairs} must be three numbers whose sum is half of a head's {head_dim}")


def check_time_features(number: int) -> None:
    """Raises ValueError unless sines and cosines are as many."""
    if number < 2 or number % 2:
        raise ValueError(f"time_features={number} must be even and at least 2")
