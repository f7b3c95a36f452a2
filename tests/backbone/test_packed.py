# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A transformer sees a clip in a packed row as it sees it alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.patchify import patchify
from dit_jax.data.packing import grid_positions
from tests.randomise import randomise

CONFIG = DiTConfig(in_channels=3, width=16, depth=2, num_heads=2, text_width=12, patch=(1, 2, 2))
GRIDS = [(2, 2, 3), (1, 4, 2), (3, 1, 2)]  # of tokens
VARIANTS = [
    dict(),
    dict(attention="factorised"),
    dict(attention="alternating", positions="sincos", modulation="shared"),
    dict(text="context", num_registers=2),
    dict(text="pooled", positions="learned", learned_size=(2, 3, 2)),
]
RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def make_row(grids, order, room, slots, size=(1, 2, 2)):
    """Clips on their own, and packed in an order into one row."""
    clips = [dict(x=normal(1, *np.multiply(g, size), 3), text=normal(1, 4, 12)) for g in grids]
    for i, clip in enumerate(clips):
        clip["mask"] = jnp.asarray([[True] * (4 - i % 3) + [False] * (i % 3)])
        clip["t"] = jnp.asarray([0.2 + 0.2 * i])
    fill = lambda a: jnp.pad(a, ((0, room - len(a)), *[(0, 0)] * (a.ndim - 1)))[None]  # noqa: E731
    in_order = [clips[i] for i in order]
    tokens = [patchify(clip["x"], size)[0] for clip in in_order]
    numbers = jnp.repeat(jnp.arange(1, len(order) + 1), np.array([len(one) for one in tokens]))
    missing = slots - len(order)
    stack = lambda name: jnp.concatenate([c[name] for c in in_order] + [in_order[0][name]] * missing)  # noqa: E731
    row = dict(
        tokens=fill(jnp.concatenate(tokens)),
        t=stack("t")[None],
        text=stack("text").reshape(1, -1, 12),
        text_mask=stack("mask").reshape(1, -1),
        positions=fill(jnp.concatenate([jnp.asarray(grid_positions(grids[i])) for i in order])),
        segment_ids=fill(numbers),
        text_ids=jnp.repeat(jnp.asarray([*range(1, len(order) + 1), *[0] * missing]), 4)[None],
    )
    return clips, row


def alone(model, clips, known=None):
    known = known or [None] * len(clips)
    return [
        patchify(model(c["x"], c["t"], c["text"], c["mask"], k), model.config.patch)[0]
        for c, k in zip(clips, known)
    ]


def make(change):
    return randomise(lambda: DiT(dataclasses.replace(CONFIG, **change), rngs=nnx.Rngs(0)))


def jitted(function, *arrays):
    """Compiled as one, and hardly optimised: what is small compiles longer than it runs."""
    return jax.jit(function).lower(*arrays).compile({"xla_backend_optimization_level": 0})(*arrays)


def both(model, clips, row, known=(None, None)):
    """Predictions for the clips alone and for the row."""
    graph, params = nnx.split(model)

    def run(params, clips, row, known):
        model = nnx.merge(graph, params)
        return alone(model, clips, known[0]), model.packed(**row, known=known[1])[0]

    return jitted(run, params, clips, row, known)


def assert_equal(alone, row):
    ends = np.cumsum([len(one) for one in alone])
    for one, other in zip(alone, jnp.split(row[: ends[-1]], ends[:-1])):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * float(jnp.abs(one).max()))
    assert np.isfinite(row).all()


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_packed_is_unpacked(change):
    """In predictions and in the gradients of all parameters."""
    model = make(change)
    clips, row = make_row(GRIDS, (0, 1, 2), room=32, slots=4)
    weights = [normal(int(np.prod(grid)), 12) for grid in GRIDS]
    graph, params = nnx.split(model)

    def unpacked(params, clips, row):
        alone_ = alone(nnx.merge(graph, params), clips)
        return sum((w * y).sum() for w, y in zip(weights, alone_)), alone_

    def packed(params, clips, row):
        y = nnx.merge(graph, params).packed(**row)[0]
        return (jnp.concatenate(weights) * y[: sum(map(len, weights))]).sum(), y

    def gradients(*inputs):
        return [jax.grad(loss, has_aux=True)(*inputs) for loss in (unpacked, packed)]

    (expected, one), (found, other) = jitted(gradients, params, clips, row)
    assert_equal(one, other)
    largest = max(float(jnp.abs(a).max()) for a in jax.tree.leaves(expected))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found)):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * max(float(jnp.abs(a).max()), 0.1 * largest))


