# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The two-layer perceptron of a transformer block."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers.dense import Dense
from dit_jax.layers.gelu import gelu

KINDS = ("gelu", "swiglu")


class MLP(nnx.Module):
    """Dense, GELU (tanh form), Dense; or gated by a second branch: `silu(gate) * up` (Shazeer 2020, "GLU
    Variants Improve Transformer", arXiv 2002.05202, eq. 6).

    Args:
      width: of the input, and of the output unless it has its own.
      hidden: width in between.
      out_width: of the output, if it is another.
      kind: `gelu` or `swiglu`.
      rngs: for the kernels.
      dtype: of the computation.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        rngs: nnx.Rngs,
        out_width: int | None = None,
        kind: str = "gelu",
        dtype: DType = jnp.float32,
    ):
        self.up = Dense(width, hidden, rngs=rngs, dtype=dtype)
        self.gate = Dense(width, hidden, rngs=rngs, dtype=dtype) if kind == "swiglu" else None
        self.down = Dense(hidden, out_width or width, rngs=rngs, dtype=dtype)

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch o"]:
        return self.down(self._hidden(x))

    def gated(self, x: Float[Array, "B N d"], gate: Float[Array, "B #N o"]) -> Float[Array, "B N o"]:
        """What it puts out times `gate`."""
        return self.down.gated(self._hidden(x), gate)

    def _hidden(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch hidden"]:
        if self.gate is None:
            return gelu(self.up(x))
        return jax.nn.silu(self.gate(x)) * self.up(x)
