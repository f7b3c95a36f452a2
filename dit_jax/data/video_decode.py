# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a video file to upright RGB frames of one size, each with its time; damage is an error."""

import dataclasses
import math
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, Int, UInt8

from dit_jax.data.video_header import VideoError, check_limits, header_fps, header_seconds, opened

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


def decode(
    path: str | Path,
    *,
    height: int,
    width: int,
    start: float = 0.0,
    stop: float = math.inf,
    max_bytes: float = math.inf,
) -> Decoded:
    """Decodes what is on screen from `start` to `stop` seconds.

    Frames are turned as the metadata says, resized to cover `height` x `width`, and cropped to the centre.
    Without `stop` the whole file is checked; damage that leaves a valid stream cannot be seen. If the frames
    take more than `max_bytes`, all are checked and timed, and none is kept.

    Raises:
      VideoError: for anything that cannot be read soundly.
    """
    origin = first_frame(path).pts
    if start > 0:
        try:
            return _decode(path, origin, _Kept(path, height, width, start, stop, max_bytes), seek=True)
        except VideoError:  # a sound file may not decode from its middle
            pass
    return _decode(path, origin, _Kept(path, height, width, start, stop, max_bytes), seek=False)


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


def _decode(path: str | Path, origin: int, kept: "_Kept", seek: bool) -> Decoded:
    with opened(path) as stream:
        tick, fps = float(stream.time_base), header_fps(path, stream)
        pixel_aspect = float(stream.sample_aspect_ratio or 1)
        if seek:
            stream.container.seek(origin + int(kept.start / tick), stream=stream)
        for packet in stream.container.demux(stream):
            past = packet.dts is not None and (packet.dts - origin) * tick > kept.stop  # and so is the rest
            for frame in _frames(path, stream, None if past else packet):
                kept.add(frame, (frame.pts - origin) * tick, frame.duration * tick or 1 / fps, pixel_aspect)
            if past:
                return kept.decoded(math.inf, fps, tick)
        if kept.end + 0.75 / fps < header_seconds(stream):
            raise VideoError(path, f"it is cut off after {kept.end:g} of {header_seconds(stream):g} seconds")
        return kept.decoded(kept.end, fps, tick)


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
        self.start, self.stop, self.end = start, stop, 0.0
        self._path, self._size, self._max_images = path, (height, width), max_bytes / (height * width * 3)
        self._count, self._before, self._times, self._images = 0, None, [], []
        self._reformatter = VideoReformatter()  # keeps its scaler from frame to frame

    def add(self, frame: av.VideoFrame, time: float, seconds: float, pixel_aspect: float) -> None:
        self._count, self.end = self._count + 1, max(self.end, time + seconds)
        check_limits(self._path, frame.width * frame.height, self._count)
        if time <= self.start:  # of these, only the last is on screen at the start
            if self._before is None or self._before[0] <= time:
                self._before = (time, frame, pixel_aspect)
        elif time <= self.stop:
            self._times.append(time)
            if len(self._images) + 2 <= self._max_images:  # with this one and the one before
                self._images.append(self._image(frame, pixel_aspect))

    def decoded(self, end: float, fps: float, tick: float) -> Decoded:
        if self._before is None:
            raise VideoError(self._path, f"nothing can be decoded at {self.start:g} seconds")
        times = np.array([self._before[0], *self._times])
        images = [self._image(*self._before[1:]), *self._images]
        order = np.argsort(times, kind="stable")
        images = [images[index] for index in order] if len(images) == len(times) else []
        return Decoded(times[order], images, end, fps, min(tick, 0.25 / fps))

    def _image(self, frame: av.VideoFrame, pixel_aspect: float) -> Image:
        turns = quarter_turns(self._path, frame)
        height, width = self._size if turns % 2 == 0 else self._size[::-1]
        scale = max(width / (frame.width * pixel_aspect), height / frame.height)
        cover_width = max(width, round(frame.width * pixel_aspect * scale))
        cover_height = max(height, round(frame.height * scale))
        check_limits(self._path, cover_width * cover_height, 1)  # of a frame that is one pixel high, say
        cover = self._reformatter.reformat(
            frame, cover_width, cover_height, "rgb24", interpolation="AREA", threads=1
        )
        top, left = (cover_height - height) // 2, (cover_width - width) // 2
        image = cover.to_ndarray()[top : top + height, left : left + width]
        return np.ascontiguousarray(np.rot90(image[::-1] if _is_mirrored(frame) else image, turns))


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether a viewer turns the frame upside down as in a mirror, before turning it by its rotation."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    return bool(a * d < b * c)
