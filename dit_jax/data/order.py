# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which sample comes when: index arithmetic, so that any place of any epoch is found without those before.

Sample `epoch * num_clips + clip` is a clip as an epoch draws it.
"""

import functools

import grain
import numpy as np
from jaxtyping import Int

ENDLESS = 2**31 - 1  # the length of a source that makes clips as they are asked for


def permuted(place: int, length: int, seed: int | None) -> tuple[int, int]:
    """The epoch of a place in the endless order of `length` things, and which of them is there.

    Args:
      place: from 0.
      length: of an epoch.
      seed: of the shuffle, another in each epoch; None keeps the order, as things without end do, which come
        in a random one.
    """
    epoch, within = divmod(place, length)
    if seed is None or length >= ENDLESS:
        return epoch, within
    return epoch, _shuffled(within, length, (seed + epoch) % 2**32)


def _shuffled(index: int, length: int, seed: int) -> int:
    # Grain's permutation needs no memory, but below 2**16 it searches: 3 ms an index at a length of 10.
    if length < 2**16:
        return int(permutation(length, seed)[index])
    return grain.experimental.index_shuffle(index, max_index=length - 1, seed=seed, rounds=4)


@functools.lru_cache(maxsize=1024)
def permutation(length: int, seed: int) -> Int[np.ndarray, " length"]:
    """A permutation; kept, for the next place needs it again."""
    return np.random.default_rng(seed).permutation(length).astype(np.int32)


@functools.lru_cache(maxsize=4096)
def derived(seed: int | None, *path: int) -> int | None:
    """A seed of its own for a part of what `seed` decides; None stays None."""
    return None if seed is None else int(np.random.SeedSequence((seed, *path)).generate_state(1)[0])
