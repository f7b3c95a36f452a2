# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.backbone.mmdit import MMDiT
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.backbone.mmdit_flops import mmdit_flops
from dit_jax.backbone.patchify import patchify
from tests.backbone.test_packed import GRIDS, RNG, assert_equal, jitted, make_row, normal
from tests.randomise import randomise

CONFIG = MMDiTConfig(
    in_channels=3,
    width=12,
    depth=2,
    single_depth=2,
    num_heads=2,
    text_width=12,
    refiner_depth=2,
    pooled_text_width=3,
    guidance=True,
    qkv_bias=True,
)
PLAIN = dict(refiner_depth=0, pooled_text_width=0, guidance=False)
SHAPE = (2, 3, 4, 4, 3)
FAST = {"xla_backend_optimization_level": 0}  # what is small compiles longer than it runs
forward = jax.jit(lambda model, *call: model(*call), compiler_options=FAST)


def make(**change):
    config = dataclasses.replace(CONFIG, **change)
    return randomise(lambda: MMDiT(config, rngs=nnx.Rngs(0)))


def inputs():
    mask = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])
    micro = {"pooled_text": normal(2, 3), "guidance": jnp.asarray([1.0, 6.0])}
    return normal(*SHAPE), jnp.asarray([0.2, 0.7]), normal(2, 5, 12), mask, None, micro


def predictions(model, *calls):
    """Of one model for several inputs."""
    return [forward(model, *call) for call in calls]


def changed(call, **values):
    """Inputs with some replaced."""
    names = ("x_t", "t", "text", "text_mask", "known", "micro")
    return tuple(dict(zip(names, call), **values)[name] for name in names)


@pytest.fixture(scope="module")
def model():
    return make()


def test_blocks_are_the_identity_at_initialisation():
    """What enters them is what leaves them; the head starts at zero."""
    x, t, text, mask, known, micro = inputs()

    def run(key):
        model, seen = MMDiT(CONFIG, rngs=nnx.Rngs(params=key)), []
        through = model._run
        model._run = lambda s, context: seen.append((s[1], through(s, context))) or seen[0][1]
        y = model(x, t, text, mask, known, micro)
        ids = jnp.where(mask, 0, -1)
        refined = model.text(text, t[:, None], ids, jnp.zeros((1,), jnp.int32), None)
        return y, seen, [(model.text.embed(text), refined)]

    y, blocks, refiner = jitted(run, jax.random.key(0))
    assert not y.any()
    for before, after in blocks + refiner:
        assert before.any()
        np.testing.assert_array_equal(before, after)


def test_prediction_depends_on_all_it_is_given(model):
    call = inputs()
    x, t, text, _, _, micro = call
    y, *others = predictions(
        model,
        call,
        changed(call, t=t + 0.1),
        changed(call, text=text.at[:, 0].add(1.0)),
        changed(call, micro={**micro, "guidance": micro["guidance"] + 1}),
        changed(call, micro={**micro, "pooled_text": micro["pooled_text"] + 1}),
        changed(call, x_t=x[:, :, ::-1]),
    )
    assert y.shape == x.shape
    others[-1] = others[-1][:, :, ::-1]
    for other in others:
        assert (np.abs(other - y).max(axis=(1, 2, 3, 4)) > 1e-3).all()


def test_padded_text_and_other_clips_cannot_be_seen(model):
    call = inputs()
    x, _, text, mask, _, _ = call
    moved = jnp.array([0, 3, 1, 4, 2])  # among the padding
    y, padded, spread, other = predictions(
        model,
        call,
        changed(call, text=jnp.where(mask[..., None], text, 9.0)),
        changed(call, text=text[:, moved], text_mask=mask[:, moved]),
        changed(call, x_t=x.at[1].set(0.0)),
    )
    close = dict(rtol=1e-5, atol=1e-5 * float(jnp.abs(y).max()))
    np.testing.assert_allclose(padded, y, **close)
    np.testing.assert_allclose(spread, y, **close)
    np.testing.assert_allclose(other[0], y[0], **close)


def test_what_is_left_out_has_its_default(model):
    call = inputs()
    given = {"pooled_text": jnp.zeros((2, 3)), "guidance": jnp.ones((2,))}
    expected, found = predictions(model, changed(call, micro=given), changed(call, micro=None))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"micro=\['fps'\] is not among those of the config"):
        model(*changed(call, micro={"fps": jnp.ones((2,))}))


def test_frames_may_have_times_of_their_own_and_known_ones_see_zero(model):
    """Without guidance, which what is known has none of, a known frame is one at t = 0."""
    model = make(**PLAIN, single_depth=0, qk_norm="width")
    call = changed(inputs(), micro=None)
    t = call[1]
    frames = jnp.repeat(t[:, None], 3, 1)
    known = jnp.zeros((*SHAPE[:-1], 1), bool).at[:, 2].set(True)
    whole, by_frame, zero, given, none = predictions(
        model,
        call,
        changed(call, t=frames),
        changed(call, t=frames.at[:, 2].set(0.0)),
        changed(call, known=known),
        changed(call, known=known & False),
    )
    close = dict(rtol=1e-5, atol=1e-5 * float(jnp.abs(whole).max()))
    np.testing.assert_allclose(by_frame, whole, **close)
    np.testing.assert_allclose(none, whole, **close)
    np.testing.assert_allclose(given, zero, **close)
    assert np.abs(zero - whole).max() > 1e-2


