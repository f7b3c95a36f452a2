# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes small video files of every kind for the tests."""

from fractions import Fraction

import av
import numpy as np

av.logging.set_level(av.logging.PANIC)


def levels(num_frames, height=32, width=48):
    """Gray frames, each 6 levels lighter than the one before, so that a frame is known by its mean."""
    return np.stack([np.full((height, width, 3), 20 + 6 * k, np.uint8) for k in range(num_frames)])


def frame_numbers(video):
    """Inverse of `levels`, after any lossy coding."""
    return [round((float(image.mean()) - 20) / 6) for image in video]


def noise(num_frames, height=64, width=96, seed=0):
    """A noise texture that slides to the left: hard to code, so that a byte of the file matters."""
    texture = np.random.default_rng(seed).integers(0, 255, (height, width + num_frames, 3), np.uint8)
    return np.stack([texture[:, k : k + width] for k in range(num_frames)])


def write(
    path,
    images,
    *,
    milliseconds=None,
    fps=25,
    codec="libx264",
    pix_fmt="yuv420p",
    matrix=None,
    pixel_aspect=1,
    **options,
):
    """Encodes `images`; with `milliseconds`, each is shown at its own time."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=fps, options={k: str(v) for k, v in options.items()})
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], pix_fmt
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = Fraction(pixel_aspect)
        if pix_fmt == "gray":
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image))
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[k], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path):
    """A file with sound and no video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for _ in range(8):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
