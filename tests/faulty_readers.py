# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for `extract.read_file` that fail at one file; a worker process imports them by name."""

import ctypes

from dit_jax.data import extract
from dit_jax.data.video_header import VideoError

_read_file = extract.read_file


def crash_at_deep(path, segments, windows):
    """Ends the process as a broken decoder does."""
    if path.endswith("deep.mp4"):
        yield "0" * 64
        ctypes.string_at(0)
    yield from _read_file(path, segments, windows)


def refuse_odd(path, segments, windows):
    """Finds fault with a file when its first clip is out already."""
    items = _read_file(path, segments, windows)
    if path.endswith("odd.mkv"):
        yield from (next(items) for _ in range(3))
        raise VideoError(path, "it turns out to be unsound")
    yield from items
