# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Gaussian error linear unit, of which the backward pass keeps the input alone."""

import math

import jax
from jaxtyping import Array, Float

LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR


@jax.custom_vjp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU in its tanh form (Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2), as `1 + tanh(u)` is
    `2 sigmoid(2u)`.

    Of `jax.nn.gelu` four arrays as large as `x` are kept for the backward pass. Here its gradient is made from `x` in
    one pass over memory. The argument is in another order there, or XLA would find it to be the same and keep it.
    """
    return x * jax.nn.sigmoid(x * (x * (x * CUBIC) + LINEAR))


def _backward(x: Array, dy: Array) -> tuple[Array]:
    square = x * x
    share = jax.nn.sigmoid(x * (square * CUBIC + LINEAR))
    return (dy * share * (1 + x * (1 - share) * (3 * CUBIC * square + LINEAR)),)


gelu.defvjp(lambda x: (gelu(x), x), _backward)
