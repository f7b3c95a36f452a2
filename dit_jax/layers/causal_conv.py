# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Convolution and resampling of video that never look into the future.

The first frame is always alone: frame 0 of every output depends on frame 0 of the input only, so an image
is a video of one frame. With time compressed by r, T = 1 + k r frames become 1 + k: the first frame, then
k groups of r. (The scheme of MAGVIT-v2, arXiv 2310.05737.)

A long video may come in chunks. What a layer must remember of the chunks before is its cache, which its
`stream` method takes and returns; `None` begins a video.
"""

import math
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

Features = Float[Array, "B T H W C"]
Convolved = Float[Array, "B T H W D"]
Resampled = Float[Array, "B t h w c"]
History = Float[Array, "B K H W C"]
Cache = PyTree[Array]


@runtime_checkable
class Streamed(Protocol):
    """A layer that can be given a video in chunks."""

    def stream(self, x: Features, cache: Cache | None) -> tuple[Resampled, Cache]: ...


def stream_through(layers: Sequence[Streamed], x: Features, cache: Cache | None) -> tuple[Resampled, Cache]:
    """Runs a chunk through `layers` in turn; the cache is the tuple of theirs, and None begins a video."""
    after = []
    for layer, before in zip(layers, [None] * len(layers) if cache is None else cache, strict=True):
        x, remembered = layer.stream(x, before)
        after.append(remembered)
    return x, tuple(after)


class CausalConv3d(nnx.Module):
    """3-D convolution, causal in time and centred in space, at stride 1.

    Outside the picture the video is zero.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: (time, height, width); height and width odd.
      rngs: the stream `params` initialises the kernel.
      scale: the kernel is normal with variance `scale / fan in`; 0 makes the layer output zero.
      before: what is taken to come before the first frame: that frame, standing `still`, or `zero`.

    Raises:
      ValueError: for an even height or width of the kernel, or a size below one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int, int],
        *,
        rngs: nnx.Rngs,
        scale: float = 1.0,
        before: Literal["still", "zero"] = "still",
    ):
        if min(kernel_size) < 1 or kernel_size[1] % 2 == 0 or kernel_size[2] % 2 == 0:
            raise ValueError(
                f"kernel_size {kernel_size} must be positive with odd height and width: use (3, 3, 3)"
            )
        init = (
            nnx.initializers.variance_scaling(scale, "fan_in", "normal") if scale else nnx.initializers.zeros
        )
        self.kernel = nnx.Param(init(rngs.params(), (*kernel_size, in_features, out_features)))
        self.bias = nnx.Param(jnp.zeros((out_features,)))
        self.before = before

    def __call__(self, x: Features) -> Convolved:
        """Convolves `B T H W in_features` to `B T H W out_features`, in the dtype of `x`."""
        return self.stream(x, None)[0]

    def stream(self, x: Features, cache: History | None) -> tuple[Convolved, History]:
        """Convolves a chunk; the cache holds the last frames of the input before it, one less than taps."""
        remembered = self.kernel.shape[0] - 1
        if cache is None and self.before == "still":
            history = _stand_still(x, remembered)
        else:
            history = jnp.concatenate([_zeros(x, remembered) if cache is None else cache, x], axis=1)
        return _conv_taps(history, self.kernel[...], self.bias[...]), history[:, x.shape[1] :]

    def flops(self, shape: tuple[int, int, int]) -> int:
        """Twice the multiply-adds for one clip of (T, H, W), without those of the zero border."""
        time, height, width, in_features, out_features = self.kernel.shape
        taps = shape[0] * time * _taps(height, shape[1]) * _taps(width, shape[2])
        return 2 * taps * in_features * out_features


class StridedConv3d(nnx.Module):
    """3-D convolution of windows that lie `stride` apart, none of which begins before the video.

    Only after the last row and column are zeros added, so many that H and W become H / s and W / s.

    Args:
      features: channels of input and output.
      kernel_size: (time, height, width).
      stride: (time, space).
      rngs: the stream `params` initialises the kernel.
    """

    def __init__(
        self, features: int, kernel_size: tuple[int, int, int], stride: tuple[int, int], *, rngs: nnx.Rngs
    ):
        init = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
        self.kernel = nnx.Param(init(rngs.params(), (*kernel_size, features, features)))
        self.bias = nnx.Param(jnp.zeros((features,)))
        self.stride = stride

    def __call__(self, x: Features) -> Resampled:
        """Convolves `B T H W C` to `B (T - kernel) / r + 1 H/s W/s C`, in the dtype of `x`."""
        return _conv_taps(x, self.kernel[...], self.bias[...], self.stride)

    def flops(self, shape: tuple[int, int, int]) -> int:
        """Twice the multiply-adds that give one clip of (t, h, w), without those of the zero border."""
        time, height, width, in_features, out_features = self.kernel.shape
        inside = [
            out * kernel - max(kernel - self.stride[1], 0)  # the last window alone reaches over the edge
            for out, kernel in zip(shape[1:], (height, width))
        ]
        return 2 * shape[0] * time * math.prod(inside) * in_features * out_features


