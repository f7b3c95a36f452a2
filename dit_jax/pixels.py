# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels: bytes on disk and in loaders, floats in [-1, 1] in models."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from dit_jax.arrays import Video


def as_pixels(video: UInt8[Array, "B T H W C"]) -> Video:
    """Bytes to floats in [-1, 1]."""
    return video.astype(jnp.float32) / 127.5 - 1


def as_bytes(video: Video) -> UInt8[np.ndarray, "B T H W C"]:
    """Floats to bytes, on the host; what lies outside [-1, 1] is clipped."""
    return np.clip(np.round((np.asarray(video) + 1) * 127.5), 0, 255).astype(np.uint8)
