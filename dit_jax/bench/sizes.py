# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes at which steps are measured, ours and the peers'."""

import dataclasses
import math

PATCH = (1, 2, 2)
TEXT_TOKENS = 64
TIME_FEATURES = 256
AUTOENCODER_WIDTH = 16  # channels at the pixels


@dataclasses.dataclass(frozen=True)
class Size:
    """A transformer and its batch.

    Attributes:
      depth: blocks.
      width: of the tokens, and of the text's.
      heads: divides `width`.
      grid: tokens of a clip: frames, rows, columns.
      batch: clips.
      channels: of the latents.
      dtype: of the computation: `float32` or `bfloat16`.
      attention: of the blocks, as `DiTConfig` has it.
    """

    depth: int
    width: int
    heads: int
    grid: tuple[int, int, int]
    batch: int
    channels: int = 16
    dtype: str = "float32"
    attention: str = "joint"

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """`(t, h, w, c)` of a clip."""
        return (*(n * p for n, p in zip(self.grid, PATCH)), self.channels)

    @property
    def num_tokens(self) -> int:
        """Of a clip."""
        return math.prod(self.grid)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)` of the clip whose latents, compressed 4 x 8 x 8, are these."""
        frames, rows, columns, _ = self.latent_shape
        return 4 * (frames - 1) + 1, 8 * rows, 8 * columns, 3


SIZES = {
    "S": Size(4, 256, 4, (4, 8, 8), 2),
    "M": Size(6, 384, 6, (4, 16, 16), 1),
    "L": Size(12, 512, 8, (4, 16, 16), 2),
}
