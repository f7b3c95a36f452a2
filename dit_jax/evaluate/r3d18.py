# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Features of clips for a Fréchet distance: an 18-layer residual network with 3-D convolutions.

R3D-18 of Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition", arXiv
1711.11248, as torchvision lays it out. Weights are not ours to give: a user supplies them
(`interop.r3d18.load_r3d18`). Published FVD is over I3D's features: a distance over these is another quantity,
`fvd_r3d18`, and cannot be compared with it.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Video

SIDE = 112
# Of colours in [0, 1]: Kinetics-400's, in torchvision's preset for these weights.
MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
STEM = ("stem.0", 3, 64, (3, 7, 7), (1, 2, 2))
WIDTHS = (64, 128, 256, 512)
BLOCKS = 2  # to a layer

Layer = tuple[Float[Array, "_ _ _ _ _"], Float[Array, " _"]]  # kernel and bias, with the norm's within
Features = Float[Array, "B T H W C"]


def layers() -> list[tuple[str, int, int, tuple[int, int, int], tuple[int, int, int]]]:
    """Name, widths in and out, kernel and stride of every convolution."""
    found, width_in = [STEM], WIDTHS[0]
    for level, width in enumerate(WIDTHS):
        for block in range(BLOCKS):
            name, stride = f"layer{level + 1}.{block}", (2 if level and not block else 1,) * 3
            found += [
                (f"{name}.conv1.0", width_in, width, (3, 3, 3), stride),
                (f"{name}.conv2.0", width, width, (3, 3, 3), (1, 1, 1)),
            ]
            if width != width_in:
                found.append((f"{name}.downsample.0", width_in, width, (1, 1, 1), stride))
            width_in = width
    return found


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class R3D18:
    """The network up to its last pooling.

    Attributes:
      weights: kernel and bias by the names of `layers`.
    """

    weights: Mapping[str, Layer]

    def __call__(self, video: Video) -> Float[Array, "B 512"]:
        """Features of clips in [-1, 1] of any length and size; frames are resized to 112 x 112 pixels."""
        batch, frames, _, _, colours = video.shape
        x = jax.image.resize(video, (batch, frames, SIDE, SIDE, colours), "linear")
        x = ((x + 1) / 2 - jnp.array(MEAN)) / jnp.array(DEVIATION)
        x = jax.nn.relu(self._conv(STEM[0], x, STEM[4]))
        for level in range(len(WIDTHS)):
            for block in range(BLOCKS):
                x = self._block(f"layer{level + 1}.{block}", x, (2 if level and not block else 1,) * 3)
        return x.mean((1, 2, 3))

    def _block(self, name: str, x: Features, stride: tuple[int, int, int]) -> Array:
        y = jax.nn.relu(self._conv(f"{name}.conv1.0", x, stride))
        y = self._conv(f"{name}.conv2.0", y, (1, 1, 1))
        shortcut = f"{name}.downsample.0"
        return jax.nn.relu(y + (self._conv(shortcut, x, stride) if shortcut in self.weights else x))

    def _conv(self, name: str, x: Features, stride: tuple[int, int, int]) -> Array:
        kernel, bias = self.weights[name]
        border = [(size // 2, size // 2) for size in kernel.shape[:3]]
        layout = ("NDHWC", "DHWIO", "NDHWC")
        return jax.lax.conv_general_dilated(x, kernel, stride, border, dimension_numbers=layout) + bias
