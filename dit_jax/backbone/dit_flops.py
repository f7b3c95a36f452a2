# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a spacetime diffusion transformer costs, exactly."""

from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.patchify import token_grid
from dit_jax.backbone.patterns import span


def dit_flops(config: DiTConfig, latent_shape: tuple[int, ...], num_text_tokens: int) -> dict[str, int]:
    """FLOPs (multiply-adds times two) of one clip's forward pass by part, matrix products only.

    Args:
      config: the model.
      latent_shape: `(t, h, w, c)`.
      num_text_tokens: text tokens of a prompt, padding included, as they are computed.
    """
    grid = token_grid(latent_shape, config.patch)
    num_video, width = grid[0] * grid[1] * grid[2], config.width
    num_prefix = config.num_registers + (num_text_tokens if config.text == "context" else 0)
    num_tokens, blocks = num_video + num_prefix, config.depth // len(config.unit)
    matrices = 3 if config.mlp == "swiglu" else 2
    parts = dict.fromkeys(("attention", "text", "mlp", "modulation"), 0)
    for patterns in config.unit:
        for pattern in patterns:
            seen = span(pattern, grid, config.sizes) + num_prefix
            parts["attention"] += num_tokens * (4 * width**2 + 2 * seen * width)
        if config.reads_text(patterns):
            parts["text"] += 2 * num_tokens * width**2
            parts["text"] += 2 * num_text_tokens * (config.context_width + num_tokens) * width
        parts["mlp"] += num_tokens * matrices * config.mlp_hidden * width
        parts["modulation"] += 3 * (len(patterns) + 1) * width**2 * (config.modulation == "block")
    parts = {name: blocks * value for name, value in parts.items()}
    parts["patching"] = 2 * num_video * config.features * width
    parts["text"] += _text_projection(config, num_text_tokens)
    parts["modulation"] += (config.time_features + width) * width + _head_modulation(config)
    return {part: 2 * value for part, value in parts.items()}


def _text_projection(config: DiTConfig, num_text_tokens: int) -> int:
    if config.text_projection:
        return num_text_tokens * (config.text_width + config.width) * config.width
    return 0 if config.text == "cross" else num_text_tokens * config.text_width * config.width


def _head_modulation(config: DiTConfig) -> int:
    if config.modulation == "block":
        return 2 * config.width**2
    return 3 * max(len(patterns) + 1 for patterns in config.unit) * config.width**2
