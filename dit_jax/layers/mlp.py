# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The two-layer perceptron of a transformer block."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers.dense import Dense


class MLP(nnx.Module):
    """Dense, GELU (tanh form), Dense.

    Args:
      width: of input and output.
      hidden: width in between.
      rngs: for the kernels.
      dtype: of the computation.
    """

    def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs, dtype: DType = jnp.float32):
        self.up = Dense(width, hidden, rngs=rngs, dtype=dtype)
        self.down = Dense(hidden, width, rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return self.down(jax.nn.gelu(self.up(x), approximate=True))
