# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A matrix product over the last axis."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers.sharded import product


class Dense(nnx.Module):
    """`x @ kernel + bias` over the last axis, in `dtype`, with float32 parameters.

    Args:
      in_features: width of the input.
      out_features: width of the output.
      rngs: the stream `params` initialises the kernel.
      use_bias: adds a bias, zero at initialisation.
      scale: the kernel is normal with variance `scale / in_features`; 0 makes the layer output zero.
      dtype: of the computation.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rngs: nnx.Rngs,
        use_bias: bool = True,
        scale: float = 1.0,
        dtype: DType = jnp.float32,
    ):
        init = (
            nnx.initializers.variance_scaling(scale, "fan_in", "normal") if scale else nnx.initializers.zeros
        )
        self.kernel = nnx.Param(init(rngs.params(), (in_features, out_features), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((out_features,), jnp.float32)) if use_bias else None
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        y = product(x, self.kernel[...], self.dtype)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)
