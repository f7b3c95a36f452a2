# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.dit_flops import dit_flops
from dit_jax.backbone.patchify import patchify, token_grid, unpatchify
from tests.randomise import randomise

CONFIG = DiTConfig(in_channels=4, width=16, depth=2, num_heads=2, text_width=12, patch=(1, 2, 2))
SHAPE = (2, 3, 4, 6, 4)
RNG = np.random.default_rng(0)
VARIANTS = [
    dict(),
    dict(attention="factorised", mlp="swiglu"),
    dict(
        attention="alternating",
        depth=4,
        positions="sincos",
        modulation="shared",
        qk_norm="none",
        qkv_bias=True,
    ),
    dict(attention="windowed", window=(3, 1, 3), text="pooled"),
    dict(attention="windowed", window=(3, 2, 1), text_norm="affine", text_projection=True),
    dict(attention="sparse", skip=3, qk_norm="width"),
    dict(text="context", num_registers=2),
    dict(positions="learned", learned_size=(2, 4, 4), modulation="shared", num_registers=3, text_norm="none"),
    dict(text="pooled", positions="sincos"),
]


def inputs(shape=SHAPE):
    x = jnp.asarray(RNG.normal(size=shape), jnp.float32)
    text = jnp.asarray(RNG.normal(size=(shape[0], 5, 12)), jnp.float32)
    mask = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])[: shape[0]]
    return x, jnp.linspace(0.2, 0.7, shape[0]), text, mask


@pytest.fixture(scope="module", params=["joint", "factorised"])
def model(request):
    return randomise(lambda: DiT(dataclasses.replace(CONFIG, attention=request.param), rngs=nnx.Rngs(0)))


def test_patches_come_back():
    x = inputs()[0]
    tokens = patchify(x, (3, 2, 2))
    assert tokens.shape == (2, 6, 48)
    np.testing.assert_array_equal(unpatchify(tokens, (3, 2, 2), token_grid(x.shape, (3, 2, 2))), x)


def test_tokens_are_ordered_by_time_row_column():
    x = jnp.arange(2 * 4 * 4, dtype=jnp.float32).reshape(1, 2, 4, 4, 1)
    np.testing.assert_array_equal(patchify(x, (1, 2, 2))[0, :, 0], [0, 2, 8, 10, 16, 18, 24, 26])


def test_a_patch_that_does_not_divide_is_named():
    with pytest.raises(ValueError, match=r"patch=\(1, 3, 2\) does not divide .*\(3, 4, 6\)"):
        token_grid(SHAPE, (1, 3, 2))


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_blocks_are_the_identity_at_initialisation(change):
    """What enters the blocks is what leaves them, whatever they are made of."""
    model, seen = DiT(dataclasses.replace(CONFIG, **change), rngs=nnx.Rngs(0)), []
    x, t, text, mask = inputs()
    run = model._run
    model._run = lambda tokens, context: seen.append((tokens, run(tokens, context))) or seen[0][1]
    assert not model(x, t, text, mask).any()  # the head starts at zero
    if change.get("positions") == "sincos" and change.get("attention") == "alternating":
        return  # its positions in time are added on the way
    np.testing.assert_array_equal(*seen[0])


def test_prediction_depends_on_time_text_and_position(model):
    x, t, text, mask = inputs()
    y = model(x, t, text, mask)
    assert y.shape == x.shape
    for changed in (model(x, t + 0.1, text, mask), model(x, t, text + 1, mask)):
        assert np.abs(changed - y).max() > 1e-3
    flipped = model(x[:, :, ::-1], t, text, mask)[:, :, ::-1]
    assert np.abs(flipped - y).max() > 1e-3


def test_padded_text_and_other_clips_cannot_be_seen(model):
    x, t, text, mask = inputs()
    y = model(x, t, text, mask)
    padded = model(x, t, jnp.where(mask[..., None], text, 9.0), mask)
    np.testing.assert_allclose(padded, y, rtol=1e-5, atol=1e-5)
    other = model(x.at[1].set(0.0), t, text, mask)
    np.testing.assert_allclose(other[0], y[0], rtol=1e-4, atol=1e-5)


