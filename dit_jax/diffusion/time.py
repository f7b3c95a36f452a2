# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which diffusion times are trained and sampled."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Key, Time

LAWS = ("uniform", "logit_normal")


def shift_time(t: Float[Array, "*shape"], shift: float) -> Float[Array, "*shape"]:
    """`s t / (1 + (s - 1) t)`: more time at high noise for `shift` > 1.

    Esser et al. 2024, "Scaling Rectified Flow Transformers", arXiv 2403.03206, eq. 23.
    """
    return shift * t / (1 + (shift - 1) * t)


def draw_time(key: Key, batch_size: int, law: str = "uniform", shift: float = 1.0) -> Time:
    """Times of a batch, stratified: the i-th comes from the i-th of `batch_size` equal shares of the law.

    Stratifying leaves the law as it is and takes most of the variance between batches away.
    """
    offset, order = jax.random.split(key)
    u = (jnp.arange(batch_size) + jax.random.uniform(offset, (batch_size,))) / batch_size
    u = jax.random.permutation(order, u)
    if law == "logit_normal":
        u = jax.nn.sigmoid(jax.scipy.stats.norm.ppf(jnp.clip(u, 1e-6, 1 - 1e-6)))
    return shift_time(u, shift)


def time_bins(num_bins: int, shift: float = 1.0) -> Float[Array, " bins"]:
    """Midpoints of equal shares of the (shifted) uniform law: the fixed times of an evaluation."""
    return shift_time((jnp.arange(num_bins) + 0.5) / num_bins, shift)
