# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance, the same for all frames or growing along a clip."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Cond, Sites
from dit_jax.diffusion.path import Network
from dit_jax.diffusion.sites import coordinates, num_clips, without_text


def guided(velocity: Network, null: Cond, scale: float, last: float | None = None) -> Network:
    """The velocity under guidance: `v(null) + scale * (v(text) - v(null))`.

    Ho and Salimans 2022, arXiv 2207.12598, eq. 6, with `scale` = 1 + w: 1 is no guidance, and costs
    one evaluation instead of two, which are done in one batch. Where a path is affine in what is predicted,
    as all here are, guiding x_0, eps or v is the same.

    Args:
      velocity: `(x_t, t, cond, known) -> velocity`.
      null: what of `cond` stands for no text.
      scale: of all frames, or of the first where `last` is another.
      last: scale of the last frame; between them it is linear (Blattmann et al. 2023, Stable Video Diffusion,
        arXiv 2311.15127, section 4.3).
    """
    last = scale if last is None else last
    if scale == last == 1:
        return velocity

    def guided_velocity(x_t, t, cond, known=None):
        by_frame = scale if scale == last else frame_scales(x_t, cond, scale, last)
        unconditional = without_text(cond, null, jnp.ones(num_clips(x_t, cond), bool))
        cond = {name: jnp.concatenate([value, unconditional[name]]) for name, value in cond.items()}
        twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), (x_t, t, known))
        conditional, null_velocity = jnp.split(velocity(*twice[:2], cond, twice[2]), 2)
        return null_velocity + by_frame * (conditional - null_velocity)

    return guided_velocity


def frame_scales(x: Sites, cond: Cond, first: float, last: float) -> Float[Array, "#B *#sites 1"]:
    """From `first` at a clip's first latent frame to `last` at its last."""
    at, size = coordinates(x, cond)
    return first + (last - first) * at[..., 0] / jnp.maximum(size[..., 0] - 1, 1)
