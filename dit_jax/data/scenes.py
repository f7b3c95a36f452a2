# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cuts between shots, from small gray thumbnails of the frames.

Two frames differ by `sqrt(p h)`: p is the mean absolute difference of their pixels, h half the L1 distance
of their histograms, both in [0, 1]. Motion moves pixels and keeps the histogram; a cut changes both.

A frame's score is the least of three differences: of it and the frame before, of it and the one two before,
and of the frames on its two sides. A flash of one frame resembles the frames around it in one of these, and
so does not count. A cut is a score of at least `THRESHOLD` that is `RATIO` times the median of its
neighbours', so that a picture which changes all the time is not cut at every frame.

Dissolves and fades are not found: their frames differ too little from each other.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

SIDE = 32  # of a thumbnail, in pixels
THRESHOLD = 0.12
RATIO = 3.0
NEIGHBOURS = 6  # on each side
_BINS = 32
_CHUNK = 4096  # frames at a time, to bound memory


def cut_scores(thumbnails: UInt8[np.ndarray, "F S S"]) -> Float[np.ndarray, " F"]:
    """How unlike each frame is to what came before, in [0, 1]; that of the first is 0."""
    scores = np.zeros(len(thumbnails))
    for first in range(0, len(thumbnails), _CHUNK):
        last = min(first + _CHUNK, len(thumbnails))
        low, high = max(0, first - 2), min(len(thumbnails), last + 1)  # what the scores look at
        scores[first:last] = _scores(thumbnails[low:high])[first - low : last - low]
    return scores


def find_cuts(scores: Float[np.ndarray, " F"]) -> Int[np.ndarray, " K"]:
    """The first frames of all shots but the first, in order."""
    found = [
        frame
        for frame in np.flatnonzero(scores >= THRESHOLD).tolist()
        if scores[frame] >= RATIO * _around(scores, frame)
    ]
    return np.array(found, np.int64)


def _around(scores: Float[np.ndarray, " F"], frame: int) -> float:
    before = scores[max(1, frame - NEIGHBOURS) : frame]
    around = np.concatenate([before, scores[frame + 1 : frame + 1 + NEIGHBOURS]])
    return float(np.median(around)) if len(around) else 0.0


def _scores(thumbnails: UInt8[np.ndarray, "F S S"]) -> Float[np.ndarray, " F"]:
    pixels = thumbnails.reshape(len(thumbnails), -1)
    histograms = _histograms(pixels)
    next_one, next_two = (_differences(pixels, histograms, lag) for lag in (1, 2))
    scores = np.zeros(len(pixels))
    scores[1:] = next_one
    scores[2:] = np.minimum(scores[2:], next_two)  # with the frame two before
    scores[1:-1] = np.minimum(scores[1:-1], next_two)  # of the frames on both sides
    return scores


def _differences(
    pixels: UInt8[np.ndarray, "F P"], histograms: Float[np.ndarray, "F Q"], lag: int
) -> Float[np.ndarray, " G"]:
    if len(pixels) <= lag:
        return np.zeros(0)
    moved = np.abs(pixels[lag:].astype(np.int16) - pixels[:-lag]).mean(1) / 255
    changed = np.abs(histograms[lag:] - histograms[:-lag]).sum(1) / 2
    return np.sqrt(moved * changed)


def _histograms(pixels: UInt8[np.ndarray, "F P"]) -> Float[np.ndarray, "F Q"]:
    bins = pixels.astype(np.int64) * _BINS // 256 + _BINS * np.arange(len(pixels))[:, None]
    counts = np.bincount(bins.ravel(), minlength=_BINS * len(pixels))
    return counts.reshape(len(pixels), _BINS) / pixels.shape[1]
