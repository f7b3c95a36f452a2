# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training objective: flow matching along a Gaussian path (Lipman et al. 2023, arXiv 2210.02747, eq. 14).

With the weights of `weighting` it is the loss of every diffusion model on such a path.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from dit_jax.arrays import Cond, Key, KnownSites, PerClip, Scalar, Sites, Times
from dit_jax.diffusion.known import FRAME_FACTOR, TASKS, draw_known
from dit_jax.diffusion.path import LIMITS, OUTPUTS, Network, add_noise, velocity_target
from dit_jax.diffusion.schedule import PATHS, Cast
from dit_jax.diffusion.sites import expand, is_packed, num_clips, valid, without_text
from dit_jax.diffusion.time import TimeLaw, clip_shift, draw_time, shift_time
from dit_jax.diffusion.weighting import LOSSES


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """What is predicted, at which times, how errors are weighed, and what is withheld.

    Attributes:
      path: from data to noise: a name in `schedule.PATHS`.
      output: what the network's output stands for: a name in `path.OUTPUTS`.
      sigma_data: deviation of the data that the output and the loss `edm` reckon with.
      loss: what is measured, whatever the output: a name in `weighting.LOSSES`.
      min_snr_gamma: where the loss `min_snr` is cut off.
      sigmoid_bias: logsnr about which the loss `sigmoid` turns.
      time_law: a name in `time.LAWS`, before the shift.
      time_mean: of the laws `logit_normal` and `edm` (P_mean).
      time_std: of the same (P_std).
      time_mode: of the law `mode`, s.
      shift: of time towards noise, in training, sampling and evaluation; 1 is none.
      shift_base_size: values (frames x rows x columns x channels) in the latents of the clip that `shift` is
        for; a clip of another size is shifted by the root of the ratio of sizes. 0: all are shifted alike.
      per_frame_time: whether each latent frame has a time of its own in training (Chen et al. 2024, Diffusion
        Forcing, arXiv 2407.01392, algorithm 1).
      caption_dropout: share of clips trained with the null text, for guidance; 1: clips without labels.
      known: tasks and their weights, from `known.TASKS`.
      frame_factor: of the task `slow_motion`, in training and sampling: every how-manieth latent frame is given.
    """

    path: str = "linear"
    output: str = "residual"
    sigma_data: float = 1.0
    loss: str = "velocity"
    min_snr_gamma: float = 5.0
    sigmoid_bias: float = 0.0
    time_law: str = "uniform"
    time_mean: float = 0.0
    time_std: float = 1.0
    time_mode: float = 0.0
    shift: float = 1.0
    shift_base_size: int = 0
    per_frame_time: bool = False
    caption_dropout: float = 0.1
    known: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"none": 1.0})
    frame_factor: int = FRAME_FACTOR

    def __post_init__(self):
        for name, names in (("path", PATHS), ("output", OUTPUTS), ("loss", LOSSES)):
            if getattr(self, name) not in names:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(names)}")
        for name in ("sigma_data", "min_snr_gamma", "shift"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.shift_base_size < 0 or not 0 <= self.caption_dropout <= 1:
            raise ValueError(
                f"shift_base_size={self.shift_base_size} must not be negative and "
                f"caption_dropout={self.caption_dropout} in [0, 1]"
            )
        if self.frame_factor < 2:
            raise ValueError(f"frame_factor={self.frame_factor} must be at least 2: at 1 no frame is missing")
        weights = self.known.values()
        if set(self.known) - set(TASKS) or min(weights, default=0) < 0 or not sum(weights) > 0:
            raise ValueError(
                f"known={dict(self.known)} must give weights, not negative and not all 0, to: {', '.join(TASKS)}"
            )
        _ = self.law  # which checks the law's numbers

    @property
    def law(self) -> TimeLaw:
        """Of times, before the shift."""
        return TimeLaw(self.time_law, self.time_mean, self.time_std, self.time_mode)


DEFAULT = ObjectiveConfig()


def used_times(t: Cast, x: Sites, cond: Cond, config: ObjectiveConfig) -> Cast:
    """Times as training, sampling and evaluation use them: shifted for the clips' size, and within the limits
    of what the output can tell.

    Args:
      t: unshifted; of the clips of `x` (or of each of their frames), with further axes in front or none.
      x: latents or packed rows, for their shape.
      cond: of packed rows.
      config: of the run.
    """
    t = shift_time(t, clip_shift(config.shift, config.shift_base_size, x, cond), config.path)
    return jnp.clip(t, *LIMITS[config.output]) if config.output in LIMITS else t


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """What is random in the loss of a batch.

    Attributes:
      t: times, of clips, of their frames, or of the segments of packed rows.
      eps: noise.
      drop: whose caption is withheld.
      known: what is given.
    """

    t: Times
    eps: Sites
    drop: PerClip
    known: KnownSites | None


def draw(key: Key, x0: Sites, cond: Cond, config: ObjectiveConfig) -> Draws:
    """Times, noise, dropped captions and masks of a batch.

    Raises:
      ValueError: a time per frame of packed rows.
    """
    keys = jax.random.split(key, 4)
    clips = times = num_clips(x0, cond)
    if config.per_frame_time:
        if is_packed(cond):
            raise ValueError(
                "per_frame_time=True is for latents on a grid, and these are packed: set loader.layout to "
                "fixed or buckets"
            )
        times = x0.shape[:2]
    t = draw_time(keys[0], math.prod(times), config.law, config.path).reshape(times)
    return Draws(
        t=used_times(t, x0, cond, config),
        eps=jax.random.normal(keys[1], x0.shape),
        drop=jax.random.bernoulli(keys[2], config.caption_dropout, clips),
        known=draw_known(keys[3], config.known, x0, cond, config.frame_factor),
    )


def flow_matching_loss(
    velocity: Network,
    x0: Sites,
    cond: Cond,
    null: Cond,
    draws: Draws,
    config: ObjectiveConfig = DEFAULT,
    total: Scalar | None = None,
) -> Scalar:
    """Mean weighted squared error of the velocity over the unknown latents of a batch.

    Args:
      velocity: `(x_t, t, cond, known) -> eps - x0`.
      x0: latents of zero mean and unit variance per channel, on a grid or packed.
      cond: what conditions them.
      null: what of it stands for no text.
      draws: from `draw`.
      config: the path and the weights.
      total: values that the mean is over, from `num_counted`, where the batch is part of a larger one.
    """
    x_t, known = add_noise(x0, draws.eps, draws.t, cond, config.path), draws.known
    x_t = x_t if known is None else jnp.where(known, x0, x_t)
    cond = without_text(cond, null, draws.drop)
    error = jnp.square(velocity(x_t, draws.t, cond, known) - velocity_target(x0, draws.eps))
    error = LOSSES[config.loss](PATHS[config.path], expand(draws.t, x0, cond), config) * error
    total = num_counted(x0, cond, known) if total is None else total
    if not _all_count(cond, known):
        error = error * _counted(x0, cond, known)
    return error.sum() / total


def num_counted(x0: Sites, cond: Cond, known: KnownSites | None) -> Scalar:
    """How many values of a batch's latents count in its loss, at least 1."""
    if _all_count(cond, known):
        return jnp.float32(x0.size)
    return jnp.maximum(jnp.broadcast_to(_counted(x0, cond, known), x0.shape).sum(dtype=jnp.float32), 1)


def _all_count(cond: Cond, known: KnownSites | None) -> bool:
    return known is None and not is_packed(cond)


def _counted(x0: Sites, cond: Cond, known: KnownSites | None) -> KnownSites:
    return valid(x0, cond) if known is None else valid(x0, cond) & ~known
