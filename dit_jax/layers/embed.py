# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Embedding of diffusion time."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import Time
from dit_jax.layers.dense import Dense

TIME_SCALE = 1000.0  # t in [0, 1] is read as a timestep in [0, 1000], as the published models do


def sinusoids(
    t: Time, num_features: int, max_period: float = 10_000.0, scale: float = TIME_SCALE
) -> Float[Array, "B num_features"]:
    """Cosines and sines of `scale * t` at geometric frequencies (Ho et al. 2020, DDPM, appendix B)."""
    half = num_features // 2
    frequency = jnp.exp(-math.log(max_period) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = scale * t.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


class TimeEmbedding(nnx.Module):
    """Sinusoids of t through a two-layer perceptron: `B -> B D`.

    Args:
      width: of the embedding.
      rngs: for the kernels.
      num_features: sinusoids; even.
      scale: of t.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, num_features: int = 256, scale: float = TIME_SCALE):
        self.num_features, self.scale = num_features, scale
        self.up = Dense(num_features, width, rngs=rngs)
        self.down = Dense(width, width, rngs=rngs)

    def __call__(self, t: Time) -> Float[Array, "B D"]:
        return self.down(jax.nn.silu(self.up(sinusoids(t, self.num_features, scale=self.scale))))
