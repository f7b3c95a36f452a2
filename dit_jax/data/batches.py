# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a plan to arrays: Grain datasets of transformed clips, and of a host's part of every batch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from dit_jax.data.plan import Plan
from dit_jax.data.quarantine import SOUND, Quarantine

Transform = grain.transforms.RandomMap | Callable[[Any, np.random.Generator], Mapping[str, Any]]
DAMAGED = "damaged"  # beside a batch's arrays: numbers of the clips for which others stand


class _Clips(grain.MapDataset):
    """The source for ever: sample `epoch * len + i` is clip i."""

    def __init__(self, source: Quarantine):
        super().__init__()
        self._source, self._num_clips = source, len(source)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        return self._source[index % self._num_clips]


class _Apply(grain.transforms.RandomMap):
    """A transform of clips that passes on the number beside each."""

    def __init__(self, transform: Transform):
        is_map = isinstance(transform, grain.transforms.RandomMap)
        self._transform = transform.random_map if is_map else transform

    def random_map(self, element: tuple[Any, int], rng: np.random.Generator) -> tuple[Mapping[str, Any], int]:
        clip, number = element
        return self._transform(clip, rng), number


def samples(source: Quarantine, transform: Transform, seed: int) -> grain.MapDataset:
    """Transformed clips by the number of the sample, each with that of the damaged clip it stands for."""
    return _Clips(source).random_map(_Apply(transform), seed=seed)


class HostBatches(grain.MapDataset):
    """The rows of host `index` of `count` in the global batches from a position on, block after block.

    Args:
      samples: from `samples`.
      plan: what is in which batch.
      seed: of the shuffle; None for none.
      position: of the first batch.
      repeat: for ever; else to the end of the first epoch.
      index: of this host.
      count: of hosts.
    """

    def __init__(
        self,
        samples: grain.MapDataset,
        plan: Plan,
        seed: int | None,
        position: int,
        repeat: bool,
        index: int,
        count: int,
    ):
        super().__init__(samples)
        self._plan, self._seed, self._position, self._hosts = plan, seed, position, (index, count)
        self._length = sys.maxsize // 2 if repeat else max(0, plan.num_batches - position // plan.stride)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        rows = self._plan.batch(self._position + index * self._plan.stride, self._seed)
        host, count = self._hosts
        mine = rows[host * len(rows) // count : (host + 1) * len(rows) // count]
        read = [[self._parent[sample] for sample in row] for row in mine]
        arrays = [self._plan.assemble([element for element, _ in row]) for row in read]
        damaged = {number for row in read for _, number in row} - {SOUND}
        return {**_stacked(arrays), DAMAGED: np.array(sorted(damaged), np.int64)}


def by_size(elements: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Elements whole, in batches of one size each, the sizes in the order in which they first come."""
    groups: dict[tuple, list[Mapping[str, np.ndarray]]] = {}
    for element in elements:
        groups.setdefault(tuple((name, array.shape) for name, array in element.items()), []).append(element)
    return [_stacked(group) for group in groups.values()]


def _stacked(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
