# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""In which groups of a torus the gradient of a kernel is scattered."""

import itertools

import pytest

from dit_jax.layers.shards import scatter_stages


def torus(*sides):
    return list(itertools.product(*map(range, sides)))


def scattered(stages, count):
    """Which of `count` parts of a sum each device has in the end."""
    held = [range(count)] * count
    for groups in stages:
        place = {i: (group.index(i), len(group)) for group in groups for i in group}
        held = [held[i][len(held[i]) // n * k :][: len(held[i]) // n] for i, (k, n) in sorted(place.items())]
    return [list(parts) for parts in held]


@pytest.mark.parametrize("sides", [(2, 2, 2), (2, 4, 4), (4, 4, 4), (3, 2, 2)])
def test_three_dims_are_scattered_by_planes_in_the_order_of_devices(sides):
    coords = torus(*sides)
    stages = scatter_stages(coords)
    assert scattered(stages, len(coords)) == [[i] for i in range(len(coords))]
    for group in itertools.chain(*stages):
        assert sum(len(set(along)) > 1 for along in zip(*(coords[i] for i in group))) <= 2


@pytest.mark.parametrize(
    "coords", [[()] * 4, torus(4, 4, 1), torus(1, 1, 1), [(0, 0, 0), (1, 1, 1), (2, 0, 2)]]
)
def test_what_lies_in_a_plane_or_has_no_planes_is_scattered_at_once(coords):
    assert scatter_stages(coords) == (None,)
