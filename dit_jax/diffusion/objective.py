# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training objective: flow matching (Lipman et al. 2023, arXiv 2210.02747, eq. 23)."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from dit_jax.arrays import Cond, Key, KnownSites, PerClip, Scalar, Sites, Times
from dit_jax.diffusion.known import TASKS, draw_known
from dit_jax.diffusion.path import OUTPUTS, Network, add_noise, velocity_target
from dit_jax.diffusion.sites import is_packed, num_clips, valid, without_text
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
        for name, value, names in (("output", self.output, OUTPUTS), ("time_law", self.time_law, LAWS)):
            if value not in names:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(names)}")
        if self.shift <= 0 or not 0 <= self.caption_dropout < 1:
            raise ValueError(
                f"shift={self.shift} must be positive and caption_dropout={self.caption_dropout} in [0, 1)"
            )
        weights = self.known.values()
        if set(self.known) - set(TASKS) or min(weights, default=0) < 0 or not sum(weights) > 0:
            raise ValueError(
                f"known={dict(self.known)} must give weights, not negative and not all 0, to: {', '.join(TASKS)}"
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """What is random in the loss of a batch.

    Attributes:
      t: times, of clips or of the segments of packed rows.
      eps: noise.
      drop: whose caption is withheld.
      known: what is given.
    """

    t: Times
    eps: Sites
    drop: PerClip
    known: KnownSites | None


def draw(key: Key, x0: Sites, cond: Cond, config: ObjectiveConfig) -> Draws:
    """Times, noise, dropped captions and masks of a batch."""
    keys = jax.random.split(key, 4)
    shape = num_clips(x0, cond)
    return Draws(
        t=draw_time(keys[0], math.prod(shape), config.time_law, config.shift).reshape(shape),
        eps=jax.random.normal(keys[1], x0.shape),
        drop=jax.random.bernoulli(keys[2], config.caption_dropout, shape),
        known=draw_known(keys[3], config.known, x0, cond),
    )


def flow_matching_loss(velocity: Network, x0: Sites, cond: Cond, null: Cond, draws: Draws) -> Scalar:
    """Mean squared error of the velocity over the unknown latents of a batch.

    Args:
      velocity: `(x_t, t, cond, known) -> velocity`.
      x0: latents of zero mean and unit variance per channel, on a grid or packed.
      cond: what conditions them.
      null: what of it stands for no text.
      draws: from `draw`.
    """
    x_t, known = add_noise(x0, draws.eps, draws.t, cond), draws.known
    x_t = x_t if known is None else jnp.where(known, x0, x_t)
    cond = without_text(cond, null, draws.drop)
    error = jnp.square(velocity(x_t, draws.t, cond, known) - velocity_target(x0, draws.eps))
    if known is None and not is_packed(cond):
        return error.mean()
    counted = valid(x0, cond) if known is None else valid(x0, cond) & ~known
    counted = jnp.broadcast_to(counted, error.shape)
    return (error * counted).sum() / jnp.maximum(counted.sum(), 1)
