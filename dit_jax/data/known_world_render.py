# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Renderer of the known world: integers only, so every machine makes the same bytes.

A pixel is 4 x 4 samples; a sample is coloured by the foremost thing that covers it, and the pixel is the
mean of its samples, rounded. Positions are rounded down to 1/256 of a sample before the tests, so these fit
64-bit integers with room to spare at any frame that the config accepts.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int

from dit_jax.arrays import VideoBytes
from dit_jax.data.known_world_captions import BACKGROUND, OCCLUDER, PALETTE
from dit_jax.data.known_world_physics import UNIT, Body, Motion, Scene

_SAMPLES = 4  # per pixel and axis
_GRID = 256  # steps per sample
_CHUNK_SAMPLES = 1 << 24  # bounds the memory of a long or large clip

_Offset = Int[np.ndarray, "..."]
_COVERS: dict[str, Callable[[_Offset, _Offset, int], Bool[np.ndarray, "..."]]] = {
    "circle": lambda x, y, half: x * x + y * y <= half * half,
    "square": lambda x, y, half: (abs(x) <= half) & (abs(y) <= half),
    "triangle": lambda x, y, half: (3 * y <= 2 * half) & (6 * abs(x) <= 3 * y + 4 * half),
    "diamond": lambda x, y, half: abs(x) + abs(y) <= half,
    "cross": lambda x, y, half: (
        ((abs(x) <= half) & (3 * abs(y) <= half)) | ((3 * abs(x) <= half) & (abs(y) <= half))
    ),
}


def render(
    scene: Scene, motion: Motion, height: int, width: int
) -> tuple[VideoBytes, Float64[np.ndarray, "objects T"]]:
    """Draws the frames of a motion.

    Returns:
      The video, and the fraction of each object that is to be seen in each frame: its samples not behind
      the occluder or a nearer object, over all its samples.
    """
    num_frames = len(motion.centres)
    video = np.empty((num_frames, height, width, 3), np.uint8)
    visible = np.empty((len(scene.bodies), num_frames), np.float64)
    step = max(1, _CHUNK_SAMPLES // (_SAMPLES**2 * height * width))
    for start in range(0, num_frames, step):
        frames = slice(start, start + step)
        video[frames], visible[:, frames] = _render_chunk(scene, motion.centres[frames], height, width)
    return video, visible


def _render_chunk(
    scene: Scene, centres: Sequence[Sequence[tuple[int, int]]], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    num_frames = len(centres)
    taken = np.zeros((num_frames, _SAMPLES * height, _SAMPLES * width), bool)
    # 16 times the pixel, with half a level to round: what covers it adds its difference to the background.
    total = np.empty((num_frames, height, width, 3), np.int16)
    total[:] = np.array(BACKGROUND, np.int16) * _SAMPLES**2 + _SAMPLES**2 // 2
    if scene.occluder:
        _draw_bar(scene.occluder, taken, total)
    visible = np.empty((len(scene.bodies), num_frames))
    for i in reversed(range(len(scene.bodies))):
        places = np.array([frame[i] for frame in centres], np.int64)
        visible[i] = _draw_body(scene.bodies[i], places, taken, total)
    return (total // _SAMPLES**2).astype(np.uint8), visible


def _draw_bar(bar: tuple[int, int], taken: np.ndarray, total: np.ndarray) -> None:
    height = total.shape[1]
    samples = np.arange(taken.shape[2]) * _GRID + _GRID // 2
    left, right = (edge * height * _SAMPLES * _GRID // UNIT for edge in bar)
    columns = (left <= samples) & (samples < right)
    taken[:, :, columns] = True
    counts = _SAMPLES * columns.reshape(-1, _SAMPLES).sum(1, dtype=np.int16)
    total += counts[:, None] * _difference(OCCLUDER)


def _draw_body(body: Body, centres: np.ndarray, taken: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Draws a body behind all that is `taken`, takes its samples, and returns its visible fractions."""
    _, height, width, _ = total.shape
    scale = height * _SAMPLES * _GRID
    left, right, up, down = (length * scale // UNIT for length in body.reach)
    x, first_column, num_columns = _window(centres[:, 0] * scale // UNIT, left, right, width)
    y, first_row, num_rows = _window(centres[:, 1] * scale // UNIT, up, down, height)
    covered = _COVERS[body.shape](x[:, None, :], y[:, :, None], body.half * scale // UNIT)
    seen = np.empty_like(covered)
    windows = [
        (t, slice(row, row + num_rows), slice(column, column + num_columns))
        for t, (row, column) in enumerate(zip(first_row.tolist(), first_column.tolist(), strict=True))
    ]
    for t, rows, columns in windows:
        window = taken[t, _in_samples(rows), _in_samples(columns)]
        np.greater(covered[t], window, out=seen[t])
        window |= covered[t]
    added = _count_by_pixel(seen)[..., None] * _difference(PALETTE[body.colour])
    for t, rows, columns in windows:
        total[t, rows, columns] += added[t]
    return seen.sum(axis=(1, 2)) / covered.sum(axis=(1, 2))


def _window(centre: np.ndarray, before: int, after: int, length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Pixels that hold a body on one axis: offsets of their samples from its centre, the first, how many."""
    pixel = _SAMPLES * _GRID
    count = min(length, (before + after) // pixel + 2)
    first = np.clip((centre - before) // pixel, 0, length - count)
    samples = first[:, None] * pixel + np.arange(_SAMPLES * count) * _GRID + _GRID // 2
    return samples - centre[:, None], first, count


def _count_by_pixel(samples: np.ndarray) -> np.ndarray:
    # Strided sums: ten times faster here than a reduction over the two short axes of a reshaped array.
    rows = sum(samples.view(np.uint8)[:, k::_SAMPLES] for k in range(_SAMPLES))
    return sum(rows[:, :, k::_SAMPLES] for k in range(_SAMPLES)).astype(np.int16)


def _in_samples(pixels: slice) -> slice:
    return slice(pixels.start * _SAMPLES, pixels.stop * _SAMPLES)


def _difference(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array(colour, np.int16) - np.array(BACKGROUND, np.int16)
