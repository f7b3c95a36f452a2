# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Products with the shards of a kernel, and the groups of a torus in which its gradient is scattered."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.layers import shards
from dit_jax.layers.shards import GATHERED, by_shards, scatter_stages


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


@pytest.mark.parametrize("device", ["cpu", "tpu"])
@pytest.mark.parametrize("dim", [0, 1])
def test_all_rows_by_every_shard_are_the_product(dim, device, monkeypatch):
    """With its gradients; devices are a mapped axis here."""
    monkeypatch.setattr(shards, "platform", lambda: device)
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((8, 12), (12, 20)))
    loss = lambda multiply: lambda *args: jnp.sin(multiply(*args)).sum()  # noqa: E731
    of_device = loss(functools.partial(by_shards, dim=dim, dtype=jnp.float32))
    own = x.reshape(4, 2, -1), jnp.stack(jnp.split(kernel, 4, dim))
    losses, (of_x, of_kernel) = jax.vmap(jax.value_and_grad(of_device, (0, 1)), axis_name=GATHERED)(*own)
    wanted, of_both = jax.value_and_grad(loss(jnp.matmul), (0, 1))(x, kernel)
    found = losses.sum(), of_x.reshape(x.shape), jnp.concatenate(list(of_kernel), dim)
    for one, other in zip(found, (wanted, *of_both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
