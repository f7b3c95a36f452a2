# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""Where a path leads through, and what a network's output stands for on it.

Every output is linear in x_t and the velocity eps - x_0 (see `schedule`), so that each is one row of a table:
`velocity = skip x_t + gain / divisor * output`, and any converts into any other.

| output | stands for | reads |
|---|---|---|
| `velocity` | dx_t/dt of the path (Lipman et al. 2023, arXiv 2210.02747, eq. 14) | x_t |
| `x0` | the data | x_t |
| `eps` | the noise (Ho et al. 2020, arXiv 2006.11239, eq. 12) | x_t |
| `v` | (alpha eps - sigma x_0) / sqrt(d) (Salimans and Ho 2022, arXiv 2202.00512, appendix D) | x_t |
| `residual` | the same | x_t / sqrt(d) |
| `edm` | F of Karras et al. 2022, arXiv 2206.00364, eq. 7, with their sigma = sigma / alpha | as there |

with d = alpha^2 + sigma^2, 1 on the cosine and variance-preserving paths, where `residual` is `v`.

Why `residual` is the default. For data of zero mean and unit variance the best linear guess of the velocity
from x_t is (sigma - alpha) / d x_t, on the straight path (2t - 1) / d x_t, and sqrt(d) / scale times what
remains is v: inputs and targets have unit variance at every t, and no rank of the network is needed to carry
noise through. `edm` with sigma_data = 1 is the same up to the sign.
"""

from collections.abc import Callable

import jax.numpy as jnp

from dit_jax.arrays import Cond, KnownSites, Sites, Times
from dit_jax.diffusion.schedule import PATHS, At, Const, Path
from dit_jax.diffusion.sites import expand

EDGE = 1e-3  # how near an output is used to where it says nothing of the velocity
# Times at which the velocity follows from the output: x_0 does not tell it at t = 0, nor eps at t = 1.
LIMITS = {"x0": (EDGE, 1.0), "eps": (0.0, 1.0 - EDGE)}

# (x_t, t, cond, known) -> the network's raw output, or the velocity
Network = Callable[[Sites, Times, Cond, KnownSites | None], Sites]
Row = tuple[Const, Const, Const]  # skip, gain and divisor


def add_noise(x0: Sites, eps: Sites, t: Times, cond: Cond, path: str = "linear") -> Sites:
    """x_t between data `x0` and noise `eps`."""
    t = expand(t, x0, cond)
    return PATHS[path].alpha(t) * x0 + PATHS[path].sigma(t) * eps


def velocity_target(x0: Sites, eps: Sites) -> Sites:
    """The velocity of the straight path, the same all along it."""
    return eps - x0


def endpoints(x_t: Sites, velocity: Sites, t: At, path: Path) -> tuple[Sites, Sites]:
    """The data and the noise between which `velocity = eps - x0` leads through `x_t`; `t` is expanded."""
    x0 = x_t / path.scale(t) - path.straight_time(t) * velocity
    return x0, x0 + velocity


def _v(path: Path, t: At, sigma_data: float) -> Row:
    variance = path.variance(t)
    return path.excess(t) / variance, path.scale(t), jnp.sqrt(variance)


def _edm_variance(path: Path, t: At, sigma_data: float) -> At:
    return jnp.square(path.sigma(t)) + jnp.square(sigma_data * path.alpha(t))


def _edm(path: Path, t: At, sigma_data: float) -> Row:
    variance = _edm_variance(path, t, sigma_data)
    skip = (path.sigma(t) - sigma_data**2 * path.alpha(t)) / variance
    return skip, -sigma_data * path.scale(t), jnp.sqrt(variance)


def _slope(path: Path, t: At, sigma_data: float) -> Row:
    growth = path.alpha_slope(t) + path.sigma_slope(t)
    return -growth / path.turn(t), path.scale(t), path.turn(t)


OUTPUTS = {
    "residual": _v,
    "velocity": _slope,
    "x0": lambda path, t, _: (1 / path.sigma(t), -path.scale(t), path.sigma(t)),
    "eps": lambda path, t, _: (-1 / path.alpha(t), path.scale(t), path.alpha(t)),
    "v": _v,
    "edm": _edm,
}
# The variance by which the network's input is divided; others read x_t itself.
INPUT_VARIANCE = {"residual": lambda path, t, _: path.variance(t), "edm": _edm_variance}


def _row(output: str, path: str, t: At, sigma_data: float) -> Row:
    if output in LIMITS:  # beyond are known sites alone, at t = 0
        t = jnp.clip(t, *LIMITS[output])
    return OUTPUTS[output](PATHS[path], t, sigma_data)


def velocity_from(
    value: Sites, output: str, x_t: Sites, t: At, path: str = "linear", sigma_data: float = 1.0
) -> Sites:
    """The velocity `eps - x0` that an output `value` at `x_t` stands for; `t` is expanded to the sites."""
    skip, gain, divisor = _row(output, path, t, sigma_data)
    return skip * x_t + gain * value / divisor


def output_from(
    velocity: Sites, output: str, x_t: Sites, t: At, path: str = "linear", sigma_data: float = 1.0
) -> Sites:
    """The inverse of `velocity_from`: what a network with this `output` must say."""
    skip, gain, divisor = _row(output, path, t, sigma_data)
    return (velocity - skip * x_t) * divisor / gain


def as_velocity(network: Network, output: str, path: str = "linear", sigma_data: float = 1.0) -> Network:
    """The velocity `eps - x0` that a network with the given `output` stands for.

    Raises:
      ValueError: `output` is not in `OUTPUTS`.
    """
    if output not in OUTPUTS:
        raise ValueError(f"output={output!r} is not one of {', '.join(OUTPUTS)}")

    def velocity(x_t: Sites, t: Times, cond: Cond, known: KnownSites | None = None) -> Sites:
        time = expand(t, x_t, cond)
        time = time if known is None else jnp.where(known, 0.0, time)
        seen = x_t
        if output in INPUT_VARIANCE:
            seen = x_t / jnp.sqrt(INPUT_VARIANCE[output](PATHS[path], time, sigma_data))
        return velocity_from(network(seen, t, cond, known), output, x_t, time, path, sigma_data)

    return velocity
