# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A critic of patches of video: is this a real one, or one that was decoded?

PatchGAN (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", arXiv
1611.07004, section 3.2) in space and time: one logit for each cell of each frame, which sees a few frames before
it. It takes images and videos alike, and has no statistics over a batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import Video
from dit_jax.layers.causal_conv import CausalConv3d, space_time_to_depth
from dit_jax.layers.norm import rms_norm

COLOURS = 3

Logits = Float[Array, "B T h w"]


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of a `Discriminator`, and how it is trained.

    Attributes:
      widths: channels of each level; each halves height and width. Three of them see patches of 60 pixels.
      lr: peak learning rate; the schedule is the autoencoder's.
      b1, b2: decays of Adam's moments. A target that moves wants a short memory.

    Raises:
      ValueError: without levels, and for sizes or rates that are not positive.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    lr: float = 5e-4
    b1: float = 0.5
    b2: float = 0.9

    def __post_init__(self):
        if not self.widths or not all(isinstance(width, int) and width > 0 for width in self.widths):
            raise ValueError(f"widths={self.widths}: give one or more whole numbers of at least 1")
        if self.lr <= 0:
            raise ValueError(f"lr={self.lr} must be positive")


class Discriminator(nnx.Module):
    """Logits of patches, positive where a patch looks real.

    Args:
      config: sizes.
      rngs: its `params` stream draws the weights.
    """

    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        folded = [4 * width for width in (COLOURS, *config.widths[:-1])]
        self.convs = nnx.List(
            [CausalConv3d(*widths, (3, 3, 3), rngs=rngs) for widths in zip(folded, config.widths)]
        )
        self.gains = nnx.List([nnx.Param(jnp.ones((width,))) for width in config.widths])
        self.head = CausalConv3d(config.widths[-1], 1, (1, 3, 3), rngs=rngs)

    def __call__(self, video: Video) -> Logits:
        """Judges `video`, `B T H W C` in [-1, 1].

        Raises:
          ValueError: where H or W is not a multiple of 2 to the number of levels.
        """
        x = video
        for conv, gain in zip(self.convs, self.gains):
            x = conv(space_time_to_depth(x, (1, 2)))
            x = jax.nn.leaky_relu(rms_norm(x, gain[...]), 0.2)
        return self.head(x)[..., 0]
