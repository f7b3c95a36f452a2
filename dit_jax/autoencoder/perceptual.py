# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS: how far apart two frames are in the features of VGG-16 (Zhang et al. 2018, arXiv 1801.03924).

Weights are not ours to give: a user supplies them (`interop.lpips.load_lpips`).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Video

# Channels of the convolutions between two poolings: Simonyan and Zisserman 2015, arXiv 1409.1556, table 1, D.
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Of colours in [-1, 1]; these are ImageNet's, for which VGG-16 was trained, to that scale.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10

Frames = Float[Array, "_ _ _ _"]  # frames, height, width, channels
Conv = tuple[Float[Array, "3 3 _ _"], Float[Array, " _"]]  # kernel and bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lpips:
    """The distance, with its weights.

    Attributes:
      blocks: kernel and bias of each convolution, by the blocks of `VGG16`.
      heads: the weight of each channel of a block's output in the distance.
    """

    blocks: tuple[tuple[Conv, ...], ...]
    heads: tuple[Float[Array, " _"], ...]

    def __call__(self, video: Video, reference: Video) -> Float[Array, "B T"]:
        """The distance of each frame, 0 for equal ones; pixels are in [-1, 1].

        Raises:
          ValueError: for frames of fewer than 16 pixels, which four poolings leave nothing of.
        """
        if min(video.shape[2:4]) < 2 ** (len(VGG16) - 1):
            raise ValueError(f"frames of {video.shape[2]} x {video.shape[3]} pixels: LPIPS needs 16 x 16")
        x, y = (self._features(v.reshape(-1, *v.shape[2:])) for v in (video, reference))
        total = sum(
            (jnp.square(_unit(a) - _unit(b)) @ head).mean((1, 2)) for a, b, head in zip(x, y, self.heads)
        )
        return total.reshape(video.shape[:2])

    def _features(self, x: Frames) -> list[Frames]:
        """Of each block, its output before pooling."""
        x = (x - jnp.array(SHIFT)) / jnp.array(SCALE)
        features = []
        for number, block in enumerate(self.blocks):
            x = _pool(x) if number else x
            for kernel, bias in block:
                layout = ("NHWC", "HWIO", "NHWC")
                x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
                x = jax.nn.relu(x + bias)
            features.append(x)
        return features


def _pool(x: Frames) -> Frames:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _unit(x: Frames) -> Frames:
    """Features of unit length over channels; the length of none has no slope, so a little is added within."""
    return x / (jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + EPSILON**2) + EPSILON)
