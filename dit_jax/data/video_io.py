# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Video files in and out, and clips as a picture to look at."""

import dataclasses
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from dit_jax.arrays import VideoBytes
from dit_jax.data.video_decode import decode, first_frame, quarter_turns
from dit_jax.data.video_header import VideoError, header_fps, header_frames, header_seconds, opened

_MARGIN = 4  # pixels around the frames of a film strip


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a file's header and first frame say.

    Attributes:
      num_frames: counted by the header, else estimated from the duration; 0 where it says neither.
      duration_seconds: 0 where the header does not say.
      fps: on average.
      height, width: in stored pixels, after the rotation.
      rotation: degrees counter-clockwise by which a viewer turns the stored frames: 0, 90, 180 or 270.
    """

    num_frames: int
    duration_seconds: float
    fps: float
    height: int
    width: int
    rotation: int


def probe(path: str | Path) -> VideoInfo:
    """Describes a video by its header and its first frame.

    Raises:
      VideoError: if it is not a video, is over the limits, or its first frame does not decode.
    """
    frame = first_frame(path)
    turns = quarter_turns(path, frame)
    height, width = (frame.height, frame.width)[:: -1 if turns % 2 else 1]
    with opened(path) as stream:
        frames, seconds, fps = header_frames(path, stream), header_seconds(stream), header_fps(path, stream)
    return VideoInfo(frames, seconds, fps, height, width, 90 * turns)


def read_video(
    path: str | Path,
    *,
    num_frames: int,
    height: int,
    width: int,
    fps: float | None = None,
    start_seconds: float = 0.0,
) -> VideoBytes:
    """Reads frames by their times: the k-th is the one on screen at `start_seconds + k / fps`.

    Frames are turned as the metadata says, resized to cover `height` x `width` and cropped to the centre.
    Deep colour becomes 8 bits, gray becomes RGB, transparency is dropped, and high dynamic range is not
    tone-mapped.

    Args:
      path: a local file: mp4, mov, mkv, webm, avi or gif.
      num_frames: how many.
      height, width: of the result, in pixels.
      fps: frames per second; the file's average by default.
      start_seconds: from the file's first frame.

    Returns:
      uint8 `[num_frames, height, width, 3]`.

    Raises:
      VideoError: if the file is damaged, too short, too large, has no video, or is of another format.
    """
    if min(num_frames, height, width) < 1 or start_seconds < 0 or (fps is not None and fps <= 0):
        raise ValueError(
            f"asked for {num_frames} frames of {height}x{width} at {fps} a second from {start_seconds}; "
            "give counts and rates above 0"
        )
    if fps is None:
        with opened(path) as stream:
            fps = header_fps(path, stream)
    stop = start_seconds + num_frames / fps
    decoded = decode(path, height=height, width=width, start=start_seconds, stop=stop)
    if start_seconds >= decoded.room(num_frames, fps):
        raise VideoError(
            path, f"it ends at {decoded.end:g} seconds, before {num_frames} frames at {fps:g} fps"
        )
    return np.stack([decoded.images[index] for index in decoded.indices(num_frames, fps, start_seconds)])


def write_video(path: str | Path, video: np.ndarray, fps: float) -> None:
    """Writes an mp4 that browsers play: H.264, 4:2:0, the index first. The file appears whole or not at all.

    An odd height or width is padded to even by repeating the last row or column.

    Args:
      path: of the file.
      video: uint8 `[T, H, W, 3]`.
      fps: frames per second.

    Raises:
      ValueError: for another shape or dtype, no frames, or a rate that is not above 0.
    """
    video = np.asarray(video)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or 0 in video.shape:
        raise ValueError(f"video is {video.dtype} {video.shape}; give uint8 [T,H,W,3] with frames in it")
    if not 0 < fps < np.inf:
        raise ValueError(f"fps is {fps}; give a rate above 0")
    even = np.pad(video, ((0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)), mode="edge")
    partial = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
    try:
        _encode(partial, even, Fraction(fps).limit_denominator(1001))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, video: VideoBytes, rate: Fraction) -> None:
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "17"})
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], "yuv420p"
        # Players guess the matrix by the size of the picture unless it is named.
        stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
        for image in video:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image))
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())


def write_film_strip(
    path: str | Path, rows: Sequence[np.ndarray], labels: Sequence[str], scale: int = 1
) -> None:
    """Writes a picture with one row per clip: its frames side by side, and its label under them.

    Args:
      path: of the PNG.
      rows: clips, uint8 `[T, H, W, 3]`; sizes may differ.
      labels: one line of text for each.
      scale: whole number by which to enlarge, without smoothing.

    Raises:
      ValueError: if rows and labels differ in number, or there are none.
    """
    if not rows or len(rows) != len(labels):
        raise ValueError(f"{len(rows)} rows and {len(labels)} labels; give as many of each, at least one")
    strips = [_strip(video, " ".join(label.split()), scale) for video, label in zip(rows, labels)]
    picture = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    picture.save(path, "PNG")


def _strip(video: UInt8[np.ndarray, "T H W 3"], label: str, scale: int) -> Image.Image:
    frames = np.pad(video, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)  # a line between frames
    row = np.concatenate(list(frames), axis=1).repeat(scale, 0).repeat(scale, 1)
    font = ImageFont.load_default(size=14)
    right, bottom = font.getbbox(label)[2:]
    width, height = max(row.shape[1], right), row.shape[0] + bottom
    picture = Image.new("RGB", (width + 2 * _MARGIN, height + 3 * _MARGIN), "white")
    picture.paste(Image.fromarray(row), (_MARGIN, _MARGIN))
    ImageDraw.Draw(picture).text((_MARGIN, row.shape[0] + 2 * _MARGIN), label, fill="black", font=font)
    return picture


def write_clips(folder: str | Path, videos: Sequence[VideoBytes], fps: float, labels: Sequence[str]) -> None:
    """`00.mp4`, `01.mp4`, ... and a film strip of all, `strip.png`, with a label each."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for index, video in enumerate(videos):
        write_video(folder / f"{index:02d}.mp4", video, fps)
    write_film_strip(folder / "strip.png", list(videos), labels, scale=2)
