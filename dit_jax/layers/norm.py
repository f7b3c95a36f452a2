# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Normalisation, and modulation by a condition (adaLN)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.layers.norm_cpu import EPSILON, normalised, of_one_clip, one_clip
from dit_jax.mesh import platform


def layer_norm(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Zero mean and unit variance over the last axis, computed in float32, without parameters.

    Ba et al. 2016, "Layer Normalization", arXiv 1607.06450, eq. 3, without gain and bias. The variance of bfloat16 is
    the mean square less the square of the mean, so that one pass makes both, and one their gradients: what float32
    cuts off of the squares is less than what bfloat16 has cut off of `x`.
    """
    if one_clip(x):
        return normalised(x.astype(jnp.float32), True).astype(x.dtype)
    mean, variance = _mean_and_variance(x)
    return _over_root(x.astype(jnp.float32) - mean, variance).astype(x.dtype)


def _mean_and_variance(
    x: Float[Array, "*batch d"],
) -> tuple[Float[Array, "*batch 1"], Float[Array, "*batch 1"]]:
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    if x.dtype == jnp.bfloat16:
        return mean, jnp.maximum(jnp.square(x32).mean(-1, keepdims=True) - jnp.square(mean), 0)
    return mean, jnp.square(x32 - mean).mean(-1, keepdims=True)


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
    if axes == -1 and one_clip(x):
        return (normalised(x32, False) * gain).astype(x.dtype)
    return (_over_root(x32, jnp.square(x32).mean(axes, keepdims=True)) * gain).astype(x.dtype)


def modulate(
    x: Float[Array, "*batch d"], shift: Float[Array, "*#batch d"], scale: Float[Array, "*#batch d"]
) -> Float[Array, "*batch d"]:
    """`layer_norm(x) * (1 + scale) + shift`: Peebles and Xie 2023 (DiT), arXiv 2212.09748, section 3.2."""
    if platform() == "tpu" and x.ndim == shift.ndim == 3 and shift.shape[1] == 1:
        return _modulate(x, shift, scale)
    return times(layer_norm(x), 1 + scale) + shift


def times(x: Float[Array, "*batch d"], of_clips: Float[Array, "*#batch d"]) -> Float[Array, "*batch d"]:
    """`x * of_clips`."""
    return of_one_clip(x, of_clips) if one_clip(x) and of_clips.shape[:-1] == (1, 1) else x * of_clips


@jax.custom_vjp
def _modulate(
    x: Float[Array, "B N d"], shift: Float[Array, "B 1 d"], scale: Float[Array, "B 1 d"]
) -> Float[Array, "B N d"]:
    """`modulate` by what is one for all tokens of a clip.

    Its backward pass has what it sums over features before what it sums over tokens: the former can then be summed
    by the product that makes the gradient, the latter in the pass that makes that of `x`. Left to itself XLA takes
    two passes more.
    """
    return layer_norm(x) * (1 + scale) + shift


def _modulate_backward(kept: tuple[Array, Array, Array], out: Array) -> tuple[Array, Array, Array]:
    x, shift, scale = kept
    mean, variance = _mean_and_variance(x)
    root, slope = jax.lax.rsqrt(variance + EPSILON), (1 + scale).astype(jnp.float32)
    normed = (x.astype(jnp.float32) - mean) * root
    of_normed = out * slope
    means = of_normed.mean(-1, keepdims=True), (of_normed * normed).mean(-1, keepdims=True)
    out, means = jax.lax.optimization_barrier((out, means))
    of_scale = (out * normed.astype(out.dtype)).sum(1, keepdims=True)  # as all that modulates, in bfloat16
    of_shift = out.sum(1, keepdims=True)
    of_x = root * (out * slope - means[0] - normed * means[1])
    return of_x.astype(x.dtype), of_shift.astype(shift.dtype), of_scale.astype(scale.dtype)


_modulate.defvjp(lambda *args: (_modulate(*args), args), _modulate_backward)
