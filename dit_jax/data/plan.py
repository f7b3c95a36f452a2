# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is in batch k, for clips of one size, of several in buckets, and of any packed into rows.

A plan is made from the clips' sizes alone, and with a seed it answers for any position at once. So the batches
are the same for any number of hosts and workers, and resuming is a matter of where to start.
"""

import bisect
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from dit_jax.data.order import derived, permuted

Element = Mapping[str, np.ndarray]
Row = list[int]  # samples, see `order`


@runtime_checkable
class Plan(Protocol):
    """What a loader asks.

    Attributes:
      name: of the layout.
      num_clips: of the source.
      num_batches: whole ones in the first epoch.
      left_out: what the one epoch has that is in none of them, in words; "" for nothing.
      batch_multiple: which the number of rows of every batch is a multiple of.
      stride: positions that a batch takes.
      groups: by clip, of those that may stand for each other; None if all may.
      digest: of all that decides what a position means, but the seed and the data set.
    """

    name: str
    num_clips: int
    num_batches: int
    left_out: str
    batch_multiple: int
    stride: int
    groups: Int[np.ndarray, " N"] | None
    digest: str

    def batch(self, position: int, seed: int | None) -> list[Row]:
        """The rows of the global batch that begins at a position; without a seed in the source's order."""
        ...

    def assemble(self, elements: Sequence[Element]) -> Element:
        """A row of a batch, from its samples' arrays."""
        ...


class OneSize:
    """Clips of one size: a position is a number of samples, and a batch may begin anywhere."""

    name, groups, digest = "fixed", None, ""

    def __init__(self, num_clips: int, batch_size: int):
        self.num_clips = num_clips
        self.num_batches, rest = divmod(num_clips, batch_size)
        self.left_out = f"{rest} of {num_clips} clips" if rest else ""
        self.batch_multiple = self.stride = batch_size

    def batch(self, position: int, seed: int | None) -> list[Row]:
        places = (permuted(position + i, self.num_clips, seed) for i in range(self.stride))
        return [[epoch * self.num_clips + clip] for epoch, clip in places]

    def assemble(self, elements: Sequence[Element]) -> Element:
        return elements[0]


class Bucketed:
    """Clips of several sizes: each batch is of one bucket, and a position is a number of batches.

    A clip is seen once in every epoch of its bucket. What does not fill a batch waits for the bucket's next
    epoch; over e epochs a bucket of n clips gives `floor(e n / batch_size)` batches, and the batches of all
    buckets that fall into one epoch are shuffled together.

    Args:
      members: clips of each bucket; every clip is in one at most.
      batch_sizes: of each bucket.
      num_clips: of the source, with those that are in no bucket.
      batch_multiple: which the batch sizes are multiples of.
    """

    name, stride = "buckets", 1

    def __init__(
        self,
        members: Sequence[Int[np.ndarray, " M"]],
        batch_sizes: Sequence[int],
        num_clips: int,
        batch_multiple: int = 1,
    ):
        self._members = [clips for clips in members if len(clips)]
        self._sizes = tuple(size for clips, size in zip(members, batch_sizes) if len(clips))
        self._counts = tuple(len(clips) for clips in self._members)
        self.num_clips, self.batch_multiple = num_clips, batch_multiple
        self.groups = np.full(num_clips, -1, np.int32)
        for bucket, clips in enumerate(self._members):
            self.groups[clips] = bucket
        self.num_batches = self._before(1)
        rest = num_clips - sum(n // size * size for n, size in zip(self._counts, self._sizes))
        self.left_out = f"{rest} of {num_clips} clips" if rest else ""
        self.digest = digest(self.groups, self._sizes)

    def batch(self, position: int, seed: int | None) -> list[Row]:
        epoch = self._epoch(position)
        schedule = _schedule(self._counts, self._sizes, epoch, derived(seed, 0))
        bucket, turn = schedule[position - self._before(epoch)]
        count, size = self._counts[bucket], self._sizes[bucket]
        seed = derived(seed, 1, int(bucket))
        places = (permuted(int(turn) * size + i, count, seed) for i in range(size))
        return [[epoch * self.num_clips + int(self._members[bucket][i])] for epoch, i in places]

    def assemble(self, elements: Sequence[Element]) -> Element:
        return elements[0]

    def _before(self, epoch: int) -> int:
        """Batches in the epochs before one."""
        return sum(epoch * count // size for count, size in zip(self._counts, self._sizes))

    def _epoch(self, position: int) -> int:
        per_epoch = sum(count / size for count, size in zip(self._counts, self._sizes))
        latest = int((position + len(self._sizes)) / per_epoch * (1 + 1e-9)) + 2
        return bisect.bisect_right(range(latest + 1), position, key=self._before) - 1


@functools.lru_cache(maxsize=4)
def _schedule(
    counts: tuple[int, ...], sizes: tuple[int, ...], epoch: int, seed: int | None
) -> Int[np.ndarray, "batches 2"]:
    """An epoch's batches: the bucket of each, and which of the bucket's batches ever it is."""
    turns = [
        np.arange(epoch * count // size, (epoch + 1) * count // size) for count, size in zip(counts, sizes)
    ]
    buckets = np.repeat(np.arange(len(turns)), [len(numbers) for numbers in turns])
    if seed is not None:
        buckets = np.random.default_rng((seed, epoch)).permutation(buckets)
    schedule = np.stack([buckets, np.zeros_like(buckets)], axis=1)
    for bucket, numbers in enumerate(turns):
        schedule[buckets == bucket, 1] = numbers
    return schedule


def digest(array: np.ndarray, *values: Any) -> str:
    """Names what a plan was made from."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes() + repr(values).encode()).hexdigest()[:16]
