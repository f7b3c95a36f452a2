# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which sample is in which batch: index arithmetic on Grain's `MapDataset`."""

import functools

import grain
import numpy as np
from grain.sources import RandomAccessDataSource

ENDLESS = 2**31 - 1  # the length of a source that makes clips as they are asked for


class Epochs(grain.MapDataset):
    """A source, in another order each epoch if given a seed; index `len + i` is sample i of the second epoch.

    An endless source keeps its own order, which is random already. Grain's own source and shuffle would take
    most of the time of a small batch: their metrics walk every element, and see `_shuffled`.
    """

    def __init__(self, source: RandomAccessDataSource, seed: int | None):
        super().__init__()
        self._source, self._length = source, len(source)
        self._seed = None if self._length >= ENDLESS else seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        epoch, within = divmod(index, self._length)
        if self._seed is not None:
            within = _shuffled(within, self._length, (self._seed + epoch) % 2**32)
        return self._source[within]


class HostRows(grain.MapDataset):
    """The rows of host `index` of `count` in the global batches after `start` samples: block after block."""

    def __init__(self, samples: grain.MapDataset, start: int, batch_size: int, index: int, count: int):
        super().__init__(samples)
        self._start, self._batch_size, self._num_rows = start, batch_size, batch_size // count
        self._offset = start + index * self._num_rows

    def __len__(self) -> int:
        return max(0, len(self._parent) - self._start) // self._batch_size * self._num_rows

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, self._num_rows)
        return self._parent[self._offset + batch * self._batch_size + row]


def _shuffled(index: int, length: int, seed: int) -> int:
    # Grain's permutation needs no memory, but below 2**16 it searches: 3 ms an index at a length of 10.
    if length < 2**16:
        return int(_permutation(length, seed)[index])
    return grain.experimental.index_shuffle(index, max_index=length - 1, seed=seed, rounds=4)


@functools.lru_cache(maxsize=8)
def _permutation(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(length)