def with_micro(clips, row, order):
    """Clips and a row with pooled texts and scales of guidance, drawn for the clips."""
    for clip in clips:
        clip["micro"] = {"pooled_text": normal(1, 3), "guidance": 5 * normal(1)}
    in_row = [clips[i]["micro"] for i in order] + [clips[0]["micro"]] * (row["t"].shape[1] - len(order))
    return {**row, "micro": jax.tree.map(lambda *parts: jnp.concatenate(parts)[None], *in_row)}


def test_packed_is_unpacked_in_the_gradients_of_all_parameters(model):
    clips, row = make_row(GRIDS[:1] * 2, (0, 1), room=26, slots=3)
    row = with_micro(clips, row, (0, 1))
    batch = jax.tree.map(lambda *parts: jnp.concatenate(parts), *clips)
    weights = normal(2, 12, 12)
    graph, params = nnx.split(model)

    def unpacked(params, clips, row):
        y = nnx.merge(graph, params)(
            *(clips[k] for k in ("x", "t", "text", "mask")), None, clips.get("micro")
        )
        y = patchify(y, CONFIG.patch)
        return (weights * y).sum(), list(y)

    def packed(params, clips, row):
        y = nnx.merge(graph, params).packed(**row)[0]
        return (weights * y[:24].reshape(weights.shape)).sum(), y

    def gradients(*inputs):
        return [jax.grad(loss, has_aux=True)(*inputs) for loss in (unpacked, packed)]

    (expected, one), (found, other) = jitted(gradients, params, batch, row)
    assert_equal(one, other)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found)):
        scale = max(0.1, float(jnp.abs(a).max()))  # that of a key's bias is zero, without norms of keys
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * scale)


def test_packed_is_unpacked_in_any_order_and_with_known_tokens(model):
    rows = []
    for order in ((0, 1, 2), (2, 0, 1)):
        RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state
        clips, row = make_row(GRIDS, order, room=26, slots=3)
        rows.append({**with_micro(clips, row, order), "known": jnp.zeros((1, 26, 1), bool)})
    known = [jnp.zeros((1, *np.multiply(g, CONFIG.patch), 1), bool).at[:, 0].set(True) for g in GRIDS]
    alone = [
        patchify(forward(model, c["x"], c["t"], c["text"], c["mask"], k, c["micro"]), CONFIG.patch)[0]
        for c, k in zip(clips, known)
    ]
    tokens_known = jnp.concatenate([patchify(k, CONFIG.patch)[0].all(-1, keepdims=True) for k in known])
    rows.append({**rows[0], "known": tokens_known[None]})
    packed = jax.jit(lambda model, row: model.packed(**row)[0], compiler_options=FAST)
    y, z, with_known = (packed(model, row) for row in rows)
    np.testing.assert_allclose(
        jnp.concatenate([z[6:26], z[:6]]), y, rtol=1e-5, atol=1e-5 * float(jnp.abs(y).max())
    )
    assert_equal(alone, with_known)


def test_remat_and_unroll_change_no_number():
    call = changed(inputs(), micro=None)
    graph, params = nnx.split(make(**PLAIN))
    rematerialised, unrolled = (
        nnx.split(nnx.eval_shape(lambda c=c: make(**PLAIN, **c)))[0]
        for c in (dict(remat="full"), dict(unroll=2))
    )

    def loss(params, graph):
        y = nnx.merge(graph, params)(*call)
        return jnp.square(y).sum(), y

    def run(params):
        gradients = [jax.grad(loss, has_aux=True)(params, g) for g in (graph, rematerialised)]
        return *gradients, loss(params, unrolled)[1]

    (expected, y), (found, other), by_loop = jitted(run, params)
    np.testing.assert_allclose(other, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_loop, y, rtol=1e-5, atol=1e-5)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found)):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(0.1, float(jnp.abs(a).max())))


@pytest.mark.parametrize("change", [{}, PLAIN], ids=str)
def test_flops_agree_with_an_unrolled_compile(change):
    """XLA counts elementwise work too, so the sizes here are such that products dominate."""
    sizes = dict(
        in_channels=16, width=512, num_heads=2, text_width=256, pooled_text_width=64, patch=(1, 1, 1)
    )
    config = dataclasses.replace(CONFIG, **sizes | dict(unroll=2) | change)
    graph, params = nnx.split(nnx.eval_shape(lambda: MMDiT(config, rngs=nnx.Rngs(0))))
    shapes = [(1, 4, 8, 8, 16), (1,), (1, 32, 256)]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    forward = jax.jit(lambda p, *a: nnx.merge(graph, p)(*a))
    lowered = forward.lower(params, *arguments, jax.ShapeDtypeStruct((1, 32), bool))
    compiled = lowered.compile(FAST)
    counted = sum(mmdit_flops(config, (4, 8, 8, 16), 32).values())
    assert counted == pytest.approx(compiled.cost_analysis()["flops"], rel=0.01)
    assert counted < compiled.cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_heads=5), "num_heads=5 does not cut width=12"),
        (dict(num_heads=3), "num_heads=3 leave 4 of width=12"),
        (dict(depth=0), "depth=0 must be at least 1"),
        (dict(single_depth=-1), "single_depth=-1 must be at least 0"),
        (dict(rope_pairs=(1, 1, 2)), r"rope_pairs=\(1, 1, 2\) must be three numbers"),
        (dict(qk_norm="all"), "qk_norm='all' is not one of head, width, none"),
        (dict(mlp_ratio=0.0), "mlp_ratio=0.0 leaves the perceptrons no hidden width"),
        (dict(remat="some"), "remat='some' is not one of none, dots"),
    ],
    ids=str,
)
def test_wrong_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)


def test_bfloat16_is_close_to_float32(model):
    half = make(dtype="bfloat16")  # with the same parameters
    call = inputs()
    expected, found = predictions(model, call)[0], predictions(half, call)[0]
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.1
