# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From noise to data along the velocity: Euler's and Heun's methods.

Karras et al. 2022, arXiv 2206.00364, algorithm 1 (deterministic), in the time of this path.
"""

import dataclasses

import jax
import jax.numpy as jnp

from dit_jax.arrays import Cond, KnownSites, Sites
from dit_jax.diffusion.path import Network
from dit_jax.diffusion.sites import num_clips
from dit_jax.diffusion.time import shift_time

METHODS = ("euler", "heun")


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How samples are drawn.

    Attributes:
      method: `euler` (one evaluation a step) or `heun` (two, but the last).
      num_steps: steps from noise to data.
      guidance_scale: 1 is none.
    """

    method: str = "heun"
    num_steps: int = 16
    guidance_scale: float = 2.5

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} is not one of {', '.join(METHODS)}")
        if self.num_steps < 1 or self.guidance_scale < 0:
            raise ValueError(
                f"num_steps={self.num_steps} must be at least 1 and guidance_scale={self.guidance_scale} "
                "not negative"
            )


def sample(
    velocity: Network,
    noise: Sites,
    cond: Cond,
    config: SamplerConfig,
    *,
    shift: float = 1.0,
    known: KnownSites | None = None,
    given: Sites | None = None,
) -> Sites:
    """Draws latents under `cond`.

    Args:
      velocity: `(x_t, t, cond, known) -> velocity`, guided or not.
      noise: standard normal, in the shape of the samples.
      cond: of each sample (or packed row).
      config: the method and its steps (guidance is the velocity's own affair).
      shift: of time, as in training.
      known: what is given.
      given: latents where `known`; they come out exactly as they are.
    """
    times = shift_time(jnp.linspace(1.0, 0.0, config.num_steps + 1), shift)
    keep = (lambda x: x) if known is None else (lambda x: jnp.where(known, given, x))

    def slope(x, t):
        return velocity(x, jnp.full(num_clips(x, cond), t), cond, known)

    def euler(x, t, t_next):
        v = slope(x, t)
        return keep(x + (t_next - t) * v), v

    def step(x, span):
        t, t_next = span
        predicted, v = euler(x, t, t_next)
        if config.method == "euler":
            return predicted, None
        return keep(x + (t_next - t) * (v + slope(predicted, t_next)) / 2), None

    # Heun's correction is left out of the last step: at t = 0 nothing is left to predict.
    x, _ = jax.lax.scan(step, keep(noise), (times[:-2], times[1:-1]))
    return euler(x, times[-2], times[-1])[0]
