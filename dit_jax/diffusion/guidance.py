# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance."""

import jax.numpy as jnp

from dit_jax.arrays import NullIds
from dit_jax.diffusion.path import Network


def guided(velocity: Network, null_ids: NullIds, scale: float) -> Network:
    """The velocity under guidance: `v(null) + scale * (v(text) - v(null))`.

    Ho and Salimans 2022, arXiv 2207.12598, eq. 6, with `scale` = 1 + w: 1 is no guidance, and costs
    one evaluation instead of two, which are done in one batch.
    """
    if scale == 1:
        return velocity

    def double(a):
        return None if a is None else jnp.concatenate([a, a])

    def guided_velocity(x_t, t, text_ids, known=None):
        ids = jnp.concatenate([text_ids, jnp.broadcast_to(null_ids, text_ids.shape)])
        conditional, null = jnp.split(velocity(double(x_t), double(t), ids, double(known)), 2)
        return null + scale * (conditional - null)

    return guided_velocity