def test_known_tokens_see_time_zero(model):
    x, t, text, mask = inputs()
    everywhere = jnp.ones((2, 3, 4, 6, 1), bool)
    np.testing.assert_allclose(
        model(x, t, text, mask, everywhere), model(x, 0 * t, text, mask), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        model(x, t, text, mask, ~everywhere), model(x, t, text, mask), rtol=1e-4, atol=1e-4
    )


def test_attention_reaches_where_it_should():
    """Joint attention sees every token at once; factorised sees every one through two hops."""
    for attention, depth, reaches in (("joint", 1, True), ("factorised", 1, True)):
        config = dataclasses.replace(CONFIG, attention=attention, depth=depth)
        model = randomise(lambda config=config: DiT(config, rngs=nnx.Rngs(0)))
        x, t, text, mask = inputs()
        gradient = jax.grad(lambda x: model(x, t, text, mask)[0, 0, 0, 0].sum())(x)  # noqa: B023
        assert bool((jnp.abs(gradient[0, 2, 3, 5]) > 0).all()) is reaches


def test_remat_and_unroll_change_no_number(model):
    x, t, text, mask = inputs()
    expected = model(x, t, text, mask)
    for change in (dict(remat="full"), dict(unroll=2)):
        other = DiT(dataclasses.replace(model.config, **change), rngs=nnx.Rngs(0))
        nnx.update(other, nnx.state(model))
        np.testing.assert_allclose(other(x, t, text, mask), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        dict(),
        dict(attention="factorised", mlp="swiglu"),
        dict(attention="windowed", text="pooled", modulation="shared"),
        dict(attention="sparse", text_projection=True),
        dict(text="context", num_registers=4),
        dict(attention="alternating", positions="sincos"),
    ],
    ids=str,
)
def test_flops_agree_with_an_unrolled_compile(change):
    """XLA counts elementwise work too, so the sizes here are such that products dominate."""
    sizes = dict(in_channels=16, width=1024, depth=2, num_heads=16, text_width=512, patch=(1, 1, 1), unroll=2)
    config = DiTConfig(**sizes, **change)
    graph, params = nnx.split(nnx.eval_shape(lambda: DiT(config, rngs=nnx.Rngs(0))))
    shapes = [(1, 4, 8, 8, 16), (1,), (1, 32, 512)]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    forward = jax.jit(lambda p, *a: nnx.merge(graph, p)(*a))
    compiled = forward.lower(params, *arguments, jax.ShapeDtypeStruct((1, 32), bool)).compile()
    counted = sum(dit_flops(config, (4, 8, 8, 16), 32).values())
    assert counted == pytest.approx(compiled.cost_analysis()["flops"], rel=0.01)
    assert counted < compiled.cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_heads=3), "num_heads=3 does not cut width=16"),
        (dict(attention="window"), "attention='window' is not one of joint, factorised"),
        (dict(attention="sparse", depth=3), "depth=3 is not a multiple of the 2 kinds"),
        (dict(attention="factorised", num_registers=1), "reaches neither registers nor text"),
        (dict(rope_pairs=(1, 1, 1)), r"rope_pairs=\(1, 1, 1\) must be three numbers"),
        (dict(remat="some"), "remat='some' is not one of none, dots"),
        (dict(dtype="float16"), "dtype='float16' is not one of float32, bfloat16"),
    ],
)
def test_wrong_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)


def test_bfloat16_is_close_to_float32(model):
    x, t, text, mask = inputs()
    half = DiT(dataclasses.replace(model.config, dtype="bfloat16"), rngs=nnx.Rngs(0))
    nnx.update(half, nnx.state(model))
    expected = model(x, t, text, mask)
    error = np.linalg.norm(half(x, t, text, mask) - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.1
