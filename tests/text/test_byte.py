# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.text.byte import ByteTextConfig, ByteTextEncoder, byte_text_flops, encode_bytes
from tests.randomise import randomise

CONFIG = ByteTextConfig(max_bytes=32, width=16, depth=1, num_heads=2, stride=4, byte_width=8)


@pytest.fixture(scope="module")
def encoder():
    return randomise(lambda: ByteTextEncoder(CONFIG, rngs=nnx.Rngs(0)))


def ids(*texts):
    return jnp.asarray(np.stack([encode_bytes(text, CONFIG.max_bytes) for text in texts]))


@pytest.mark.parametrize(
    "text", ["", "red", "größer", "x" * 500, "日本語" * 40, "\x00\n$(id)../", "a\ud800b"]
)
def test_any_text_becomes_ids_of_one_length(text):
    row = encode_bytes(text, 32)
    assert row.shape == (32,)
    assert row[0] == 1
    assert 0 <= row.min() <= row.max() < 258


def test_a_cut_never_splits_a_character():
    row = encode_bytes("é" * 50, 32)  # two bytes each, 31 places: fifteen whole ones
    assert bytes((row[1:31] - 2).astype(np.uint8)).decode() == "é" * 15
    assert row[31] == 0


def test_different_texts_differ():
    assert len({encode_bytes(text, 32).tobytes() for text in ("", " ", "red", "Red", "red ")}) == 5


def test_padding_is_not_text(encoder):
    tokens, mask = encoder(ids("", "a red circle", "x" * 40))
    assert tokens.shape == (3, 8, 16)
    np.testing.assert_array_equal(mask.sum(1), [1, 4, 8])


def test_longer_padding_changes_no_token(encoder):
    longer = ByteTextEncoder(ByteTextConfig(**{**CONFIG.__dict__, "max_bytes": 64}), rngs=nnx.Rngs(0))
    nnx.update(longer, nnx.state(encoder))
    text = "a red circle"
    short, long = encoder(ids(text))[0], longer(jnp.asarray(encode_bytes(text, 64))[None])[0]
    np.testing.assert_allclose(short[:, :4], long[:, :4], rtol=1e-4, atol=1e-5)


def test_flops_agree_with_a_compile():
    config = ByteTextConfig(max_bytes=256, width=256, depth=2, num_heads=4)
    graph, params = nnx.split(nnx.eval_shape(lambda: ByteTextEncoder(config, rngs=nnx.Rngs(0))))
    arguments = params, jax.ShapeDtypeStruct((1, 256), jnp.int32)
    compiled = jax.jit(lambda p, i: nnx.merge(graph, p)(i)).lower(*arguments).compile()
    assert byte_text_flops(config) == pytest.approx(compiled.cost_analysis()["flops"], rel=0.02)


def test_wrong_lengths_are_named():
    with pytest.raises(ValueError, match=r"max_bytes=30 is not a multiple.*stride=4.*max_bytes=32"):
        ByteTextConfig(max_bytes=30)
