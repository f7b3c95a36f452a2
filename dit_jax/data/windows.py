# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a video to windows that cross no cut: where they lie, and their pixels.

A video is decoded twice: a survey finds its cuts and checks it to its end, then the windows are read. Memory
is bounded by a window, however long the video.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, Int, UInt8

from dit_jax.data.manifest import Segment
from dit_jax.data.scenes import SIDE, cut_scores, find_cuts
from dit_jax.data.video_decode import Fit, Frames, Timed, quarter_turns
from dit_jax.data.video_header import VideoError, naming

MIN_SIDE = 8  # pixels; less is no picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """Windows of a length, at their own size or at one for all.

    Attributes:
      num_frames: of a window.
      shorter: lengths of windows, in frames, that what is left of a shot is cut into: one of each that still
        fits, the longest first; by default it is dropped.
      fps: frames per second of the windows; by default each video keeps its own average.
      stride_seconds: between the starts of windows of a shot; by default a window's length.
      max_windows_per_file: where a video has more, this many are spread evenly over it.
      max_side: videos keep their shape; a longer side is brought down to this many pixels.
      height, width: one size for all instead, covered and cropped to the centre.
    """

    num_frames: int = 17
    shorter: tuple[int, ...] = ()
    fps: float | None = None
    stride_seconds: float | None = None
    max_windows_per_file: int = 1000
    max_side: int = 512
    height: int | None = None
    width: int | None = None

    def __post_init__(self):
        least = dict(num_frames=1, max_windows_per_file=1, max_side=MIN_SIDE, height=MIN_SIDE, width=MIN_SIDE)
        for name, limit in least.items():
            if (value := getattr(self, name)) is not None and value < limit:
                raise ValueError(f"{name} is {value}; give {limit} or more")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps is {self.fps}; give a rate above 0, or None for that of each video")
        if self.stride_seconds is not None and not 1e-3 <= self.stride_seconds < math.inf:
            raise ValueError(f"stride_seconds is {self.stride_seconds}; give 0.001 or more, or None")
        if not all(0 < length < self.num_frames for length in self.shorter):
            raise ValueError(
                f"shorter is {self.shorter}; give lengths from 1, below num_frames={self.num_frames}"
            )
        if (self.height is None) != (self.width is None):
            raise ValueError(f"height is {self.height} and width {self.width}; give both, or neither")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a video of such a size is kept."""
        if self.height is not None:
            return self.height, self.width
        scale = min(1.0, self.max_side / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a video holds.

    Attributes:
      times: seconds at which the frames are shown, ascending.
      order: into the frames as they decode, by time.
      scores: of `cut_scores`, by time.
      cuts: frames with which a new shot begins.
      end: seconds at which the last frame ends.
      fps: on average.
      tolerance: seconds by which rounded timestamps may be off.
      height, width: in pixels, as shown.
    """

    times: Float[np.ndarray, " F"]
    order: Int[np.ndarray, " F"]
    scores: Float[np.ndarray, " F"]
    cuts: Int[np.ndarray, " K"]
    end: float
    fps: float
    tolerance: float
    height: int
    width: int

    def shots(self, segment: Segment) -> list[tuple[float, float]]:
        """Start and end of each shot in a segment, in seconds."""
        bounds = [0.0, *self.times[self.cuts], self.end]
        spans = [(max(a, segment.start), min(b, segment.end)) for a, b in itertools.pairwise(bounds)]
        return [(float(a), float(b)) for a, b in spans if a < b]


@dataclasses.dataclass(frozen=True)
class Window:
    """Where a window lies: seconds, the number of its segment, and its frames by time."""

    start: float
    segment: int
    indices: Int[np.ndarray, " T"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """The windows of a video, and how they came about.

    Attributes:
      windows: to keep, by their starts.
      num_windows: before they were thinned to `max_windows_per_file`.
      num_shots, num_short: shots within the segments, and those too short for a window.
      longest: seconds of the longest shot.
    """

    windows: list[Window]
    num_windows: int
    num_shots: int
    num_short: int
    longest: float


class ArrayFrames:
    """Frames of an array, as `Frames` are of a file."""

    def __init__(self, video: UInt8[np.ndarray, "T H W 3"], fps: float):
        self._video, self.fps, self.tolerance, self.end = video, fps, 0.25 / fps, len(video) / fps

    def __iter__(self) -> Iterator[Timed]:
        for index, image in enumerate(self._video):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image))
            yield Timed(index / self.fps, 1 / self.fps, frame, 1.0)


def survey(path: str | Path, frames: Frames | ArrayFrames) -> Survey:
    """Reads a video once, to its end.

    Raises:
      VideoError: it cannot be read soundly, or has no frames.
    """
    reformatter, times, thumbnails, size = VideoReformatter(), [], [], None
    for timed in frames:
        size = size or _shown_size(path, timed)
        times.append(timed.time)
        with naming(path):
            gray = reformatter.reformat(timed.frame, SIDE, SIDE, "gray", interpolation="AREA", threads=1)
        thumbnails.append(gray.to_ndarray())
    if size is None:
        raise VideoError(path, "it has no frames")
    order = np.argsort(times, kind="stable")
    scores = cut_scores(np.stack(thumbnails)[order])
    clock = (frames.end, frames.fps, frames.tolerance)
    return Survey(np.array(times)[order], order, scores, find_cuts(scores), *clock, *size)


def place(found: Survey, segments: Sequence[Segment], config: WindowConfig) -> Placement:
    """Lays windows side by side, or at the stride, from the start of each shot, and shorter ones behind them."""
    shots = [(n, *shot) for n, segment in enumerate(segments) for shot in found.shots(segment)]
    spans = [_spans(start, end, config, config.fps or found.fps, found.tolerance) for _, start, end in shots]
    laid = [(start, number, steps) for (number, *_), some in zip(shots, spans) for start, steps in some]
    laid.sort(key=lambda window: window[:2])
    kept = np.linspace(0, len(laid) - 1, min(len(laid), config.max_windows_per_file)).round().astype(int)
    windows = [
        Window(start, number, np.searchsorted(found.times, start + steps, "right") - 1)
        for start, number, steps in map(laid.__getitem__, kept)
    ]
    longest = max((end - start for _, start, end in shots), default=0.0)
    return Placement(windows, len(laid), len(shots), sum(not some for some in spans), longest)


def _spans(
    start: float, end: float, config: WindowConfig, fps: float, tolerance: float
) -> list[tuple[float, Float[np.ndarray, " T"]]]:
    """The start of each window of a shot, and the seconds from it to each of its frames."""
    steps = np.arange(config.num_frames) / fps + tolerance
    stride = config.stride_seconds or config.num_frames / fps
    # A window's last frame is on screen before the shot ends.
    count = max(0, math.ceil((end - steps[-1] - start) / stride))
    spans = [(float(start + stride * k), steps) for k in range(count)]
    rest = spans[-1][0] + config.num_frames / fps if spans else start
    for length in sorted(config.shorter, reverse=True):
        if rest + steps[length - 1] < end:
            spans.append((float(rest), steps[:length]))
            rest += length / fps
    return spans


def read_windows(
    path: str | Path,
    frames: Iterable[Timed],
    found: Survey,
    windows: Sequence[Window],
    size: tuple[int, int],
) -> Iterator[tuple[Window, UInt8[np.ndarray, "T H W 3"]]]:
    """Windows and their pixels, in their order.

    Raises:
      VideoError: the video is not what was surveyed.
    """
    fit, waiting = Fit(path, *size), collections.deque(windows)
    uses = collections.Counter(index for window in windows for index in set(window.indices.tolist()))
    images: dict[int, np.ndarray] = {}
    positions = np.argsort(found.order).tolist()
    for position, timed in zip(positions, frames):
        if uses[position]:
            images[position] = fit(timed.frame, timed.pixel_aspect)
        while waiting and all(index in images for index in waiting[0].indices.tolist()):
            window = waiting.popleft()
            yield window, np.stack([images[index] for index in window.indices.tolist()])
            _release(images, uses, window)
        if not waiting:  # the survey has seen the rest
            return
    if waiting:
        raise VideoError(path, "it changed while it was read")


def _release(images: dict[int, np.ndarray], uses: collections.Counter, window: Window) -> None:
    for index in set(window.indices.tolist()):
        uses[index] -= 1
        if not uses[index]:
            del images[index]


def _shown_size(path: str | Path, timed: Timed) -> tuple[int, int]:
    size = timed.frame.height, max(1, round(timed.frame.width * timed.pixel_aspect))
    return size[::-1] if quarter_turns(path, timed.frame) % 2 else size
