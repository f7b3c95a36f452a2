# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Records that cannot be read: another clip takes their place, and they are counted."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging
from grain.sources import RandomAccessDataSource
from jaxtyping import Int

MAX_DAMAGED = 1e-3  # of the clips; more is a set to write again
SOUND = -1


class DamagedClip(ValueError):
    """A record that fails its checksum or is not what its set says; the others may well be sound."""


class Quarantine:
    """A source whose damaged clips are replaced by sound ones of the same group.

    The substitute is the next sound clip of the group, so it is the same on every host, in every worker and
    in every epoch.

    Args:
      source: random access to clips or latents; raises `DamagedClip` for a damaged one.
      groups: by clip, of those that may stand for each other; by default all may.
    """

    def __init__(self, source: RandomAccessDataSource, groups: Int[np.ndarray, " N"] | None = None):
        self._source, self._groups = source, groups
        self._substitutes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A clip, and the number of the damaged one that it stands for, or `SOUND`.

        Raises:
          DamagedClip: the whole group is damaged.
        """
        if index in self._substitutes:
            return self._source[self._substitutes[index]], index
        try:
            return self._source[index], SOUND
        except DamagedClip as error:
            return self._substitute(index, error), index

    def _substitute(self, index: int, error: DamagedClip) -> Any:
        for other in self._others(index):
            try:
                clip = self._source[other]
            except DamagedClip:
                continue
            logging.warning("%s: clip %d stands for it", error, other)
            self._substitutes[index] = other
            return clip
        raise error

    def _others(self, index: int) -> Iterator[int]:
        if self._groups is None:
            return ((index + k) % len(self) for k in range(1, len(self)))
        members = np.flatnonzero(self._groups == self._groups[index])
        return map(int, np.roll(members, -int(np.searchsorted(members, index)))[1:])


def check_damage(damaged: set[int], num_clips: int) -> None:
    """Refuses a set of which too much is damaged.

    Raises:
      ValueError: more than `MAX_DAMAGED` of the clips.
    """
    if len(damaged) > MAX_DAMAGED * num_clips:
        raise ValueError(
            f"{len(damaged)} of {num_clips} clips are damaged, more than {MAX_DAMAGED:.1%}, such as clip "
            f"{min(damaged)}: write the set again"
        )
