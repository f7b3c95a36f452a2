# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance."""

import jax
import jax.numpy as jnp

from dit_jax.arrays import Cond
from dit_jax.diffusion.path import Network
from dit_jax.diffusion.sites import num_clips, without_text


def guided(velocity: Network, null: Cond, scale: float) -> Network:
    """The velocity under guidance: `v(null) + scale * (v(text) - v(null))`.

    Ho and Salimans 2022, arXiv 2207.12598, eq. 6, with `scale` = 1 + w: 1 is no guidance, and costs
    one evaluation instead of two, which are done in one batch.
    """
    if scale == 1:
        return velocity

    def guided_velocity(x_t, t, cond, known=None):
        unconditional = without_text(cond, null, jnp.ones(num_clips(x_t, cond), bool))
        cond = {name: jnp.concatenate([value, unconditional[name]]) for name, value in cond.items()}
        twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), (x_t, t, known))
        conditional, null_velocity = jnp.split(velocity(*twice[:2], cond, twice[2]), 2)
        return null_velocity + scale * (conditional - null_velocity)

    return guided_velocity
