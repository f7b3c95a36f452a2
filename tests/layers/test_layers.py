# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.layers.attend import attend, ids_of_mask
from dit_jax.layers.attention import Attention, check_heads
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import sinusoids
from dit_jax.layers.mlp import MLP
from dit_jax.layers.norm import layer_norm, modulate, rms_norm
from dit_jax.layers.rope import apply_rope, rotations, split_pairs
from dit_jax.layers.stack import run_blocks, stack_blocks

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_dense_is_a_product_over_the_last_axis():
    dense = Dense(5, 3, rngs=nnx.Rngs(0))
    dense.bias[...] = normal(3)
    x = normal(2, 4, 5)
    expected = np.einsum("...i,io->...o", x, dense.kernel[...]) + dense.bias[...]
    np.testing.assert_allclose(dense(x), expected, rtol=1e-5, atol=1e-6)


def test_dense_of_scale_zero_is_zero():
    assert not Dense(5, 3, rngs=nnx.Rngs(0), scale=0.0)(normal(4, 5)).any()


def test_dense_computes_in_its_dtype_and_keeps_float32_parameters():
    dense = Dense(5, 3, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    assert dense(normal(4, 5)).dtype == jnp.bfloat16
    assert dense.kernel[...].dtype == jnp.float32


def test_norms():
    x = 3 + 2 * normal(6, 64)
    y = layer_norm(x)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(-1), 1, atol=1e-4)
    gain = normal(64)
    np.testing.assert_allclose(jnp.square(rms_norm(x, gain) / gain).mean(-1), 1, rtol=1e-4)
    np.testing.assert_allclose(modulate(x, jnp.zeros((1, 64)), jnp.zeros((1, 64))), y)


def test_attention_is_softmax_of_products():
    q, k, v = normal(2, 3, 4, 8), normal(2, 3, 5, 8), normal(2, 3, 5, 8)
    expected = jax.nn.dot_product_attention(*(a.swapaxes(1, 2) for a in (q, k, v))).swapaxes(1, 2)
    np.testing.assert_allclose(attend(q / 8**0.5, k, v), expected, rtol=1e-5, atol=1e-5)


def test_masked_keys_cannot_be_seen():
    q, k, v = normal(1, 2, 4, 8), normal(1, 2, 5, 8), normal(1, 2, 5, 8)
    mask = jnp.asarray([[True, True, False, True, False]])
    ids = ids_of_mask(mask)
    changed = jnp.where(mask[:, None, :, None], v, 100.0), jnp.where(mask[:, None, :, None], k, -100.0)
    np.testing.assert_allclose(attend(q, k, v, ids), attend(q, changed[1], changed[0], ids), rtol=1e-6)


def test_attention_without_positions_ignores_order():
    attention, x = Attention(16, 2, rngs=nnx.Rngs(0)), normal(2, 6, 16)
    order = RNG.permutation(6)
    np.testing.assert_allclose(attention(x[:, order]), attention(x)[:, order], rtol=1e-4, atol=1e-5)


def test_scale_of_the_tokens_does_not_change_whom_they_attend_to():
    """QK-norm: attention weights, and so a mean of equal values, do not depend on the input's scale."""
    attention, x = Attention(16, 2, rngs=nnx.Rngs(0)), normal(2, 6, 16)
    np.testing.assert_allclose(attention(1000 * x), 1000 * attention(x), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, 2, 0), (3, 1, 2)])
def test_rotary_products_depend_on_offsets_alone(shift):
    positions = jnp.asarray(RNG.integers(0, 5, (7, 3)), jnp.float32)
    q, k = normal(1, 1, 7, 12), normal(1, 1, 7, 12)

    def products(where):
        r = rotations(where, 12)
        return jnp.einsum("bhnd,bhmd->bhnm", apply_rope(q, r), apply_rope(k, r))

    moved = positions + jnp.asarray(shift, jnp.float32)
    np.testing.assert_allclose(products(moved), products(positions), rtol=1e-4, atol=1e-4)
    assert np.abs(products(positions) - products(0 * positions)).max() > 0.1


def test_every_axis_turns_some_pairs():
    assert split_pairs(8, 3) == (2, 3, 3)
    for axis in range(3):
        positions = jnp.zeros((1, 3)).at[0, axis].set(1.0)
        assert np.abs(rotations(positions, 16)[1] - rotations(jnp.zeros((1, 3)), 16)[1]).max() > 0.1


def test_heads_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="num_heads=5 does not cut width=32"):
        check_heads(32, 5)
    with pytest.raises(ValueError, match="num_heads=32 does not cut width=32"):
        check_heads(32, 32)


def test_sinusoids_tell_times_apart():
    features = sinusoids(jnp.linspace(0, 1, 50), 32)
    distance = jnp.linalg.norm(features[:, None] - features[None], axis=-1) + 10 * jnp.eye(50)
    assert features.shape == (50, 32)
    assert distance.min() > 0.05


@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_scan_equals_loop_and_remat_changes_no_number(remat, unroll):
    stacked = stack_blocks(lambda rngs: MLP(8, 16, rngs=rngs), 4, rngs=nnx.Rngs(0))
    x = normal(3, 8)

    def scanned(blocks, x):
        return run_blocks(blocks, lambda b, y: y + b(y), x, remat=remat, unroll=unroll).sum()

    def looped(blocks, x):
        for i in range(4):
            block = jax.tree.map(lambda a, i=i: a[i], blocks)
            x = x + block(x)
        return x.sum()

    for one, other in zip(*(jax.tree.leaves(jax.value_and_grad(f)(stacked, x)) for f in (scanned, looped))):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_remat_recomputes():
    """The backward pass with `full` holds more products than without."""
    stacked = stack_blocks(lambda rngs: MLP(8, 16, rngs=rngs), 4, rngs=nnx.Rngs(0))

    def products(remat):
        f = lambda b: run_blocks(b, lambda b, y: y + b(y), jnp.ones((3, 8)), remat=remat).sum()  # noqa: E731
        return str(jax.make_jaxpr(jax.grad(f))(stacked)).count("dot_general")

    assert products("full") > products("none")
