# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a bounded worker does with one video: its digest, where its windows lie, and the clips.

Each function yields, in this order: a SHA-256; a dict for the report; and a dict for each clip.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from dit_jax.data.manifest import Caption, Segment, file_digest
from dit_jax.data.quality import quality
from dit_jax.data.video_decode import Frames
from dit_jax.data.video_header import VideoError, naming
from dit_jax.data.windows import (
    MIN_SIDE,
    ArrayFrames,
    Placement,
    Survey,
    WindowConfig,
    place,
    read_windows,
    survey,
)


def read_file(path: str, segments: Sequence[Segment], config: WindowConfig) -> Iterator[Any]:
    """The clips of a video file.

    Raises:
      VideoError: it cannot be read soundly, or changed meanwhile.
    """
    _listen()
    before = _state(path)
    yield from digest_file(path)
    yield from _clips(path, functools.partial(Frames, path), segments, config)
    if _state(path) != before:
        raise VideoError(path, "it changed while it was read")


def read_example(
    name: str, split: str, data_dir: str | None, fps: float | None, index: int, config: WindowConfig
) -> Iterator[Any]:
    """The clips of an example of a TFDS data set, with all of its captions.

    Raises:
      VideoError: it has no frames.
    """
    clip = _examples(name, split, data_dir, fps)[index]
    yield example_digest(clip.video)
    captions = tuple(Caption(level, text, name) for level, text in sorted(clip.captions.items()))
    frames = functools.partial(ArrayFrames, clip.video, clip.fps)
    yield from _clips(clip.key, frames, [Segment(captions=captions)], config)


def digest_file(path: str) -> Iterator[str]:
    """The digest that `read_file` yields, alone.

    Raises:
      VideoError: the file cannot be read.
    """
    if not Path(path).is_file():  # a pipe would be waited for
        raise VideoError(path, "it is not a file")
    with naming(path):
        digest = file_digest(path)
    yield digest


def digest_example(
    name: str, split: str, data_dir: str | None, fps: float | None, index: int
) -> Iterator[str]:
    """The digest that `read_example` yields, alone."""
    yield example_digest(_examples(name, split, data_dir, fps)[index].video)


def example_digest(video: np.ndarray) -> str:
    """SHA-256 of a video's shape and pixels."""
    return hashlib.sha256(repr(video.shape).encode() + np.ascontiguousarray(video).tobytes()).hexdigest()


@functools.lru_cache(maxsize=1)
def _examples(*config: Any) -> Any:
    from dit_jax.data.sources import TFDSConfig, TFDSSource  # its imports take a second

    return TFDSSource(TFDSConfig(*config))


@contextlib.contextmanager
def _contained(path: str) -> Iterator[None]:
    """One video that nobody foresaw must not end the work on the others."""
    try:
        yield
    except (VideoError, MemoryError):
        raise
    except Exception as error:
        raise VideoError(path, f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def _clips(
    path: str, frames: Callable[[], Any], segments: Sequence[Segment], config: WindowConfig
) -> Iterator[dict[str, Any]]:
    with _contained(path):
        yield from _cut(path, frames, segments, config)


def _cut(
    path: str, frames: Callable[[], Any], segments: Sequence[Segment], config: WindowConfig
) -> Iterator[dict[str, Any]]:
    found = survey(path, frames())
    fps, size = config.fps or found.fps, config.size(found.height, found.width)
    if min(size) < MIN_SIDE:
        raise VideoError(path, f"it is {found.height}x{found.width}, kept as {size[0]}x{size[1]}: too small")
    placement = place(found, segments, config)
    yield _report(path, found, placement, config)
    for window, video in read_windows(path, frames(), found, placement.windows, size):
        segment = segments[window.segment]
        part = "" if segment == Segment(captions=segment.captions) else f"{segment.start:g}-{segment.end:g}#"
        yield {
            "video": video,
            "fps": fps,
            "key": f"{part}{window.start:.3f}",
            "start_seconds": window.start,
            "captions": [dataclasses.asdict(caption) for caption in segment.captions],
            "quality": {
                **dataclasses.asdict(quality(video)),
                "cut_score": float(found.scores[np.unique(window.indices)[1:]].max(initial=0.0)),
            },
        }


def _report(path: str, found: Survey, placement: Placement, config: WindowConfig) -> dict[str, Any]:
    if not placement.windows:
        seconds = min(config.num_frames, *config.shorter, math.inf) / (config.fps or found.fps)
        what = f"its longest shot lasts {placement.longest:.3g}" if placement.num_shots else "there is none"
        raise VideoError(path, f"no shot of {seconds:.3g} seconds, a window, within it: {what}")
    return {
        "fps": found.fps,
        "seconds": found.end,
        "height": found.height,
        "width": found.width,
        "cuts": [round(float(time), 3) for time in found.times[found.cuts]],
        "shots": placement.num_shots,
        "shots_too_short": placement.num_short,
        "windows": placement.num_windows,
    }


def _listen() -> None:
    """Has FFmpeg's messages kept for errors, and none printed, and forgets those of the video before."""
    av.logging.set_level(av.logging.PANIC)
    with contextlib.suppress(av.FFmpegError):
        av.error.err_check(-1)


def _state(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the digest says it better
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
