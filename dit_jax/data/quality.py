# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers by which clips can be chosen: is there motion, is it sharp, is it bright.

All are of the stored pixels, so clips of different sizes compare only roughly.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, UInt8

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Quality:
    """Of a clip, in levels of luma from 0 to 255.

    Attributes:
      motion: mean absolute change of a pixel from frame to frame; 0 for one frame.
      sharpness: variance of the Laplacian, the mean over frames; low where there is blur (Pech-Pacheco et
        al., 2000, "Diatom autofocusing in brightfield microscopy").
      brightness: mean.
      contrast: standard deviation within a frame, the mean over frames.
    """

    motion: float
    sharpness: float
    brightness: float
    contrast: float


def quality(video: UInt8[np.ndarray, "T H W 3"]) -> Quality:
    """Measures a clip, frame by frame, so that memory stays small."""
    before, rows = None, []
    for image in video:
        luma = image.astype(np.float32) @ _LUMA
        moved = 0.0 if before is None else float(np.abs(luma - before).mean())
        rows.append((moved, float(_laplacian(luma).var()), float(luma.mean()), float(luma.std())))
        before = luma
    motion, sharpness, brightness, contrast = np.sum(rows, axis=0).tolist()
    count = len(rows)
    return Quality(motion / max(1, count - 1), sharpness / count, brightness / count, contrast / count)


def motion(video: UInt8[np.ndarray, "T H W 3"]) -> float:
    """`Quality.motion` alone."""
    luma = [image.astype(np.float32) @ _LUMA for image in video]
    return float(np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(luma)] or [0.0]))


def _laplacian(luma: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    around = np.pad(luma, 1, mode="edge")
    return around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:] - 4 * luma
