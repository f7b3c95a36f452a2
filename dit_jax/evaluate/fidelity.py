# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How close a video is to a reference, pixel by pixel."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Video


def psnr(video: Video, reference: Video) -> Float[Array, " B"]:
    """Peak signal-to-noise ratio of each clip in dB, for pixels in [-1, 1] (peak-to-peak 2).

    Identical clips give infinity.
    """
    return 10 * jnp.log10(4.0 / jnp.square(video - reference).mean((1, 2, 3, 4)))
