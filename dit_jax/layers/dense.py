# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A matrix product over the last axis."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers.sharded import from_heads, gated_product, product, to_heads
from dit_jax.mesh import ambient, platform


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

    def gated(self, x: Float[Array, "B N i"], gate: Float[Array, "B #N o"]) -> Float[Array, "B N o"]:
        """What it puts out times `gate`."""
        return self._with_bias(gated_product(x, self.kernel[...], gate, self.dtype), gate)

    def _with_bias(self, y: Float[Array, "B N o"], gate: Float[Array, "B #N o"]) -> Float[Array, "B N o"]:
        if self.bias is None:
            return y
        return (y.astype(jnp.float32) + gate.astype(jnp.float32) * self.bias[...]).astype(y.dtype)

    def to_heads(self, x: Float[Array, "B N i"], num_heads: int) -> Float[Array, "B heads N head_dim"]:
        """What it puts out, by heads."""
        y = to_heads(x, self.kernel[...], num_heads, self.dtype)
        return y if self.bias is None else y + self.bias[...].reshape(num_heads, 1, -1).astype(self.dtype)

    def from_heads(
        self, x: Float[Array, "B heads N head_dim"], gate: Float[Array, "B #N o"] | None = None
    ) -> Float[Array, "B N o"]:
        """Of all heads side by side, times `gate`."""
        y = from_heads(x, self.kernel[...], self.dtype, gate)
        if gate is not None:
            return self._with_bias(y, gate)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


def side_by_side(
    layers: Sequence[Dense], x: Float[Array, "B N i"], num_heads: int
) -> list[Float[Array, "B heads N _"]]:
    """What each of `layers`, alike but in their numbers, makes of `x`, by heads.

    On one CPU by one product with their kernels side by side.
    """
    mesh, _ = ambient()
    if platform() != "cpu" or (mesh is not None and mesh.size > 1):
        return [layer.to_heads(x, num_heads) for layer in layers]
    y = product(x, jnp.concatenate([layer.kernel[...] for layer in layers], 1), layers[0].dtype)
    if layers[0].bias is not None:
        y = y + jnp.concatenate([layer.bias[...] for layer in layers]).astype(y.dtype)
    y = y.reshape(*y.shape[:2], len(layers), num_heads, -1)
    return [y[:, :, i].swapaxes(1, 2) for i in range(len(layers))]
