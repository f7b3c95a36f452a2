# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From noise to data along the velocity: Euler's and Heun's methods, and ancestral sampling.

Karras et al. 2022, arXiv 2206.00364, algorithm 1 (deterministic). Steps are along the straight path that every
path is when rescaled (see `schedule`), so that Euler's method is DDIM (Song et al. 2021, arXiv 2010.02502,
eq. 12 with eta = 0) on all paths: exact where x_0 and eps do not change.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Cond, Key, KnownSites, Sites
from dit_jax.diffusion.objective import DEFAULT, ObjectiveConfig, used_times
from dit_jax.diffusion.path import Network, endpoints
from dit_jax.diffusion.schedule import PATHS, At, Path
from dit_jax.diffusion.sites import expand, num_clips

METHODS = ("euler", "heun", "ancestral")


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How samples are drawn.

    Attributes:
      method: `euler` (one evaluation a step), `heun` (two, but the last), or `ancestral` (one, and fresh noise
        after it: Ho et al. 2020, DDPM, arXiv 2006.11239, algorithm 2 with the variance of their eq. 7).
      num_steps: steps from noise to data.
      guidance_scale: 1 is none.
      guidance_last: guidance of the last frame, where that of the first is `guidance_scale` and it is linear
        between them; None: the same for all.
      rho: 0 makes steps even in t; else they are those of Karras et al. 2022, eq. 5 (7 there).
      sigma_min: the least ratio of noise to data of these, before the shift.
      sigma_max: the largest, where they begin.
    """

    method: str = "heun"
    num_steps: int = 16
    guidance_scale: float = 2.5
    guidance_last: float | None = None
    rho: float = 0.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} is not one of {', '.join(METHODS)}")
        if self.num_steps < 1 or self.guidance_scale < 0 or (self.guidance_last or 0) < 0:
            raise ValueError(
                f"num_steps={self.num_steps} must be at least 1 and guidance_scale={self.guidance_scale} and "
                f"guidance_last={self.guidance_last} not negative"
            )
        if self.rho < 0 or not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"rho={self.rho} must not be negative and sigma_min={self.sigma_min} be positive and below "
                f"sigma_max={self.sigma_max}"
            )

    @property
    def num_evaluations(self) -> int:
        """Of the velocity, for one clip."""
        return 2 * self.num_steps - 1 if self.method == "heun" else self.num_steps


def step_times(config: SamplerConfig, path: str) -> Float[Array, " steps_and_1"]:
    """From noise to data, before they are shifted; the last is 0."""
    if not config.rho:
        return jnp.linspace(1.0, 0.0, config.num_steps + 1)
    first, last = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    sigma = jnp.linspace(first, last, config.num_steps) ** config.rho
    return jnp.append(PATHS[path].time_of(-2 * jnp.log(sigma)), 0.0)


def sample(
    velocity: Network,
    noise: Sites,
    cond: Cond,
    config: SamplerConfig,
    objective: ObjectiveConfig = DEFAULT,
    *,
    known: KnownSites | None = None,
    given: Sites | None = None,
    key: Key | None = None,
) -> Sites:
    """Draws latents under `cond`.

    Args:
      velocity: `(x_t, t, cond, known) -> eps - x0`, guided or not.
      noise: standard normal, in the shape of the samples.
      cond: of each sample (or packed row).
      config: the method and its steps (guidance is the velocity's own affair).
      objective: of the training: the path, and the shift of time.
      known: what is given.
      given: latents where `known`; they come out exactly as they are.
      key: of the noise that `ancestral` adds.

    Raises:
      ValueError: `ancestral` without a key.
    """
    if config.method == "ancestral" and key is None:
        raise ValueError("method='ancestral' adds noise at every step: give a key")
    times = sampling_times(config, noise, cond, objective)
    keys = jax.random.split(jax.random.key(0) if key is None else key, config.num_steps)
    path, at = PATHS[objective.path], lambda t: expand(t, noise, cond)
    keep = (lambda x: x) if known is None else (lambda x: jnp.where(known, given, x))

    def step(x, span):
        t, t_next, key = span
        slope = velocity(x, t, cond, known)
        if config.method == "ancestral":
            return keep(_renoise(path, x, slope, at(t), at(t_next), key)), None
        predicted = keep(_move(path, x, slope, at(t), at(t_next)))
        if config.method == "euler":
            return predicted, None
        mean = (slope + velocity(predicted, t_next, cond, known)) / 2
        return keep(_move(path, x, mean, at(t), at(t_next))), None

    # The last step is Euler's for all: at t = 0 nothing is left to predict, and no noise to add.
    start = keep(path.sigma(at(times[0])) * noise)
    x, _ = jax.lax.scan(step, start, (times[:-2], times[1:-1], keys[1:]))
    return keep(_move(path, x, velocity(x, times[-2], cond, known), at(times[-2]), at(times[-1])))


def sampling_times(
    config: SamplerConfig, x: Sites, cond: Cond, objective: ObjectiveConfig
) -> Float[Array, "steps_and_1 B *S"]:
    """The times of each clip, from noise to data."""
    clips = num_clips(x, cond)
    times = step_times(config, objective.path).reshape(-1, *(1,) * len(clips))
    times = used_times(times, x, cond, objective).at[-1].set(0.0)
    return jnp.broadcast_to(times, (len(times), *clips))


def _move(path: Path, x: Sites, slope: Sites, t: At, t_next: At) -> Sites:
    """Along the straight path, of which this one is a rescaling."""
    step = path.straight_time(t_next) - path.straight_time(t)
    return path.scale(t_next) * (x / path.scale(t) + step * slope)


def _renoise(path: Path, x: Sites, slope: Sites, t: At, t_next: At, key: Key) -> Sites:
    """A draw of x at `t_next` given x at `t` and the data: some of the noise stays, the rest is fresh."""
    x0, eps = endpoints(x, slope, t, path)
    stays = path.sigma(t_next) * path.alpha(t) / (path.alpha(t_next) * path.sigma(t))
    fresh = jnp.sqrt(jnp.maximum(1 - jnp.square(stays), 0)) * jax.random.normal(key, x.shape)
    return path.alpha(t_next) * x0 + path.sigma(t_next) * (stays * eps + fresh)
