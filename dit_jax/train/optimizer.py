# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers that are given their learning rate at every step, and the schedules that give it.

The schedule reads the horizon and the peak as traced values, so that one compiled step serves every
budget, learning rate and seed of a sweep. The algorithms are Optax's; ours is which parameter gets which.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

from dit_jax.train.transfer import ParameterScale

OPTIMIZERS = ("adamw", "adafactor", "muon", "schedule_free")
TRAINABLE = ("all", "temporal")
SCHEDULES = ("cosine", "constant", "wsd")
MUON_RMS = 0.2  # of an update's entries; Adam's are about as large

Steps = Int[Array, "*steps"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer, with clipping and decoupled weight decay.

    - `adamw`: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
    - `adafactor`: the second moment by rows and columns (Shazeer and Stern 2018, arXiv 1804.04235, algorithm
      4), with momentum and without the scale of the parameter, as Zhai et al. 2021, arXiv 2106.04560, section
      3.4, have it: kernels that begin at zero would not move.
    - `muon`: orthogonal updates of the hidden matrices (Jordan et al. 2024), of the size of Adam's (Liu et al.
      2025, arXiv 2502.16982, eq. 4), so that a learning rate means the same; Adam for all else.
    - `schedule_free`: AdamW whose average takes the place of momentum, schedule and moving average (Defazio et
      al. 2024, arXiv 2405.15682, algorithm 1).

    Attributes:
      name: one of these.
      lr: peak learning rate.
      warmup_steps: of linear growth from zero.
      schedule: after it, `cosine` to zero at the horizon, `constant`, or `wsd` (constant, then linear to
        zero over the last fifth: Hu et al. 2024, MiniCPM, arXiv 2404.06395, section 4.2).
      b1: decay of the first moment; of `schedule_free`, the average's share in where gradients are taken.
      b2: decay of the second moment; `adafactor` has its own.
      eps: added to the root of the second moment.
      weight_decay: times the learning rate; matrices only. It is not scaled with the width, so that its
        time scale in steps, 1 / (lr weight_decay), is every model's (Wang and Aitchison 2024, arXiv
        2405.13698; Wortsman et al. 2023, arXiv 2309.14322, section 3.2.2).
      clip_norm: largest norm of the gradient of all parameters.
      accumulation_steps: parts that a batch's gradient is computed in, one after the other, to save memory.
      ema_gamma: exponent of the moving average (see `ema_decay`).
      base_width: width of the model that `lr` was tuned on (see `transfer`); 0: `lr` holds as it is.
      base_depth: depth of that model; 0: `lr` holds at every depth.
      trainable: `all` parameters, or those that are `temporal`, over images' that stay as they are (Blattmann et
        al. 2023, Align your latents, arXiv 2304.08818, eq. 2), for which no moments are kept.
    """

    name: str = "adamw"
    lr: float = 1e-3
    warmup_steps: int = 100
    schedule: str = "cosine"
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    accumulation_steps: int = 1
    ema_gamma: float = 9.0
    base_width: int = 0
    base_depth: int = 0
    trainable: str = "all"

    def __post_init__(self):
        if self.name not in OPTIMIZERS:
            raise ValueError(f"name={self.name!r} is not one of {', '.join(OPTIMIZERS)}")
        for key, names in (("schedule", SCHEDULES), ("trainable", TRAINABLE)):
            if getattr(self, key) not in names:
                raise ValueError(f"{key}={getattr(self, key)!r} is not one of {', '.join(names)}")
        if self.name == "schedule_free" and self.trainable != "all":
            raise ValueError(
                f"name='schedule_free' averages all parameters, and trainable={self.trainable!r}: use 'adamw'"
            )
        if self.lr <= 0 or self.clip_norm <= 0 or self.warmup_steps < 0:
            raise ValueError(
                f"lr={self.lr} and clip_norm={self.clip_norm} must be positive, "
                f"warmup_steps={self.warmup_steps} not negative"
            )
        if self.accumulation_steps < 1:
            raise ValueError(f"accumulation_steps={self.accumulation_steps} must be at least 1 (1: at once)")
        if self.base_width < 0 or self.base_depth < 0:
            raise ValueError(
                f"base_width={self.base_width} and base_depth={self.base_depth} must not be negative (0: none)"
            )
        if self.name == "schedule_free" and (self.schedule != "constant" or not 0 < self.b1 < 1):
            raise ValueError(
                f"name='schedule_free' with schedule={self.schedule!r} and b1={self.b1}: it has no decay of its "
                "own and divides by b1; set schedule='constant' and b1 between 0 and 1"
            )

    @property
    def needs_scales(self) -> bool:
        """Whether `make_optimizer` must be told what each parameter is."""
        return bool(self.base_width or self.base_depth or self.name == "muon" or self.trainable != "all")


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


def make_optimizer(
    config: OptimizerConfig, scales: PyTree[ParameterScale] | None = None
) -> optax.GradientTransformationExtraArgs:
    """Its `update` takes the learning rate as `lr`, and as `ok` whether the state may change; both may be traced.

    Args:
      config: of the optimizer.
      scales: of the parameters, from `parameter_scales`.

    Raises:
      ValueError: the config needs the scales, and they are not known.
    """
    if config.needs_scales and scales is None:
        raise ValueError(
            f"name={config.name!r}, base_width={config.base_width}, base_depth={config.base_depth}, trainable="
            f"{config.trainable!r}: what these parameters are is not known; set name='adamw', base_width=0, "
            "base_depth=0 and trainable='all' here"
        )
    if config.trainable == "all":
        return _chain(config, scales)
    moved = jax.tree.map(lambda scale: scale if scale.is_trained else optax.MaskedNode(), scales)
    labels = jax.tree.map(lambda scale: "moved" if scale.is_trained else "kept", scales)
    return optax.partition({"moved": _chain(config, moved), "kept": optax.set_to_zero()}, labels)


def _chain(config: OptimizerConfig, scales: PyTree | None) -> optax.GradientTransformationExtraArgs:
    chain = optax.chain(
        _clip(config.clip_norm),
        DIRECTIONS[config.name](config, scales),
        _scale_each(config, scales),
        optax.add_decayed_weights(config.weight_decay, mask=_matrices),
        _descend(),
    )
    return _unless_told(_schedule_free(chain, config.b1)) if config.name == "schedule_free" else chain


def _clip(largest: float) -> optax.GradientTransformation:
    """As Optax's `clip_by_global_norm`, by a factor: its division XLA does once, in a pass of its own."""

    def clipped(updates: PyTree, params: PyTree | None = None) -> PyTree:
        factor = largest / jnp.maximum(optax.tree.norm(updates), largest)
        return jax.tree.map(lambda update: factor.astype(update.dtype) * update, updates)

    return optax.stateless(clipped)


