# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the backward pass keeps of stacked blocks, and that it changes no number."""

import jax
import numpy as np
import pytest
from flax import nnx
from jax import numpy as jnp

from configs import known_world
from dit_jax.layers.attention import Attention
from dit_jax.layers.mlp import MLP
from dit_jax.layers.norm import layer_norm
from dit_jax.layers.stack import REMAT, check_offload, check_remat, run_blocks, stack_blocks
from dit_jax.sweep.activations import activation_bytes

DEPTH, TOKENS, WIDTH = 3, 48, 32


class Block(nnx.Module):
    def __init__(self, rngs):
        self.attention = Attention(8, 2, rngs=rngs)
        self.mlp = MLP(8, 16, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(layer_norm(x))
        return x + self.mlp(layer_norm(x))


@pytest.fixture(scope="module")
def gradients():
    """Of one loss under every policy, and the program of each."""
    blocks = stack_blocks(lambda rngs: Block(rngs), DEPTH, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 8)), jnp.float32)
    found = {}
    for remat in REMAT:
        loss = lambda b, x, r=remat: jnp.square(run_blocks(b, lambda b, y: b(y), x, remat=r)).mean()  # noqa: E731
        gradient = jax.value_and_grad(loss, (0, 1))
        found[remat] = jax.jit(gradient)(blocks, x), str(jax.make_jaxpr(gradient)(blocks, x))
    return found


@pytest.mark.parametrize("remat", REMAT)
def test_no_policy_changes_a_number(gradients, remat):
    expected, found = (jax.tree.leaves(gradients[name][0]) for name in ("none", remat))
    assert max(float(jnp.abs(a).max()) for a in expected[1:]) > 1e-3
    for one, other in zip(expected, found):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_the_less_is_kept_the_more_is_computed(gradients):
    products = [gradients[remat][1].count("dot_general") for remat in REMAT]
    assert products == sorted(products)
    none, dots, attention, full, offload = products
    assert none < dots < attention < full == offload


def kept(remat, depth):
    config = known_world.get_config()
    config.backbone.update(width=WIDTH, num_heads=2, text_width=WIDTH, remat=remat, depth=depth)
    config.text.update(width=WIDTH, num_heads=2)
    return activation_bytes(config, (3, 4, 4, 16))


def test_what_a_block_keeps_on_the_device():
    """`attention`: its input and what its tokens see of each other; `offload`: nothing."""
    a_block = {remat: (kept(remat, 3) - kept(remat, 2)) / (TOKENS * WIDTH * 4) for remat in REMAT}
    assert a_block["none"] > a_block["dots"] > a_block["attention"]
    assert [a_block[remat] for remat in ("attention", "full", "offload")] == [2, 1, 0]


def test_offload_says_where_it_can_not():
    check_offload({"device", "pinned_host"})
    with pytest.raises(ValueError, match="pinned_host, and this device has device: choose remat='full'"):
        check_offload({"device"})
    with pytest.raises(ValueError, match="remat='some' is not one of none, dots, attention, full, offload"):
        check_remat("some")
