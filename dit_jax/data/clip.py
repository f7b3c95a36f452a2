# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What every source of video yields: pixels, captions, and a name."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from dit_jax.arrays import VideoBytes


@dataclasses.dataclass(frozen=True)
class Clip:
    """A captioned clip.

    Attributes:
      video: `T H W C` uint8, RGB.
      fps: frames per second.
      captions: text by level, such as `{"dense": ..., "short": ..., "tag": ...}`; may be empty.
      key: names the clip uniquely within its source, the same in every run.
      truth: what is exactly known of the clip (a simulator's state by frame), else None.
    """

    video: VideoBytes
    fps: float
    captions: Mapping[str, str]
    key: str
    truth: Mapping[str, Any] | None = None


@runtime_checkable
class ClipSource(Protocol):
    """Random access to clips: what `loader` reads (Grain's `RandomAccessDataSource`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...
