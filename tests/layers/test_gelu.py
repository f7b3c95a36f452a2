# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GELU whose backward pass keeps its input alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.layers.gelu import gelu

X = np.concatenate([np.linspace(-8, 8, 4001), [-1e6, -40, 0, 40, 1e6]])
LAYERS, ROWS, FEATURES = 6, 512, 64


def exact(x):
    """Value and derivative of its tanh form, in float64."""
    a, b = np.sqrt(2 / np.pi), 0.044715
    t = np.tanh(a * (x + b * x**3))
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * a * (1 + 3 * b * x**2)


@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-6), ("bfloat16", 0.02)])
def test_it_and_its_gradient(dtype, within):
    x = jnp.asarray(X, dtype)
    y, back = jax.vjp(gelu, x)
    (dy,) = back(jnp.ones_like(y))
    assert y.dtype == dy.dtype == x.dtype
    for found, expected in zip((y, dy), exact(np.asarray(x, np.float64))):
        np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=within, atol=within)


def bytes_of(of):
    """Memory of a compiled gradient through layers, besides its arguments and what it puts out."""

    def loss(x, kernels):
        for kernel in kernels:
            x = x + of(x @ kernel)
        return x.sum()

    kernels = jnp.zeros((LAYERS, FEATURES, FEATURES))
    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((ROWS, FEATURES)), kernels).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_the_compiled_backward_pass_keeps_the_input_alone():
    inputs = LAYERS * 4 * ROWS * FEATURES
    assert bytes_of(gelu) < 1.25 * inputs < bytes_of(lambda x: jax.nn.gelu(x, approximate=True))
