# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Normalisation, and modulation by a condition (adaLN)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.mesh import platform

EPSILON = 1e-6


def layer_norm(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Zero mean and unit variance over the last axis, computed in float32, without parameters.

    Ba et al. 2016, "Layer Normalization", arXiv 1607.06450, eq. 3, without gain and bias. The variance of bfloat16 is
    the mean square less the square of the mean, so that one pass makes both, and one their gradients: what float32
    cuts off of the squares is less than what bfloat16 has cut off of `x`.
    """
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    if x.dtype == jnp.bfloat16:
        variance = jnp.maximum(jnp.square(x32).mean(-1, keepdims=True) - jnp.square(mean), 0)
    else:
        variance = jnp.square(x32 - mean).mean(-1, keepdims=True)
    return _over_root(x32 - mean, variance).astype(x.dtype)


def _over_root(x: Float[Array, "*batch d"], square: Float[Array, "*#batch #d"]) -> Float[Array, "*batch d"]:
    """`x / sqrt(square + EPSILON)`.

    On a CPU by a division, which XLA does once; a product it makes anew for all that read it, at 2 to 4 % of a step.
    """
    if platform() == "cpu":
        return x / jnp.sqrt(square + EPSILON)
    return x * jax.lax.rsqrt(square + EPSILON)


class LayerNorm(nnx.Module):
    """`layer_norm` with a gain and a bias."""

    def __init__(self, width: int):
        self.gain = nnx.Param(jnp.ones((width,)))
        self.bias = nnx.Param(jnp.zeros((width,)))

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return (layer_norm(x) * self.gain[...] + self.bias[...]).astype(x.dtype)


def rms_norm(
    x: Float[Array, "*batch d"], gain: Float[Array, "*#batch d"], axes: int | tuple[int, ...] = -1
) -> Float[Array, "*batch d"]:
    """Unit root mean square over the last axis, or over `axes`, computed in float32, times `gain`.

    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", arXiv 1910.07467, eq. 4.
    """
    x32 = x.astype(jnp.float32)
    return (_over_root(x32, jnp.square(x32).mean(axes, keepdims=True)) * gain).astype(x.dtype)


def modulate(
    x: Float[Array, "*batch d"], shift: Float[Array, "*#batch d"], scale: Float[Array, "*#batch d"]
) -> Float[Array, "*batch d"]:
    """`layer_norm(x) * (1 + scale) + shift`: Peebles and Xie 2023 (DiT), arXiv 2212.09748, section 3.2."""
    if platform() == "tpu" and x.ndim == 3 and shift.shape[1] == 1 and x.dtype == jnp.bfloat16:
        return _modulate(x, shift, scale)
    return layer_norm(x) * (1 + scale) + shift


@jax.custom_vjp
def _modulate(x, shift, scale):
    return layer_norm(x) * (1 + scale) + shift


def _modulate_forward(x, shift, scale):
    return _modulate(x, shift, scale), (x, shift, scale)


def _modulate_backward(kept, out):
    x, shift, scale = kept
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    variance = jnp.maximum(jnp.square(x32).mean(-1, keepdims=True) - jnp.square(mean), 0)
    root = jax.lax.rsqrt(variance + EPSILON)
    normed = (x32 - mean) * root
    of_normed = out * (1 + scale).astype(jnp.float32)
    first = of_normed.mean(-1, keepdims=True)
    second = (of_normed * normed).mean(-1, keepdims=True)
    out, first, second = jax.lax.optimization_barrier((out, first, second))
    of_scale = (out * normed.astype(out.dtype)).sum(1, keepdims=True)
    of_shift = out.sum(1, keepdims=True)
    of_x = root * (out * (1 + scale).astype(jnp.float32) - first - normed * second)
    return of_x.astype(x.dtype), of_shift.astype(shift.dtype), of_scale.astype(scale.dtype)


_modulate.defvjp(_modulate_forward, _modulate_backward)
