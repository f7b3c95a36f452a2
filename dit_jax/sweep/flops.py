# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run costs, exactly, from the architecture.

FLOPs are multiply-adds times two, of matrix products only, and a training step's are three times those of
its forward pass (the backward pass makes two products for each). Nothing is estimated from parameters:
per-clip modulation is a third of a DiT's parameters and a fraction of a per cent of its compute, so
`6 N D` would be off by a third.
"""

import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.backbone.patchify import token_grid

TRAINING_OVER_FORWARD = 3


def training_flops(config: ConfigDict, latent_shape: tuple[int, ...]) -> dict[str, int]:
    """FLOPs of training on one clip, by part of the model."""
    forward = build.forward_flops(config, latent_shape)
    return {part: TRAINING_OVER_FORWARD * value for part, value in forward.items()}


def step_flops(config: ConfigDict, latent_shape: tuple[int, ...]) -> int:
    """FLOPs of one training step."""
    return config.loader.batch_size * sum(training_flops(config, latent_shape).values())


def tokens_per_clip(config: ConfigDict, latent_shape: tuple[int, ...]) -> int:
    """Video tokens of one clip."""
    return int(np.prod(token_grid(latent_shape, build.patch(config))))
