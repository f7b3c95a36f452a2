# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training objective: flow matching (Lipman et al. 2023, arXiv 2210.02747, eq. 23)."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from dit_jax.arrays import Key, Latents, NullIds, Scalar, TextIds
from dit_jax.diffusion.known import TASKS, draw_known
from dit_jax.diffusion.path import OUTPUTS, Network, add_noise, velocity_target
from dit_jax.diffusion.time import LAWS, draw_time


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """What is predicted, at which times, and what is withheld.

    Attributes:
      output: what the network's output stands for: `residual` (see `path`) or `velocity`.
      time_law: `uniform` or `logit_normal`.
      shift: of time towards noise, in training and in sampling; 1 is none.
      caption_dropout: share of clips trained with the null text, for guidance.
      known: tasks and their weights, from `known.TASKS`.
    """

    output: str = "residual"
    time_law: str = "uniform"
    shift: float = 1.0
    caption_dropout: float = 0.1
    known: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"none": 1.0})

    def __post_init__(self):
        for name, value, valid in (("output", self.output, OUTPUTS), ("time_law", self.time_law, LAWS)):
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(valid)}")
        if self.shift <= 0 or not 0 <= self.caption_dropout < 1:
            raise ValueError(
                f"shift={self.shift} must be positive and caption_dropout={self.caption_dropout} in [0, 1)"
            )
        weights = self.known.values()
        if set(self.known) - set(TASKS) or min(weights, default=0) < 0 or not sum(weights) > 0:
            raise ValueError(
                f"known={dict(self.known)} must give weights, not negative and not all 0, to: {', '.join(TASKS)}"
            )


def flow_matching_loss(
    velocity: Network,
    x0: Latents,
    text_ids: TextIds,
    null_ids: NullIds,
    key: Key,
    config: ObjectiveConfig,
) -> Scalar:
    """Mean squared error of the velocity over the unknown latents of a batch.

    Args:
      velocity: `(x_t, t, text_ids, known) -> velocity`.
      x0: latents of zero mean and unit variance per channel.
      text_ids: prompts.
      null_ids: the null text.
      key: draws times, noise, masks and dropped captions.
      config: the objective.
    """
    keys = jax.random.split(key, 4)
    batch = x0.shape[0]
    t = draw_time(keys[0], batch, config.time_law, config.shift)
    eps = jax.random.normal(keys[1], x0.shape)
    drop = jax.random.bernoulli(keys[2], config.caption_dropout, (batch, 1))
    known = draw_known(keys[3], config.known, batch, x0.shape[1:4])
    x_t = add_noise(x0, eps, t)
    x_t = x_t if known is None else jnp.where(known, x0, x_t)
    error = jnp.square(
        velocity(x_t, t, jnp.where(drop, null_ids, text_ids), known) - velocity_target(x0, eps)
    )
    if known is None:
        return error.mean()
    unknown = jnp.broadcast_to(~known, error.shape)
    return (error * unknown).sum() / jnp.maximum(unknown.sum(), 1)
