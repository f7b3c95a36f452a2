# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The backbones that `config.backbone.name` can name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import nnx

from dit_jax.backbone import unet_latent, unet_pseudo3d
from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.dit_flops import dit_flops
from dit_jax.backbone.mmdit import MMDiT
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.backbone.mmdit_flops import mmdit_flops
from dit_jax.backbone.pseudo3d_plan import UNetPseudo3DConfig
from dit_jax.backbone.rungs import mmdit_rung, pseudo3d_rung, transformer_rung, unet_rung
from dit_jax.backbone.unet_latent import UNetLatent, unet_latent_flops
from dit_jax.backbone.unet_latent_config import UNetLatentConfig
from dit_jax.backbone.unet_pseudo3d import UNetPseudo3D, unet_pseudo3d_flops


class Backbone(NamedTuple):
    """What a backbone is made by and costs.

    Attributes:
      config: its sizes, a frozen dataclass with `in_channels`, `width`, `depth` and `text_width`.
      module: `(config, rngs) -> (x_t, t, text, text_mask, known) -> prediction`.
      flops: `(config, latent_shape, num_text_tokens) ->` FLOPs of one clip's forward pass by part.
      rung: `(width, the rest of the config) ->` what a width on a ladder decides of it.
      is_temporal: whether the parameter at a path learns from video alone; None where none is set apart.
    """

    config: type[Any]
    module: type[nnx.Module]
    flops: Callable[..., dict[str, int]]
    rung: Callable[[int, Mapping[str, Any]], dict[str, int]]
    is_temporal: Callable[[tuple[Any, ...]], bool] | None = None


BACKBONES = {
    "dit": Backbone(DiTConfig, DiT, dit_flops, transformer_rung),
    "mmdit": Backbone(MMDiTConfig, MMDiT, mmdit_flops, mmdit_rung),
    "unet_latent": Backbone(
        UNetLatentConfig, UNetLatent, unet_latent_flops, unet_rung, unet_latent.is_temporal
    ),
    "unet_pseudo3d": Backbone(
        UNetPseudo3DConfig, UNetPseudo3D, unet_pseudo3d_flops, pseudo3d_rung, unet_pseudo3d.is_temporal
    ),
}
