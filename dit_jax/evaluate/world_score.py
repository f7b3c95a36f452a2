# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Does a video show what its caption says? Scores on the known world, each beside its ceiling and floor.

A score alone misleads (noise contains every colour), so colours are compared as exact sets; the floor is the
same score with the captions of other clips, over every pair, and the ceiling that of real clips.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dit_jax.arrays import VideoBytes

RGB = tuple[int, int, int]
RADIUS = 80.0  # in RGB: under half of the least distance between two colours
MIN_AREA = 0.012  # of the frame, on average over frames, for a colour to count as there


def colour_set(
    video: VideoBytes, palette: Mapping[str, RGB], radius: float = RADIUS, min_area: float = MIN_AREA
) -> frozenset[str]:
    """The colours of `palette` that a clip shows.

    A pixel has the palette's nearest colour, if that is within `radius`.

    Args:
      video: one clip.
      palette: names and RGB values.
      radius: Euclidean distance in RGB.
      min_area: share of the clip's pixels from which a colour counts.
    """
    pixels = video.reshape(-1, 1, 3).astype(np.float32)
    distance = np.linalg.norm(pixels - np.asarray(list(palette.values()), np.float32), axis=-1)
    nearest = np.where(distance.min(1) <= radius, distance.argmin(1), -1)
    area = np.bincount(nearest[nearest >= 0], minlength=len(palette)) / len(nearest)
    return frozenset(name for name, share in zip(palette, area) if share >= min_area)


def exact_match(shown: Sequence[frozenset], wanted: Sequence[frozenset]) -> dict[str, float]:
    """How often clips show exactly the wanted set.

    Args:
      shown: what each clip shows.
      wanted: what its caption names, in the same order.

    Returns:
      `score` with its standard error `score_se`, and `floor`: the expected score of the same clips under a
      random shuffle that gives every clip another's caption.
    """
    matches = np.array([[a == b for b in wanted] for a in shown], float)
    own = np.diag(matches)
    count = len(own)
    return {
        "score": float(own.mean()),
        "score_se": float(np.sqrt(own.mean() * (1 - own.mean()) / count)),
        "floor": float((matches.sum() - own.sum()) / max(count * (count - 1), 1)),
    }
