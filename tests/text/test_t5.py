# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.text.t5 import PRESETS, T5Config, T5Encoder, relative_buckets
from tests.randomise import randomise

CONFIG = T5Config(vocab_size=50, width=12, depth=2, num_heads=3, head_dim=8, mlp_width=20)
KINDS = (False, True)  # per_layer_bias: T5, UMT5


def encoder(**changes):
    return randomise(lambda: T5Encoder(dataclasses.replace(CONFIG, **changes), rngs=nnx.Rngs(0)))


run = jax.jit(lambda model, tokens, mask: model(tokens, mask))


def prompts(*lengths, pad_to=None):
    length = pad_to or max(lengths)
    mask = np.arange(length) < np.array(lengths)[:, None]
    tokens = np.random.default_rng(0).integers(2, CONFIG.vocab_size, (len(lengths), length))
    return jnp.asarray(np.where(mask, tokens, 0), jnp.int32), jnp.asarray(mask)


# Of the encoders of DeepFloyd/t5-v1_1-xxl and of Wan's umt5-xxl, and of the whole models, as their cards say.
ENCODERS = {"t5-v1_1-xxl": 4_762_310_656, "umt5-xxl": 5_680_910_336}
WHOLE = {
    "t5-v1_1-small": 76_961_152,
    "t5-v1_1-base": 247_577_856,
    "t5-v1_1-large": 783_150_080,
    "t5-v1_1-xl": 2_849_757_184,
    "t5-v1_1-xxl": 11_135_332_352,
    "umt5-small": 307e6,
    "umt5-base": 592e6,
    "umt5-xl": 3.77e9,
    "umt5-xxl": 12.97e9,
}


def count(config):
    module = nnx.eval_shape(lambda: T5Encoder(config, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def decoder_parameters(config):
    """A decoder has the encoder's blocks, a cross-attention with its gain in each, and a head of its own."""
    attention = 4 * config.width * config.num_heads * config.head_dim + config.width
    embedding = config.vocab_size * config.width
    return count(config) - embedding + config.depth * attention + embedding


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_number_of_parameters(name):
    config = PRESETS[name]
    assert count(config) == ENCODERS.get(name, count(config))
    tolerance = 0 if isinstance(WHOLE[name], int) else 2e-3  # rounded in print
    assert count(config) + decoder_parameters(config) == pytest.approx(WHOLE[name], rel=tolerance)


def test_buckets_by_hand():
    """Exact to 7; then 8 * 16^(i/8): 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5; keys ahead have 16 more."""
    edges = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 127, 128, 5000]
    expected = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 15, 15]
    offsets = np.array(edges)
    np.testing.assert_array_equal(relative_buckets(-offsets, 32, 128), expected)
    np.testing.assert_array_equal(relative_buckets(offsets[1:], 32, 128), np.array(expected[1:]) + 16)


@pytest.mark.parametrize("per_layer_bias", KINDS)
def test_padding_changes_no_token(per_layer_bias):
    model = encoder(per_layer_bias=per_layer_bias)
    tokens, mask = prompts(5, 9, pad_to=14)
    padded = run(model, tokens.at[0, 5:].set(7), mask)  # whatever stands in the padding
    for row, length in enumerate((5, 9)):
        alone = run(model, tokens[row : row + 1, :length], mask[row : row + 1, :length])
        np.testing.assert_allclose(padded[row, :length], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_layer_bias", KINDS)
def test_the_order_of_tokens_matters_through_the_bias_alone(per_layer_bias):
    model = encoder(per_layer_bias=per_layer_bias)
    tokens, mask = prompts(8)
    reverse = lambda: run(model, tokens[:, ::-1], mask)[:, ::-1]  # noqa: E731
    assert jnp.abs(reverse() - run(model, tokens, mask)).max() > 1e-2
    bias = model.blocks.bias if per_layer_bias else model.bias
    bias.table.set_value(jnp.zeros_like(bias.table[...]))
    np.testing.assert_allclose(reverse(), run(model, tokens, mask), rtol=1e-4, atol=1e-5)


def test_every_block_of_umt5_has_its_own_bias():
    assert encoder(per_layer_bias=True).blocks.bias.table.shape == (2, 32, 3)
    assert encoder(per_layer_bias=True).bias is None
    assert encoder().bias.table.shape == (32, 3)
    assert encoder().blocks.bias is None


def test_bfloat16_is_near_and_sums_in_float32():
    tokens, mask = prompts(6, 10)
    exact, half = (run(encoder(dtype=dtype), tokens, mask) for dtype in ("float32", "bfloat16"))
    assert half.dtype == jnp.float32
    error = jnp.abs(half - exact)[mask].max() / jnp.abs(exact)[mask].max()
    assert 1e-5 < error < 3e-2


def test_initial_logits_have_unit_scale():
    """They are not scaled by the heads' width, and so the queries must be small from the start."""
    attention = T5Encoder(dataclasses.replace(CONFIG, width=64), rngs=nnx.Rngs(0)).blocks.attention
    x = np.random.default_rng(0).normal(size=(500, 64))
    q, k = (x @ dense.kernel[...][0, :, :8] for dense in (attention.query, attention.key))
    assert float((q @ k.T).std()) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(depth=0), "depth=0 must be at least 1"),
        (dict(num_buckets=30), "num_buckets=30 must be a multiple of 4"),
        (dict(max_distance=8), "max_distance=8 must exceed num_buckets / 4 = 8"),
        (dict(dtype="float16"), "dtype='float16' is not one of float32, bfloat16"),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)
