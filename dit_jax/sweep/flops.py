# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run costs, exactly, from the architecture.

FLOPs are multiply-adds times two, of matrix products only, and a training step's are three times those of
its forward pass (the backward pass makes two products for each). Nothing is estimated from parameters:
per-clip modulation is a third of a DiT's parameters and a fraction of a per cent of its compute, so
`6 N D` would be off by a third.
"""

import dataclasses
import pathlib
from collections import Counter

import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.backbone.patchify import token_grid

TRAINING_OVER_FORWARD = 3

Shape = tuple[int, ...]


def training_flops(config: ConfigDict, latent_shape: Shape) -> dict[str, int]:
    """FLOPs of training on one clip, by part of the model."""
    forward = build.forward_flops(config, latent_shape)
    return {part: TRAINING_OVER_FORWARD * value for part, value in forward.items()}


def step_flops(config: ConfigDict, latent_shape: Shape) -> int:
    """FLOPs of one training step on clips of one size."""
    return config.loader.batch_size * sum(training_flops(config, latent_shape).values())


def tokens_per_clip(config: ConfigDict, latent_shape: Shape) -> int:
    """Video tokens of one clip."""
    return int(np.prod(token_grid(latent_shape, build.patch(config))))


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a run sees and computes: exactly where clips are of one size, else as an average epoch has it.

    Attributes:
      clips: seen.
      tokens_per_clip: on average.
      flops_by_part: of the run, without what padding of packed rows adds.
    """

    clips: int
    tokens_per_clip: float
    flops_by_part: dict[str, int]


def workload(config: ConfigDict, folder: str | pathlib.Path) -> Workload:
    """Of a run whose latents are there."""
    steps = config.train.total_steps
    if config.loader.layout == "fixed":
        shapes = Counter([build.latent_shape(config, folder)])
        clips = steps * config.loader.batch_size
    else:
        source = build.latents_source(build.latents_folder(config, folder, "train"))
        shapes = Counter(tuple(map(int, shape)) for shape in source.shapes)
        plan = build.plan(config, source)
        clips = round(steps * plan.num_clips / plan.num_batches)
    share = {shape: count / shapes.total() for shape, count in shapes.items()}
    parts: Counter[str] = Counter()
    for shape, weight in share.items():
        for part, flops in training_flops(config, shape).items():
            parts[part] += clips * weight * flops
    tokens = sum(weight * tokens_per_clip(config, shape) for shape, weight in share.items())
    return Workload(clips, tokens, {part: round(flops) for part, flops in parts.items()})
