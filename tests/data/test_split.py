# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from dit_jax.data.split import Part


def parts(ends, num_validation, gap):
    source = range(ends[-1])
    made = [Part(source, training, num_validation, gap, ends) for training in (True, False)]
    return [[part[i] for i in range(len(part))] for part in made]


def test_the_end_of_every_group_is_held_out_by_its_size():
    train, held = parts([100, 150, 200], 20, 4)
    assert held == [*range(90, 100), *range(145, 150), *range(195, 200)]
    assert train == [*range(86), *range(100, 141), *range(150, 191)]


@pytest.mark.parametrize("seed", range(5))
def test_of_any_groups_all_that_is_asked_for_is_held_out_and_shares_no_frame(seed):
    rng = np.random.default_rng(seed)
    ends, gap = np.cumsum(rng.integers(1, 40, 12)).tolist(), int(rng.integers(0, 5))
    train, held = parts(ends, 30, gap)
    assert len(held) == min(30, ends[-1] // 4)
    group = np.repeat(np.arange(12), np.diff([0, *ends]))
    for clip in held:
        near = [other for other in train if abs(clip - other) <= gap and group[clip] == group[other]]
        assert near == []


def test_many_small_groups_lose_few_clips():
    """Where more files than clips are held out, whole files stay in training."""
    train, held = parts(list(range(3, 303, 3)), 10, 2)
    assert len(held) == 10
    assert len(train) == 300 - 10 * 3


def test_groups_that_overlap_too_much_are_refused():
    with pytest.raises(ValueError, match="none is left to train on beside 2 held out"):
        Part(range(8), True, 2, 8)
