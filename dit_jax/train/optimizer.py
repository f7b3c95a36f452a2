# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""AdamW without its learning rate, and the schedules that give it.

The schedule reads the horizon and the peak as traced values, so that one compiled step serves every
budget, learning rate and seed of a sweep.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

SCHEDULES = ("cosine", "constant", "wsd")

Steps = Int[Array, "*steps"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2), clipped.

    Attributes:
      lr: peak learning rate.
      warmup_steps: of linear growth from zero.
      schedule: after it, `cosine` to zero at the horizon, `constant`, or `wsd` (constant, then linear to
        zero over the last fifth: Hu et al. 2024, MiniCPM, arXiv 2404.06395, section 4.2).
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment.
      weight_decay: times the learning rate; matrices only.
      clip_norm: largest norm of the gradient of all parameters.
      ema_gamma: exponent of the moving average (see `ema_decay`).
    """

    lr: float = 1e-3
    warmup_steps: int = 100
    schedule: str = "cosine"
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_gamma: float = 9.0

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r} is not one of {', '.join(SCHEDULES)}")
        if self.lr <= 0 or self.clip_norm <= 0 or self.warmup_steps < 0:
            raise ValueError(
                f"lr={self.lr} and clip_norm={self.clip_norm} must be positive, "
                f"warmup_steps={self.warmup_steps} not negative"
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Horizon:
    """What may differ between runs that share one compiled step."""

    lr: ArrayLike
    warmup_steps: ArrayLike
    total_steps: ArrayLike
    seed: ArrayLike


def learning_rate(step: Steps, horizon: Horizon, schedule: str) -> Float[Array, "*steps"]:
    """Learning rate of each 0-based `step`."""
    step = step.astype(jnp.float32)
    warm = jnp.minimum(1.0, (step + 1) / jnp.maximum(horizon.warmup_steps, 1))
    span = jnp.maximum(horizon.total_steps - horizon.warmup_steps, 1)
    progress = jnp.clip((step - horizon.warmup_steps) / span, 0.0, 1.0)
    decay = {
        "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress)),
        "constant": jnp.ones_like(progress),
        "wsd": jnp.minimum(1.0, (1 - progress) / 0.2),
    }[schedule]
    return horizon.lr * warm * decay


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The update direction, at learning rate one and not yet negated."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=_matrices),
    )


def by_branch(optimizers: Mapping[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """An optimizer of its own, with its own clipping, for every top-level branch of the parameters."""

    def init(params: PyTree) -> PyTree:
        return {name: optimizer.init(params[name]) for name, optimizer in optimizers.items()}

    def update(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        both = {name: o.update(grads[name], state[name], params[name]) for name, o in optimizers.items()}
        return tuple({name: pair[i] for name, pair in both.items()} for i in range(2))

    return optax.GradientTransformation(init, update)


def at_rest(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keeps the state of `optimizer`, and moves nothing."""
    return optax.GradientTransformation(
        optimizer.init, lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), state)
    )


def _matrices(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", "") == "kernel", params)


def ema_decay(step: Steps, gamma: float) -> Float[Array, "*steps"]:
    """`(1 - 1/(step + 1))^(gamma + 1)`: an average over a fixed share of the run so far.

    Karras et al. 2024, arXiv 2312.02696, section 3.1. It has no horizon: it is as right for a run of a
    hundred steps as for one of a million.
    """
    return (1 - 1 / (step.astype(jnp.float32) + 1)) ** (gamma + 1)
