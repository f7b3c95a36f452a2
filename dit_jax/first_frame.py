# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The image that a clip is to begin with, a little noised, as `UNetLatent` reads it with `augmented_frame`.

Blattmann et al. 2023, Stable Video Diffusion, arXiv 2311.15127, section 4.2 and appendix D: it is concatenated to
every frame, beside a first frame that is as noisy as the others, and the network is told how noisy it is.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.arrays import Cond, Key, Latents

LOG_MEAN, LOG_STD = -3.0, 0.5  # of the noise's deviation in training
NULL = np.zeros((1, 1, 1, 1, 1), np.float32)  # in the place of a frame that is withheld, with the text


def drawn_frame(x0: Latents, key: Key) -> Cond:
    """What is trained under: clips' own first frames, each at a level of noise of its own."""
    level = jnp.exp(LOG_MEAN + LOG_STD * jax.random.normal(jax.random.fold_in(key, 0), (len(x0),)))
    return noised_frame(x0, level, jax.random.fold_in(key, 1))


def noised_frame(latents: Latents, level: Float[Array, " B"], key: Key) -> Cond:
    """The first frame of clips, with noise of the deviation `level` added to its latents."""
    frame = latents[:, :1]
    noise = jax.random.normal(key, frame.shape)
    return {"first_frame": frame + level[:, None, None, None, None] * noise, "noise_augmentation": level}
