# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Convolution and resampling of video that never look into the future.

The first frame is always alone: frame 0 of every output depends on frame 0 of the input only, so an image
is a video of one frame. With time compressed by r, T = 1 + k r frames become 1 + k: the first frame, then
k groups of r. (The scheme of MAGVIT-v2, arXiv 2310.05737.)
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Features = Float[Array, "B T H W C"]
Convolved = Float[Array, "B T H W D"]
Resampled = Float[Array, "B t h w c"]


class CausalConv3d(nnx.Module):
    """3-D convolution, causal in time and centred in space, at stride 1.

    Before the first frame the video is taken to have stood still on it; outside the picture it is zero.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: (time, height, width); height and width odd.
      rngs: the stream `params` initialises the kernel.
      scale: the kernel is normal with variance `scale / fan in`; 0 makes the layer output zero.

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

    def __call__(self, x: Features) -> Convolved:
        """Convolves `B T H W in_features` to `B T H W out_features`, in the dtype of `x`."""
        kernel = self.kernel[...].astype(x.dtype)
        # A two-dimensional convolution per temporal tap: on a CPU several times as fast as XLA's 3-D one.
        history = _stand_still(x, len(kernel) - 1)
        taps = (_conv_frames(history[:, i : i + x.shape[1]], tap) for i, tap in enumerate(kernel))
        return sum(taps) + self.bias[...].astype(x.dtype)

    def flops(self, shape: tuple[int, int, int]) -> int:
        """Twice the multiply-adds for one clip of (T, H, W), without those of the zero border."""
        time, height, width, in_features, out_features = self.kernel.shape
        taps = shape[0] * time * _taps(height, shape[1]) * _taps(width, shape[2])
        return 2 * taps * in_features * out_features


def _stand_still(x: Features, frames: int) -> Float[Array, "B S H W C"]:
    """Puts `frames` copies of the first frame before it."""
    return jnp.concatenate([x[:, :1]] * frames + [x], axis=1)  # jnp.pad's edge mode has a slow gradient


def _conv_frames(x: Features, kernel: Float[Array, "kh kw C D"]) -> Convolved:
    if kernel.shape[:2] == (1, 1):  # as a matmul: XLA's gradient of a 1 x 1 convolution is slow
        out = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    else:
        frames = x.reshape(-1, *x.shape[2:])
        layout = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(frames, kernel, (1, 1), "SAME", dimension_numbers=layout)
    return out.reshape(*x.shape[:-1], -1)


def _taps(kernel: int, size: int) -> int:
    """Kernel taps that fall inside a line of `size` pixels, over all its outputs."""
    return sum(max(size - abs(offset), 0) for offset in range(-(kernel // 2), kernel // 2 + 1))


def space_time_to_depth(x: Features, stride: tuple[int, int]) -> Resampled:
    """Folds groups of `stride = (r, s)`, r frames by s x s pixels, into channels.

    `B 1+k*r H W C` becomes `B 1+k H/s W/s r*s*s*C`. The first group is r copies of the first frame.

    Raises:
      ValueError: where r does not divide T - 1, or s does not divide H or W.
    """
    r, s = stride
    batch, frames, height, width, channels = x.shape
    if (frames - 1) % r:
        raise ValueError(f"T={frames} frames: T - 1 must be a multiple of {r}")
    for name, size in (("H", height), ("W", width)):
        if size % s:
            raise ValueError(f"{name}={size} must be a multiple of {s}")
    x = _stand_still(x, r - 1)
    x = x.reshape(batch, -1, r, height // s, s, width // s, s, channels)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(*x.shape[:4], math.prod(x.shape[4:]))


def depth_to_space_time(x: Features, stride: tuple[int, int]) -> Resampled:
    """Unfolds channels into frames and pixels: the inverse of `space_time_to_depth`.

    `B 1+k h w r*s*s*C` becomes `B 1+k*r h*s w*s C`; of the first group only the last frame is kept.
    """
    r, s = stride
    batch, frames, height, width, _ = x.shape
    x = x.reshape(batch, frames, height, width, r, s, s, -1)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(batch, frames * r, height * s, width * s, -1)[:, r - 1 :]
