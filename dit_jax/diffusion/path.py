# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""The straight path between data and noise, and what can be predicted on it.

Convention: t = 0 is data and t = 1 is noise,

    x_t = (1 - t) x_0 + t eps,        velocity = dx_t/dt = eps - x_0

(Lipman et al. 2023, "Flow Matching for Generative Modeling", arXiv 2210.02747, with time reversed;
Liu et al. 2023, "Rectified Flow", arXiv 2209.03003, eq. 1). Any of x_0, eps and the velocity gives the
others together with x_t.

`residual` output. For data of zero mean and unit variance the best linear guess of the velocity from x_t
is (2t - 1) / d * x_t with d = (1 - t)^2 + t^2, and what remains has variance 1 / d. A network that reads
x_t / sqrt(d) and predicts sqrt(d) times that remainder has inputs and targets of unit variance at every t,
and needs no rank to carry noise through (the reasoning of Karras et al. 2022, arXiv 2206.00364, section 5,
for this path).
"""

from collections.abc import Callable

import jax.numpy as jnp

from dit_jax.arrays import Cond, KnownSites, Sites, Times
from dit_jax.diffusion.sites import expand

OUTPUTS = ("residual", "velocity")

# (x_t, t, cond, known) -> the network's raw output, or the velocity
Network = Callable[[Sites, Times, Cond, KnownSites | None], Sites]


def add_noise(x0: Sites, eps: Sites, t: Times, cond: Cond) -> Sites:
    """x_t between data `x0` and noise `eps`."""
    t = expand(t, x0, cond)
    return (1 - t) * x0 + t * eps


def velocity_target(x0: Sites, eps: Sites) -> Sites:
    """dx_t/dt, the same all along the path."""
    return eps - x0


def x0_from_velocity(x_t: Sites, velocity: Sites, t: Times, cond: Cond) -> Sites:
    """The data that `velocity` at `x_t` points away from."""
    return x_t - expand(t, x_t, cond) * velocity


def eps_from_velocity(x_t: Sites, velocity: Sites, t: Times, cond: Cond) -> Sites:
    """The noise that `velocity` at `x_t` points to."""
    return x_t + (1 - expand(t, x_t, cond)) * velocity


def as_velocity(network: Network, output: str) -> Network:
    """The velocity that a network with the given `output` stands for.

    Raises:
      ValueError: `output` is neither `residual` nor `velocity`.
    """
    if output not in OUTPUTS:
        raise ValueError(f"output={output!r} is not one of {', '.join(OUTPUTS)}")
    if output == "velocity":
        return network

    def velocity(x_t, t, cond, known=None):
        time = expand(t, x_t, cond)
        time = time if known is None else jnp.where(known, 0.0, time)
        variance = jnp.square(1 - time) + jnp.square(time)
        raw = network(x_t / jnp.sqrt(variance), t, cond, known)
        return (2 * time - 1) / variance * x_t + raw / jnp.sqrt(variance)

    return velocity
