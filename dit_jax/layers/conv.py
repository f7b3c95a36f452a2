# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Convolutions of a U-Net over clips: within frames, and across them; normalisation by groups; resampling."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType

Features = Float[Array, "B t h w c"]
Convolved = Float[Array, "B t _h _w d"]


class Conv2d(nnx.Module):
    """2-D convolution of every frame, centred; outside the picture it is zero. In `dtype`.

    At stride 2 it halves height and width, rounding up.

    Args:
      in_channels: of the input.
      out_channels: of the output.
      kernel_size: height and width; odd.
      rngs: the stream `params` initialises the kernel.
      stride: of the windows, in height and width.
      scale: the kernel is normal with variance `scale / fan in`; 0 makes the layer output zero.
      dtype: of the computation; parameters are float32.

    Raises:
      ValueError: `kernel_size` is even.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        rngs: nnx.Rngs,
        stride: int = 1,
        scale: float = 1.0,
        dtype: DType = jnp.float32,
    ):
        _check_odd(kernel_size)
        init = nnx.initializers
        init = init.variance_scaling(scale, "fan_in", "normal") if scale else init.zeros
        self.kernel = nnx.Param(init(rngs.params(), (kernel_size, kernel_size, in_channels, out_channels)))
        self.bias = nnx.Param(jnp.zeros((out_channels,)))
        self.stride = stride
        self.dtype = dtype

    def __call__(self, x: Features) -> Convolved:
        frames = x.reshape(-1, *x.shape[2:]).astype(self.dtype)
        half = (self.kernel.shape[0] // 2,) * 2
        y = jax.lax.conv_general_dilated(
            frames,
            self.kernel[...].astype(self.dtype),
            (self.stride, self.stride),
            [half, half],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.reshape(*x.shape[:2], *y.shape[1:]) + self.bias[...].astype(self.dtype)

    def flops(self, shape: tuple[int, int, int]) -> int:
        """Twice the multiply-adds for an input `(t, h, w)`, without those of the zero border."""
        size, _, in_channels, out_channels = self.kernel.shape
        height, width = (taps_inside(size, length, self.stride) for length in shape[1:])
        return 2 * shape[0] * height * width * in_channels * out_channels


class TemporalConv(nnx.Module):
    """1-D convolution of every pixel over time, centred; before and after the clip it is zero. In `dtype`.

    Args:
      in_channels: of the input.
      out_channels: of the output.
      kernel_size: frames; odd.
      rngs: the stream `params` initialises the kernel.
      scale: the kernel is normal with variance `scale / fan in`; 0 makes the layer output zero.
      identity: the kernel gives the input back instead (Singer et al. 2022, Make-A-Video, arXiv 2209.14792,
        section 3.2.1), at equally many channels.
      dtype: of the computation; parameters are float32.

    Raises:
      ValueError: `kernel_size` is even, or `identity` changes the number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        rngs: nnx.Rngs,
        scale: float = 1.0,
        identity: bool = False,
        dtype: DType = jnp.float32,
    ):
        _check_odd(kernel_size)
        if identity and in_channels != out_channels:
            raise ValueError(f"identity needs {in_channels} channels out, not {out_channels}")
        shape = (kernel_size, in_channels, out_channels)
        if identity:
            kernel = jnp.zeros(shape).at[kernel_size // 2].set(jnp.eye(in_channels))
        else:
            init = nnx.initializers
            init = init.variance_scaling(scale, "fan_in", "normal") if scale else init.zeros
            kernel = init(rngs.params(), shape)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros((out_channels,)))
        self.dtype = dtype

    def __call__(self, x: Features) -> Float[Array, "B t h w d"]:
        # One product for all taps, then shifted sums: it keeps only x for its gradient, and on a CPU it is
        # faster than a convolution.
        size, in_channels, out_channels = self.kernel.shape
        kernel = self.kernel[...].astype(self.dtype).swapaxes(0, 1).reshape(in_channels, -1)
        taps = x.reshape(-1, in_channels).astype(self.dtype) @ kernel
        taps = taps.reshape(*x.shape[:-1], size, out_channels)
        taps = jnp.pad(taps, ((0, 0), (size // 2,) * 2, *[(0, 0)] * 4))
        shifted = (taps[:, i : i + x.shape[1], ..., i, :] for i in range(size))
        return sum(shifted) + self.bias[...].astype(self.dtype)

    def flops(self, shape: tuple[int, int, int]) -> int:
        """Twice the multiply-adds for an input `(t, h, w)`: all taps of all frames, as they are computed."""
        return 2 * shape[0] * shape[1] * shape[2] * self.kernel.size


class GroupNorm(nnx.Module):
    """Zero mean and unit variance within groups of channels, in float32, then gain and bias.

    Wu and He 2018, "Group Normalization", arXiv 1803.08494, eq. 7.

    Args:
      channels: of the input.
      num_groups: of neighbouring channels; divides `channels`.
      axes: how many axes before the channels share their statistics: 2 for each frame alone, 3 for each clip;
        with 0 and one group this is LayerNorm.
      epsilon: added to the variance.

    Raises:
      ValueError: `num_groups` does not divide `channels`.
    """

    def __init__(self, channels: int, num_groups: int = 32, *, axes: int = 2, epsilon: float = 1e-5):
        if num_groups < 1 or channels % num_groups:
            raise ValueError(f"num_groups={num_groups} does not divide channels={channels}")
        self.gain = nnx.Param(jnp.ones((channels,)))
        self.bias = nnx.Param(jnp.zeros((channels,)))
        self.num_groups = num_groups
        self.axes = axes
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        x32 = x.astype(jnp.float32)
        x32 = x32 - self._mean(x32)
        scale = jax.lax.rsqrt(self._mean(jnp.square(x32)) + self.epsilon) * self.gain[...]
        return (x32 * scale + self.bias[...]).astype(x.dtype)

    def _mean(self, x: Float[Array, "*batch c"]) -> Float[Array, "*shared c"]:
        """Over pixels first, where memory is read in order, then over the channels of a group."""
        mean = x.mean(tuple(range(x.ndim - 1 - self.axes, x.ndim - 1)), keepdims=True)
        groups = mean.reshape(*mean.shape[:-1], self.num_groups, -1)
        return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(mean.shape)


def upsample(x: Features, size: tuple[int, int]) -> Float[Array, "B t _h _w c"]:
    """Doubles height and width by repetition, then leaves off what is beyond `size` (a row or column).

    It undoes the halving of a `Conv2d` at stride 2 for odd sizes, too.
    """
    x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
    return x[:, :, : size[0], : size[1]]


def taps_inside(kernel_size: int, length: int, stride: int = 1) -> int:
    """Taps of a centred kernel that fall inside a line of `length` pixels, over all its windows."""
    half = kernel_size // 2
    centres = range(0, length, stride)
    return sum(min(length - 1, c + half) - max(0, c - half) + 1 for c in centres)


def _check_odd(kernel_size: int) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size} has no centre: use an odd one")
