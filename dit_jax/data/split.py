# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is trained on and what is held out, of clips that may share frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dit_jax.data.clip import ClipSource


class Part:
    """The first clips of each group of a source, or the last ones, which are held out for validation.

    A group is a file, where the source knows of files: what is held out then is the end of each of them, so
    that validation sees all that training sees, at a later time. No more than a quarter is held out.

    Args:
      source: all clips, group after group, in the order of their frames.
      training: which part.
      num_validation: clips to hold out, spread over the groups by their sizes.
      gap: clips before those that belong to neither part, for they share frames with what is held out.
      ends: where each group ends; by default the source is one.

    Attributes:
      gap: clips this far apart in a group share no frame.

    Raises:
      ValueError: the clips are too few.
    """

    def __init__(
        self, source: ClipSource, training: bool, num_validation: int, gap: int, ends: Sequence[int] = ()
    ):
        held_out = min(num_validation, len(source) // 4)
        if held_out < 2:
            raise ValueError(
                f"{len(source)} clips are too few: 2 of 8 at least are held out. Give more video, shorter "
                "clips (config.data.num_frames) or overlapping windows (config.data.folder.stride_seconds)"
            )
        bounds = np.array([0, *(ends or [len(source)])])
        quotas = np.diff(np.round(held_out * bounds / len(source)).astype(int))
        firsts = bounds[1:] - quotas
        lasts = np.maximum(bounds[:-1], firsts - gap * (quotas > 0))
        trained = [np.arange(*pair) for pair in zip(bounds[:-1], lasts)]
        if not sum(map(len, trained)):
            raise ValueError(
                f"{len(source)} clips overlap so much that none is left to train on beside {held_out} held "
                "out: give more video or a longer config.data.folder.stride_seconds"
            )
        held = [np.arange(*pair) for pair in zip(firsts, bounds[1:])]
        self.source, self.gap = source, gap
        self._indices = np.concatenate(trained if training else held)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self._indices[range(len(self))[index]])]
