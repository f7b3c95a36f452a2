# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a multimodal diffusion transformer costs, exactly."""

import math

from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.backbone.patchify import token_grid


def mmdit_flops(config: MMDiTConfig, latent_shape: tuple[int, ...], num_text_tokens: int) -> dict[str, int]:
    """FLOPs (multiply-adds times two) of one clip's forward pass by part, matrix products only.

    Args:
      config: the model.
      latent_shape: `(t, h, w, c)`.
      num_text_tokens: text tokens of a prompt, padding included, as they are computed. They pass through all
        blocks beside the video; `text` is what happens to them before.
    """
    num_video, width = math.prod(token_grid(latent_shape, config.patch)), config.width
    num_tokens, blocks = num_video + num_text_tokens, config.depth + config.single_depth
    parts = {
        "attention": blocks * _attention(config, num_tokens),
        "text": _text(config, num_text_tokens),
        "mlp": blocks * _mlp(config, num_tokens),
        "modulation": (12 * config.depth + 3 * config.single_depth + 2) * width**2 + _condition(config),
        "patching": 2 * num_video * config.features * width,
    }
    return {part: 2 * value for part, value in parts.items()}


def _attention(config: MMDiTConfig, num_tokens: int) -> int:
    return num_tokens * (4 * config.width + 2 * num_tokens) * config.width


def _mlp(config: MMDiTConfig, num_tokens: int) -> int:
    return num_tokens * 2 * config.mlp_hidden * config.width


def _time(config: MMDiTConfig) -> int:
    return (config.time_features + config.width) * config.width


def _condition(config: MMDiTConfig) -> int:
    pooled = (config.pooled_text_width + config.width) * config.width * (config.pooled_text_width > 0)
    return _time(config) * (1 + config.guidance) + pooled


def _text(config: MMDiTConfig, num_tokens: int) -> int:
    embed = num_tokens * config.text_width * config.width
    if not config.refiner_depth:
        return embed
    pooled = num_tokens * config.text_width + (config.text_width + config.width) * config.width
    block = _attention(config, num_tokens) + _mlp(config, num_tokens) + 2 * config.width**2
    return embed + _time(config) + pooled + config.refiner_depth * block