def averaged(opt_state: PyTree, params: PyTree, ema: PyTree) -> PyTree:
    """What is evaluated: the average that the optimizer itself keeps, if it does, and `ema` if not."""
    if isinstance(opt_state, dict):  # by branch
        return {name: averaged(opt_state[name], params[name], ema[name]) for name in opt_state}
    if isinstance(opt_state, optax.contrib.ScheduleFreeState):
        return optax.contrib.schedule_free_eval_params(opt_state, params)
    return ema


def _unless_told(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Where `ok` is false the state stays as it is."""
    inner = optax.with_extra_args_support(inner)

    def update(grads: PyTree, state: PyTree, params: PyTree = None, *, ok: ArrayLike = True, **more):
        updates, new = inner.update(grads, state, params, **more)
        return updates, jax.tree.map(lambda new, old: jnp.where(ok, new, old), new, state)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _adam(config: OptimizerConfig, scales: PyTree | None) -> optax.GradientTransformation:
    """Optax's, its update read off the moments it returns.

    Of the old moments nothing is read then but to make the new ones, which take their place in memory: on a CPU the
    update of a parameter goes over half as much memory.
    """
    adam = _unless_told(optax.scale_by_adam(config.b1, config.b2, config.eps))

    def update(grads: PyTree, state: PyTree, params: PyTree = None, *, ok: ArrayLike = True, **_):
        state = jax.lax.optimization_barrier(adam.update(grads, state, params, ok=ok)[1])
        mu = optax.tree.bias_correction(state.mu, config.b1, state.count)
        nu = optax.tree.bias_correction(state.nu, config.b2, state.count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + config.eps), mu, nu), state

    return optax.GradientTransformationExtraArgs(adam.init, update)


def _adafactor(config: OptimizerConfig, scales: PyTree | None) -> optax.GradientTransformation:
    descent = optax.adafactor(multiply_by_parameter_scale=False, momentum=config.b1)
    return _unless_told(optax.chain(descent, optax.scale(-1)))


def _muon(config: OptimizerConfig, scales: PyTree) -> optax.GradientTransformation:
    axes = jax.tree.map(_matrix_axes, scales)
    muon = _unless_told(optax.contrib.scale_by_muon(weight_dimension_numbers=axes))
    labels = jax.tree.map(lambda scale: "muon" if scale.kind == "hidden" else "adam", scales)
    return optax.partition({"muon": muon, "adam": _adam(config, scales)}, labels)


def _rms(config: OptimizerConfig, scales: PyTree | None) -> optax.GradientTransformation:
    """Adam without momentum, in whose place the average is."""
    return optax.scale_by_rms(config.b2, config.eps, eps_in_sqrt=False, bias_correction=True)


DIRECTIONS = dict(zip(OPTIMIZERS, (_adam, _adafactor, _muon, _rms), strict=True))


def _matrix_axes(scale: ParameterScale) -> optax.contrib.MuonDimensionNumbers | optax.MaskedNode:
    """Stacked blocks are matrices of their own; the taps of a convolution are inputs."""
    if scale.kind != "hidden":
        return optax.MaskedNode()
    return optax.contrib.MuonDimensionNumbers(tuple(range(scale.num_stacked, scale.num_axes - 1)), -1)


def _scale_each(config: OptimizerConfig, scales: PyTree | None) -> optax.GradientTransformation:
    """Every parameter's own factor of the learning rate."""

    def scaled(update: Array, scale: ParameterScale) -> Array:
        if config.name != "muon" or scale.kind != "hidden":
            return scale.lr * update
        fans = math.prod(update.shape[scale.num_stacked : -1]), update.shape[-1]
        return scale.lr_orthogonal * MUON_RMS * math.sqrt(max(fans)) * update

    if scales is None:
        return optax.identity()
    return optax.stateless(lambda updates, params: jax.tree.map(scaled, updates, scales))


def _descend() -> optax.GradientTransformationExtraArgs:
    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, lr: ArrayLike, **_) -> tuple:
        return jax.tree.map(lambda u: -lr * u, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _schedule_free(base: optax.GradientTransformation, b1: float) -> optax.GradientTransformationExtraArgs:
    """Optax's wrapper, made anew at every step around its learning rate."""

    def at(lr: ArrayLike) -> optax.GradientTransformationExtraArgs:
        return optax.contrib.schedule_free(base, lr, b1)

    def update(grads: PyTree, state: PyTree, params: PyTree = None, *, lr: ArrayLike) -> tuple:
        return at(lr).update(grads, state, params, lr=lr)

    return optax.GradientTransformationExtraArgs(at(0.0).init, update)


def by_branch(
    optimizers: Mapping[str, optax.GradientTransformationExtraArgs],
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of its own, with its own clipping, for every top-level branch of the parameters."""

    def init(params: PyTree) -> PyTree:
        return {name: optimizer.init(params[name]) for name, optimizer in optimizers.items()}

    def update(grads: PyTree, state: PyTree, params: PyTree, **told: ArrayLike) -> tuple[PyTree, PyTree]:
        both = {
            name: o.update(grads[name], state[name], params[name], **told) for name, o in optimizers.items()
        }
        return tuple({name: pair[i] for name, pair in both.items()} for i in range(2))

    return optax.GradientTransformationExtraArgs(init, update)


def at_rest(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Keeps the state of `optimizer`, and moves nothing."""
    return optax.GradientTransformationExtraArgs(
        optimizer.init, lambda grads, state, params=None, **_: (jax.tree.map(jnp.zeros_like, grads), state)
    )


def _matrices(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", "") == "kernel", params)


def ema_decay(step: Steps, gamma: float) -> Float[Array, "*steps"]:
    """`(1 - 1/(step + 1))^(gamma + 1)`: an average over a fixed share of the run so far.

    Karras et al. 2024, arXiv 2312.02696, section 3.1. It has no horizon: it is as right for a run of a
    hundred steps as for one of a million.
    """
    return (1 - 1 / (step.astype(jnp.float32) + 1)) ** (gamma + 1)
