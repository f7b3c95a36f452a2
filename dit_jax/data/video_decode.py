# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a video file to upright RGB frames of one size, each with its time; damage is an error."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, Int, UInt8

from dit_jax.data.video_header import VideoError, check_limits, header_fps, header_seconds, naming, opened

Image = UInt8[np.ndarray, "H W 3"]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Frames of a video, by the time at which they are shown.

    Attributes:
      times: seconds from the first frame of the file, ascending.
      images: one for each time; none if they were only checked.
      end: seconds at which the last frame ends; infinite if decoding stopped before the file's end.
      fps: of the file, on average.
      tolerance: seconds by which rounded timestamps may be off.
    """

    times: Float[np.ndarray, " F"]
    images: list[Image]
    end: float
    fps: float
    tolerance: float

    def room(self, num_frames: int, fps: float) -> float:
        """Seconds before which a window must start for its last frame to be on screen before the end."""
        return self.end - self.tolerance - (num_frames - 1) / fps

    def indices(self, num_frames: int, fps: float, start: float) -> Int[np.ndarray, " T"]:
        """Into `images`: the k-th is the one on screen at `start + k / fps` seconds."""
        wanted = start + np.arange(num_frames) / fps + self.tolerance
        return np.maximum(np.searchsorted(self.times, wanted, side="right") - 1, 0)


@dataclasses.dataclass(frozen=True)
class Timed:
    """A frame as stored.

    Attributes:
      time: seconds from the first frame of the file at which it is shown.
      seconds: for how long, as the file says.
      frame: FFmpeg's.
      pixel_aspect: width of a pixel in heights.
    """

    time: float
    seconds: float
    frame: av.VideoFrame
    pixel_aspect: float


class Frames:
    """The frames of a file, each with its time, in the order in which they decode.

    Iterate over it once. Whoever reaches the end knows that the file is whole: damage that leaves a valid
    stream cannot be seen.

    Args:
      path: of the file.
      start, stop: seconds; frames on screen before and after may come along.
      seek: jump to the keyframe before `start`.

    Attributes, valid after the first frame:
      fps: of the file, on average.
      tolerance: seconds by which rounded timestamps may be off.
      end: seconds at which the last frame ends; infinite if decoding stopped before the file's end.

    Raises:
      VideoError: while iterating, for anything that cannot be read soundly.
    """

    def __init__(self, path: str | Path, start: float = 0.0, stop: float = math.inf, seek: bool = False):
        self._path, self._start, self._stop, self._seek = path, start, stop, seek
        self._origin = first_frame(path).pts
        self.fps, self.tolerance, self.end = 0.0, 0.0, 0.0

    def __iter__(self) -> Iterator[Timed]:
        with opened(self._path) as stream:
            tick, self.fps = float(stream.time_base), header_fps(self._path, stream)
            self.tolerance = min(tick, 0.25 / self.fps)
            if self._seek:
                stream.container.seek(self._origin + int(self._start / tick), stream=stream)
            yield from self._timed(stream, tick)
            if self.end + 0.75 / self.fps < header_seconds(stream):
                reason = f"it is cut off after {self.end:g} of {header_seconds(stream):g} seconds"
                raise VideoError(self._path, reason)

    def _timed(self, stream: av.VideoStream, tick: float) -> Iterator[Timed]:
        count, pixel_aspect = 0, float(stream.sample_aspect_ratio or 1)
        for packet in stream.container.demux(stream):
            past = packet.dts is not None and (packet.dts - self._origin) * tick > self._stop
            for frame in _frames(self._path, stream, None if past else packet):
                count += 1
                check_limits(self._path, frame.width * frame.height, count)
                time, seconds = (frame.pts - self._origin) * tick, frame.duration * tick or 1 / self.fps
                self.end = max(self.end, time + seconds)
                yield Timed(time, seconds, frame, pixel_aspect)
            if past:  # and so is the rest
                self.end = math.inf
                return


class Fit:
    """Turns frames into upright RGB of one size: turned as the metadata says, resized to cover, and cropped
    to the centre.

    Args:
      path: of the video, for errors.
      height, width: of the result, in pixels.
    """

    def __init__(self, path: str | Path, height: int, width: int):
        self._path, self._size = path, (height, width)
        self._reformatter = VideoReformatter()  # keeps its scaler from frame to frame

    def __call__(self, frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
        """The frame in RGB.

        Raises:
          VideoError: it is turned by an odd angle, or a needle that would be enlarged beyond the limits.
        """
        turns = quarter_turns(self._path, frame)
        height, width = self._size if turns % 2 == 0 else self._size[::-1]
        scale = max(width / (frame.width * pixel_aspect), height / frame.height)
        cover_width = max(width, round(frame.width * pixel_aspect * scale))
        cover_height = max(height, round(frame.height * scale))
        check_limits(self._path, cover_width * cover_height, 1)  # of a frame that is one pixel high, say
        with naming(self._path):
            cover = self._reformatter.reformat(
                frame, cover_width, cover_height, "rgb24", interpolation="AREA", threads=1
            )
        top, left = (cover_height - height) // 2, (cover_width - width) // 2
        image = cover.to_ndarray()[top : top + height, left : left + width]
        return np.ascontiguousarray(np.rot90(image[::-1] if _is_mirrored(frame) else image, turns))


def decode(
    path: str | Path,
    *,
    height: int,
    width: int,
    start: float = 0.0,
    stop: float = math.inf,
    max_bytes: float = math.inf,
) -> Decoded:
    """Decodes what is on screen from `start` to `stop` seconds, at the size of `Fit`.

    Without `stop` the whole file is checked. If the frames take more than `max_bytes`, all are checked and
    timed, and none is kept.

    Raises:
      VideoError: for anything that cannot be read soundly.
    """
    size = (path, height, width, start, stop, max_bytes)
    if start > 0:
        try:
            return _Kept(*size).decoded(Frames(path, start, stop, seek=True))
        except VideoError:  # a sound file may not decode from its middle
            pass
    return _Kept(*size).decoded(Frames(path, start, stop))


def first_frame(path: str | Path) -> av.VideoFrame:
    """The first frame, as stored.

    Raises:
      VideoError: if there is none.
    """
    with opened(path) as stream:
        for packet in stream.container.demux(stream):
            for frame in _frames(path, stream, packet):
                return frame
        raise VideoError(path, "it has no frames")


def quarter_turns(path: str | Path, frame: av.VideoFrame) -> int:
    """How many times a viewer turns the frame by 90 degrees, counter-clockwise.

    Raises:
      VideoError: for any other angle.
    """
    turns, rest = divmod(frame.rotation, 90)
    if rest:
        raise VideoError(path, f"it is shown turned by {frame.rotation} degrees, not a multiple of 90")
    return turns % 4


def _frames(path: str | Path, stream: av.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    """The frames that a packet completes; for None, those still in the decoder."""
    if packet is not None and packet.is_corrupt:
        raise VideoError(path, "its data is damaged")
    frames = stream.codec_context.decode(packet)
    if any(frame.is_corrupt or frame.pts is None for frame in frames):
        raise VideoError(path, "it has a frame that is damaged or without a time")
    return frames


class _Kept:
    """Gathers, at one size, what is on screen from `start` to `stop`."""

    def __init__(
        self, path: str | Path, height: int, width: int, start: float, stop: float, max_bytes: float
    ):
        self._path, self._start, self._stop = path, start, stop
        self._max_images, self._fit = max_bytes / (height * width * 3), Fit(path, height, width)
        self._before, self._times, self._images = None, [], []

    def decoded(self, frames: Frames) -> Decoded:
        for timed in frames:
            self._add(timed)
        if self._before is None:
            raise VideoError(self._path, f"nothing can be decoded at {self._start:g} seconds")
        times = np.array([self._before.time, *self._times])
        images = [self._image(self._before), *self._images]
        order = np.argsort(times, kind="stable")
        images = [images[index] for index in order] if len(images) == len(times) else []
        return Decoded(times[order], images, frames.end, frames.fps, frames.tolerance)

    def _add(self, timed: Timed) -> None:
        if timed.time <= self._start:  # of these, only the last is on screen at the start
            if self._before is None or self._before.time <= timed.time:
                self._before = timed
        elif timed.time <= self._stop:
            self._times.append(timed.time)
            if len(self._images) + 2 <= self._max_images:  # with this one and the one before
                self._images.append(self._image(timed))

    def _image(self, timed: Timed) -> Image:
        return self._fit(timed.frame, timed.pixel_aspect)


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether a viewer turns the frame upside down as in a mirror, before turning it by its rotation."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    return bool(a * d < b * c)
