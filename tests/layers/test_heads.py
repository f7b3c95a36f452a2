# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Products by heads are plain products, whatever device they are written for and however tokens lie."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.layers import attend_tpu, sharded
from dit_jax.layers.dense import Dense, side_by_side
from dit_jax.mesh import MeshConfig, make_mesh, on_mesh

HEADS = 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6, 128)), jnp.float32)


def there_and_back(params, x):
    """To heads and from them again, with a weight, so that every gradient counts."""
    y = sharded.to_heads(x, params[0], HEADS, jnp.float32)
    return jnp.sin(sharded.from_heads(y, params[1], jnp.float32)).sum()


def plain(params, x):
    return jnp.sin(x @ params[0] @ params[1]).sum()


@pytest.mark.parametrize("device", ["cpu", "tpu"])
def test_a_product_by_heads_is_the_product(device, monkeypatch):
    monkeypatch.setattr(sharded, "platform", lambda: device)
    kernels = [
        jnp.asarray(np.random.default_rng(i).normal(size=(128, 128)) / 12, jnp.float32) for i in (1, 2)
    ]
    found = jax.value_and_grad(there_and_back, argnums=(0, 1))(kernels, X)
    wanted = jax.value_and_grad(plain, argnums=(0, 1))(kernels, X)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use_bias", [False, True])
def test_layers_side_by_side_are_each_by_itself(use_bias):
    rngs = nnx.Rngs(0)
    layers = [Dense(128, 32, rngs=rngs, use_bias=use_bias) for _ in range(3)]
    if use_bias:
        for i, layer in enumerate(layers):
            layer.bias[...] = jnp.arange(32.0) + i
    for layer, found in zip(layers, side_by_side(layers, X, HEADS), strict=True):
        assert found.shape == (8, HEADS, 6, 8)
        rows = found.swapaxes(1, 2).reshape(8, 6, 32)
        np.testing.assert_allclose(rows, layer(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("on_a_mesh", [False, True])
@pytest.mark.parametrize("head_dim", [64, 128, 192, 256])
def test_keys_go_in_few_tiles_that_hold_them_all(head_dim, on_a_mesh):
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    for num_keys in (1, 77, 256, 1024, 1025, 4096, 16384, 16385, 17408, 65536, 100_000):
        with on_mesh(mesh) if on_a_mesh else contextlib.nullcontext():
            block, columns = attend_tpu._key_tiles(num_keys, head_dim)
        room = (attend_tpu.KEYS_ON_MESH if on_a_mesh else attend_tpu.KEYS) // max(head_dim, 128)
        assert columns >= num_keys
        assert columns % block == 0
        assert block % min(block, attend_tpu.BLOCK) == 0
        assert block <= room + attend_tpu.BLOCK
        assert columns // block <= -(-(num_keys + attend_tpu.BLOCK) // room)
