# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""The paths between data and noise.

Convention: t = 0 is data and t = 1 is noise,

    x_t = alpha(t) x_0 + sigma(t) eps,        logsnr(t) = log(alpha^2 / sigma^2).

| path | alpha | sigma | of |
|---|---|---|---|
| `linear` | 1 - t | t | Liu et al. 2023, arXiv 2209.03003, eq. 1; Lipman et al. 2023, arXiv 2210.02747 |
| `cosine` | cos(pi t / 2) | sin(pi t / 2) | Salimans and Ho 2022, arXiv 2202.00512; SiT's GVP |
| `variance_preserving` | exp(-B / 2) | sqrt(1 - exp(-B)) | Song et al. 2021, arXiv 2011.13456, eq. 33 |

with B(t) = 0.1 t + 9.95 t^2. The last is the limit of DDPM's 1000 betas from 1e-4 to 0.02: t = (k + 1) / 1000
is its step k, whose logsnr it meets within 0.1. It is taken in place of the table because it has a value, a
derivative and an inverse at every t, so that any number of steps and any law of t can use it.

**Every path is the straight one, rescaled**: x_t / scale = (1 - tau) x_0 + tau eps with scale = alpha + sigma
and tau = sigma / scale. So what the network's output is turned into is on every path `velocity = eps - x_0`,
along which samplers step; losses of all paths can be measured on it.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

At = Float[Array, "*shape"]  # times of any shape, and what there is one of at each
Cast = Float[Array, "..."]  # the same, to be broadcast against others
Const = Cast | float

LEAST_SIGMA = 1e-4  # what the slope of sigma is bounded by, where it would be infinite at t = 0


class Path:
    """What follows of `alpha`, `sigma`, their slopes and the inverse of `logsnr`."""

    def logsnr(self, t: At) -> At:
        """`log(alpha^2 / sigma^2)`; infinite where one of them is 0."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def scale(self, t: At) -> Const:
        """Of the straight path, to make this one."""
        return self.alpha(t) + self.sigma(t)

    def straight_time(self, t: At) -> At:
        """The time of the straight path that has this one's ratio of noise to data."""
        return self.sigma(t) / self.scale(t)

    def variance(self, t: At) -> At:
        """Of x_t, for data of unit variance."""
        return jnp.square(self.alpha(t)) + jnp.square(self.sigma(t))

    def excess(self, t: At) -> At:
        """Of noise over data: `sigma - alpha`."""
        return self.sigma(t) - self.alpha(t)

    def turn(self, t: At) -> Const:
        """`alpha sigma' - sigma alpha'`: the velocity dx_t/dt is `scale' / scale x_t + turn / scale (eps - x0)`."""
        return self.alpha(t) * self.sigma_slope(t) - self.sigma(t) * self.alpha_slope(t)

    def shift(self, t: Cast, factor: Const) -> Cast:
        """The time at which there is `factor` times as much noise to the data."""
        return self.time_of(self.logsnr(t) - 2 * jnp.log(factor))


class Linear(Path):
    """The straight path, on which all else is defined."""

    def alpha(self, t: At) -> At:
        return 1 - t

    def sigma(self, t: At) -> At:
        return t

    def alpha_slope(self, t: At) -> float:
        return -1.0

    def sigma_slope(self, t: At) -> float:
        return 1.0

    def time_of(self, logsnr: At) -> At:
        return jax.nn.sigmoid(-logsnr / 2)

    def scale(self, t: At) -> float:
        return 1.0

    def excess(self, t: At) -> At:
        return 2 * t - 1

    def turn(self, t: At) -> float:
        return 1.0

    def shift(self, t: Cast, factor: Const) -> Cast:
        return factor * t / (1 + (factor - 1) * t)


class Cosine(Path):
    """A quarter of a circle."""

    def alpha(self, t: At) -> At:
        return jnp.sin(math.pi / 2 * (1 - t))  # exactly 0 at t = 1

    def sigma(self, t: At) -> At:
        return jnp.sin(math.pi / 2 * t)

    def alpha_slope(self, t: At) -> At:
        return -math.pi / 2 * self.sigma(t)

    def sigma_slope(self, t: At) -> At:
        return math.pi / 2 * self.alpha(t)

    def time_of(self, logsnr: At) -> At:
        return 2 / math.pi * jnp.arctan(jnp.exp(-logsnr / 2))


class VariancePreserving(Path):
    """Betas that grow linearly from `FIRST` to `LAST`; at t = 1 a little of the data is left (alpha 0.0066)."""

    FIRST, LAST = 0.1, 20.0

    def _integral(self, t: At) -> At:
        return self.FIRST * t + (self.LAST - self.FIRST) / 2 * jnp.square(t)

    def _beta(self, t: At) -> At:
        return self.FIRST + (self.LAST - self.FIRST) * t

    def alpha(self, t: At) -> At:
        return jnp.exp(-self._integral(t) / 2)

    def sigma(self, t: At) -> At:
        return jnp.sqrt(-jnp.expm1(-self._integral(t)))

    def alpha_slope(self, t: At) -> At:
        return -self._beta(t) / 2 * self.alpha(t)

    def sigma_slope(self, t: At) -> At:
        return self._beta(t) / 2 * jnp.square(self.alpha(t)) / jnp.maximum(self.sigma(t), LEAST_SIGMA)

    def logsnr(self, t: At) -> At:
        return -jnp.log(jnp.expm1(self._integral(t)))

    def time_of(self, logsnr: At) -> At:
        """At most 1: there is no more noise than there."""
        integral = jax.nn.softplus(-logsnr)
        root = jnp.sqrt(self.FIRST**2 + 2 * (self.LAST - self.FIRST) * integral)
        return jnp.minimum(2 * integral / (self.FIRST + root), 1)


PATHS = {"linear": Linear(), "cosine": Cosine(), "variance_preserving": VariancePreserving()}
