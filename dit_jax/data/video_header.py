# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Opening a video file that may be anything: what it may be, how large, and what its header says."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.stream import Disposition

FORMATS = "mov,matroska,avi,gif"  # FFmpeg's names; unlike a playlist, none of these opens another file
EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"})
MAX_FRAME_PIXELS = 2**24  # 4096 x 4096
MAX_FRAMES = 2**17  # 73 minutes at 30 frames per second
MAX_PIXELS = 2**36  # of all frames: 18 minutes of 1920 x 1080 at 30 frames per second
MAX_FPS = 1000
_DECODE = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_FRAME_PIXELS)}
_OPEN = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(MAX_FRAME_PIXELS)}


class VideoError(ValueError):
    """A video that cannot be read: one line with its path and the reason.

    Attributes:
      path: the file.
      reason: why, without the path.
    """

    def __init__(self, path: str | Path, reason: str):
        super().__init__(path, reason)  # both, so that it can be pickled out of a worker process
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns any error of FFmpeg inside the `with` block into a `VideoError`."""
    try:
        yield
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(path, _reason(error)) from error


@contextmanager
def opened(path: str | Path) -> Iterator[av.VideoStream]:
    """The video stream of a file within the limits, its decoder told to stop at damage.

    Raises:
      VideoError: also in place of any error of FFmpeg inside the `with` block.
    """
    if not Path(path).is_file():  # a pipe would be waited for, a device read for ever
        raise VideoError(path, "it is not a file")
    # An absolute path is never taken for a protocol, and broken tags are no fault of the video.
    with (
        naming(path),
        av.open(str(Path(path).absolute()), options=_OPEN, metadata_errors="replace") as container,
    ):
        yield _video_stream(path, container)


def check_limits(path: str | Path, pixels: int, frames: int) -> None:
    """Refuses more than `MAX_FRAME_PIXELS`, `MAX_FRAMES` or `MAX_PIXELS`.

    Raises:
      VideoError: naming the number and the limit.
    """
    for what, value, limit in (
        ("pixels a frame", pixels, MAX_FRAME_PIXELS),
        ("frames", frames, MAX_FRAMES),
        ("pixels in all", pixels * frames, MAX_PIXELS),
    ):
        if value > limit:
            raise VideoError(
                path, f"it has {value} {what}, over the limit of {limit}; cut or shrink it first"
            )


def header_fps(path: str | Path, stream: av.VideoStream) -> float:
    """Frames per second, on average.

    Raises:
      VideoError: if there is no usable rate.
    """
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate <= MAX_FPS:
        raise VideoError(path, f"it has {rate:g} frames per second; a rate is above 0 and up to {MAX_FPS}")
    return rate


def header_seconds(stream: av.VideoStream) -> float:
    """The length of the video, 0 where the header does not say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):  # Matroska's
        hours, minutes, seconds = map(float, tag.groups())
        return 3600 * hours + 60 * minutes + seconds
    alone = len(stream.container.streams) == 1  # else the length may be that of the sound
    return (stream.container.duration or 0) / av.time_base if alone else 0.0


def header_frames(path: str | Path, stream: av.VideoStream) -> int:
    """The number of frames, counted by the header or else estimated; 0 where it does not say."""
    return stream.frames or round(header_seconds(stream) * header_fps(path, stream))


def _reason(error: Exception) -> str:
    """One line; FFmpeg's last message tells more than its error code."""
    log = getattr(error, "log", None)
    text = f"{error.strerror} ({log[2]})" if log else getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())


def _video_stream(path: str | Path, container: av.container.InputContainer) -> av.VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoError(path, "it has no video stream")
    stream = streams[0]
    if stream.codec_context is None:
        raise VideoError(path, "its codec is unknown")
    check_limits(path, stream.width * stream.height, header_frames(path, stream))
    if container.format.name == "gif" and not _has_gif_trailer(path):
        raise VideoError(path, "it is cut off")
    stream.codec_context.options = _DECODE
    stream.codec_context.thread_count = 1  # the loader reads several files at once
    return stream


def _has_gif_trailer(path: str | Path) -> bool:
    # GIF is the one format here whose header tells no length to hold the frames against.
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16))
        return file.read().rstrip(b"\0").endswith(b";")