@pytest.mark.parametrize(
    "change",
    [
        dict(attention="windowed", window=(2, 2, 1)),
        dict(attention="windowed", window=(1, 2, 4)),
        dict(attention="sparse", skip=2),
    ],
    ids=str,
)
def test_windows_and_skips_are_the_same_groups_in_a_row(change):
    model = make(change)
    grids = [(2, 2, 4), (4, 4, 1), (2, 4, 2)]
    clips, row = make_row(grids, (0, 1, 2), room=60, slots=3)
    assert_equal(*both(model, clips, row))


def test_order_in_a_row_does_not_matter():
    model = make({})
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state
    _, row = make_row(GRIDS, (0, 1, 2), room=26, slots=3)
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state
    _, other = make_row(GRIDS, (2, 0, 1), room=26, slots=3)
    graph, params = nnx.split(model)
    run = lambda params, *rows: [nnx.merge(graph, params).packed(**r)[0] for r in rows]  # noqa: E731
    y, z = jitted(run, params, row, other)
    np.testing.assert_allclose(jnp.concatenate([z[6:26], z[:6]]), y, rtol=1e-5, atol=1e-5)


def test_known_tokens_of_a_row_see_time_zero():
    model = make(dict(text="pooled"))
    clips, row = make_row(GRIDS, (0, 1, 2), room=26, slots=3)
    known = [jnp.zeros((1, *np.multiply(g, (1, 2, 2)), 1), bool).at[:, 0].set(True) for g in GRIDS]
    tokens_known = jnp.concatenate([patchify(k, (1, 2, 2))[0].all(-1, keepdims=True) for k in known])
    assert_equal(*both(model, clips, row, (known, tokens_known[None])))


def test_frames_may_have_times_of_their_own():
    """With one time in all frames it is the clip's; a frame's own reaches no other but through attention."""
    graph, params = nnx.split(make({}))
    x, text, mask = normal(2, 3, 4, 4, 3), normal(2, 4, 12), jnp.ones((2, 4), bool)
    times = [
        jnp.asarray([0.3, 0.6]),
        jnp.asarray([[0.3, 0.3, 0.3], [0.6, 0.6, 0.6]]),
        jnp.asarray([[0.3, 0.3, 0.9], [0.6, 0.6, 0.6]]),
    ]
    run = lambda params, *times: [nnx.merge(graph, params)(x, t, text, mask) for t in times]  # noqa: E731
    whole, by_frame, changed = jitted(run, params, *times)
    np.testing.assert_allclose(by_frame, whole, rtol=1e-5, atol=1e-5)
    assert np.abs(changed[0] - whole[0]).max() > 1e-3
    np.testing.assert_allclose(changed[1], whole[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", [dict(), VARIANTS[2], dict(positions="learned", learned_size=(2, 2, 2))])
def test_positions_extrapolate(change):
    """Longer and larger clips than any table holds give finite predictions, which know their place."""
    graph, params = nnx.split(make(change))
    x, text, mask = normal(1, 9, 10, 12, 3), normal(1, 4, 12), jnp.ones((1, 4), bool)
    t = jnp.asarray([0.5])
    run = lambda params, *xs: [nnx.merge(graph, params)(x, t, text, mask) for x in xs]  # noqa: E731
    y, turned, mirrored = jitted(run, params, x, x[:, ::-1], x[:, :, :, ::-1])
    assert np.isfinite(y).all()
    assert float(jnp.abs(y - turned[:, ::-1]).max()) > 1e-4
    assert float(jnp.abs(y - mirrored[:, :, :, ::-1]).max()) > 1e-4