def _zeros(x: Features, frames: int) -> History:
    return jnp.zeros((x.shape[0], frames, *x.shape[2:]), x.dtype)


def _stand_still(x: Features, frames: int) -> Float[Array, "B S H W C"]:
    """Puts `frames` copies of the first frame before it."""
    return jnp.concatenate([x[:, :1]] * frames + [x], axis=1)  # jnp.pad's edge mode has a slow gradient


def _conv_taps(
    x: Features,
    kernel: Float[Array, "kt kh kw C D"],
    bias: Float[Array, " D"],
    stride: tuple[int, int] = (1, 1),
) -> Resampled:
    """Convolves without a border in time."""
    r, s = stride
    kernel = kernel.astype(x.dtype)
    frames = (x.shape[1] - len(kernel)) // r + 1
    # A two-dimensional convolution per temporal tap: on a CPU several times as fast as XLA's 3-D one.
    taps = (_conv_frames(x[:, i : i + r * frames : r], tap, s) for i, tap in enumerate(kernel))
    return sum(taps) + bias.astype(x.dtype)


def _conv_frames(x: Features, kernel: Float[Array, "kh kw C D"], stride: int) -> Resampled:
    if (
        kernel.shape[:2] == (1, 1) and stride == 1
    ):  # as a matmul: XLA's gradient of a 1 x 1 convolution is slow
        out = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
        return out.reshape(*x.shape[:-1], kernel.shape[-1])
    frames = x.reshape(-1, *x.shape[2:])
    layout = ("NHWC", "HWIO", "NHWC")
    border = "SAME" if stride == 1 else [(0, max(size - stride, 0)) for size in kernel.shape[:2]]
    out = jax.lax.conv_general_dilated(frames, kernel, (stride, stride), border, dimension_numbers=layout)
    return out.reshape(*x.shape[:2], *out.shape[1:])


def _taps(kernel: int, size: int) -> int:
    """Kernel taps that fall inside a line of `size` pixels, over all its outputs."""
    return sum(max(size - abs(offset), 0) for offset in range(-(kernel // 2), kernel // 2 + 1))


def space_time_to_depth(x: Features, stride: tuple[int, int], begins: bool = True) -> Resampled:
    """Folds groups of `stride = (r, s)`, r frames by s x s pixels, into channels.

    `B 1+k*r H W C` becomes `B 1+k H/s W/s r*s*s*C`. The first group is r copies of the first frame. A chunk
    of a video that does not begin it has no such group: `B k*r ...` becomes `B k ...`.

    Raises:
      ValueError: where r does not divide T - 1 (T, of a later chunk), or s does not divide H or W.
    """
    r, s = stride
    batch, frames, height, width, channels = x.shape
    if (frames - begins) % r:
        raise ValueError(f"T={frames} frames: {'T - 1' if begins else 'T'} must be a multiple of {r}")
    for name, size in (("H", height), ("W", width)):
        if size % s:
            raise ValueError(f"{name}={size} must be a multiple of {s}")
    x = _stand_still(x, r - 1) if begins else x
    x = x.reshape(batch, -1, r, height // s, s, width // s, s, channels)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(*x.shape[:4], math.prod(x.shape[4:]))


def depth_to_space_time(x: Features, stride: tuple[int, int], begins: bool = True) -> Resampled:
    """Unfolds channels into frames and pixels: the inverse of `space_time_to_depth`.

    `B 1+k h w r*s*s*C` becomes `B 1+k*r h*s w*s C`; of the first group only the last frame is kept,
    unless the chunk is not the one that begins the video.
    """
    r, s = stride
    batch, frames, height, width, _ = x.shape
    x = x.reshape(batch, frames, height, width, r, s, s, -1)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(batch, frames * r, height * s, width * s, -1)[:, r - 1 if begins else 0 :]
