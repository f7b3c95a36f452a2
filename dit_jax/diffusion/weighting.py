# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""What the loss measures.

Errors of x_0, eps, v and the velocity are the same error but for a factor that depends on t, so that a loss is
one weight on the squared error of `velocity = eps - x0`, whatever the network's output stands for. With
lambda = logsnr, the weights on the squared error of x_0 that those here come from:

| loss | weight on \|x_0 error\|^2 | source |
|---|---|---|
| `velocity` | (turn / sigma)^2: the error of dx_t/dt | Lipman et al. 2023, arXiv 2210.02747, eq. 14 |
| `x0` | 1 | |
| `eps` | exp(lambda) | Ho et al. 2020, arXiv 2006.11239, eq. 14 |
| `v` | exp(lambda) + 1 | Salimans and Ho 2022, arXiv 2202.00512, section 4 |
| `edm` | exp(lambda) + 1 / sigma_data^2 | Karras et al. 2022, arXiv 2206.00364, table 1 |
| `min_snr` | min(exp(lambda), gamma) | Hang et al. 2023, arXiv 2303.09556 |
| `sigmoid` | -dlambda/dt / 2 exp(b) sigmoid(lambda - b) | Kingma and Gao 2023, arXiv 2303.00848 |

The last is that of Hoogeboom et al. 2024, arXiv 2410.19324, too. A law of t is a weight as well: `sigmoid` is
meant for uniform t, whose density it divides out.
"""

import math

import jax.numpy as jnp

from dit_jax.diffusion.schedule import At, Path


def _sigmoid(path: Path, t: At, bias: float) -> At:
    """exp(b) sigmoid(lambda - b) is 1 / (exp(-lambda) + exp(-b)), and -dlambda/dt is 2 turn / (alpha sigma)."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    noisy = jnp.square(sigma) + math.exp(-bias) * jnp.square(alpha)
    return path.turn(t) * alpha * sigma / noisy / jnp.square(path.scale(t))


# name: (path, t, config) -> weight on the squared error of eps - x0, which is scale / sigma times that of x0
LOSSES = {
    "velocity": lambda path, t, _: (path.turn(t) / path.scale(t)) ** 2,
    "x0": lambda path, t, _: jnp.square(path.sigma(t) / path.scale(t)),
    "eps": lambda path, t, _: jnp.square(path.alpha(t) / path.scale(t)),
    "v": lambda path, t, _: path.variance(t) / jnp.square(path.scale(t)),
    "edm": lambda path, t, config: (
        (jnp.square(path.alpha(t)) + jnp.square(path.sigma(t) / config.sigma_data))
        / jnp.square(path.scale(t))
    ),
    "min_snr": lambda path, t, config: (
        jnp.minimum(jnp.square(path.alpha(t)), config.min_snr_gamma * jnp.square(path.sigma(t)))
        / jnp.square(path.scale(t))
    ),
    "sigmoid": lambda path, t, config: _sigmoid(path, t, config.sigmoid_bias),
}
