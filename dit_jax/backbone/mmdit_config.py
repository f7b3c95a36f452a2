# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a multimodal diffusion transformer is made of."""

import dataclasses

from dit_jax.backbone.dit_config import (
    check_choices,
    check_least,
    check_rope_pairs,
    check_time_features,
    check_triple,
)
from dit_jax.backbone.patchify import Patch
from dit_jax.layers.attention import QK_NORMS, check_heads
from dit_jax.layers.embed import TIME_SCALE
from dit_jax.layers.rope import BASE
from dit_jax.layers.stack import check_remat

CHOICES = {"qk_norm": QK_NORMS, "dtype": ("float32", "bfloat16")}


@dataclasses.dataclass(frozen=True)
class MMDiTConfig:
    """Sizes and parts of an `MMDiT`.

    Attributes:
      in_channels: of the latents.
      width: of the tokens.
      depth: blocks with a stream for the text and one for the video.
      single_depth: blocks after them, with one stream for both.
      num_heads: divides `width` into heads of even width.
      text_width: of the text tokens.
      refiner_depth: blocks among the text tokens alone, before all others; 0 for one dense layer.
      pooled_text_width: of a vector of the whole text that modulates, `micro["pooled_text"]`; 0 for none.
      guidance: the scale of a distilled guidance modulates, `micro["guidance"]`.
      patch: latent frames, rows and columns of a patch.
      rope_pairs: feature pairs that time, rows and columns turn; shared evenly when empty.
      rope_base: of the frequencies.
      qk_norm: of queries and keys: per `head`, over the `width`, or `none`.
      qkv_bias: biases of queries, keys and values.
      mlp_ratio: hidden width of the perceptrons over `width`.
      time_features: sinusoids that embed t.
      time_scale: of t in them.
      remat: what the backward pass recomputes: a name in `layers.stack.REMAT`.
      unroll: blocks per scan iteration.
      dtype: of the computation; parameters are float32.
    """

    in_channels: int = 16
    width: int = 384
    depth: int = 4
    single_depth: int = 8
    num_heads: int = 6
    text_width: int = 384
    refiner_depth: int = 0
    pooled_text_width: int = 0
    guidance: bool = False
    patch: Patch = (1, 2, 2)
    rope_pairs: tuple[int, ...] = ()
    rope_base: float = BASE
    qk_norm: str = "head"
    qkv_bias: bool = False
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
        check_least(self, 1, "in_channels", "width", "depth", "text_width", "unroll")
        check_least(self, 0, "single_depth", "refiner_depth", "pooled_text_width")
        check_triple("patch", self.patch)
        check_time_features(self.time_features)
        check_rope_pairs(self.rope_pairs, self.head_dim)
        if self.mlp_hidden < 1:
            raise ValueError(f"mlp_ratio={self.mlp_ratio} leaves the perceptrons no hidden width: raise it")
        if self.head_dim < 6:
            raise ValueError(
                f"num_heads={self.num_heads} leave {self.head_dim} of width={self.width} to a head, and every "
                "axis of position turns a pair: give a head 6 at least"
            )

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.width // self.num_heads

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the perceptrons."""
        return round(self.mlp_ratio * self.width)

    @property
    def features(self) -> int:
        """Numbers in a patch."""
        return self.in_channels * self.patch[0] * self.patch[1] * self.patch[2]

    @property
    def micro(self) -> tuple[str, ...]:
        """Names of what is read of a clip besides its text and time."""
        return ("pooled_text",) * (self.pooled_text_width > 0) + ("guidance",) * self.guidance
