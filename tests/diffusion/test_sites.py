# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A packed row is seen as the clips that it holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.known import TASKS, draw_known
from dit_jax.diffusion.objective import Draws, ObjectiveConfig, draw, flow_matching_loss
from dit_jax.diffusion.path import as_velocity
from dit_jax.diffusion.sites import coordinates, expand, valid, without_text
from tests.diffusion.packed_rows import packed

NULL = {"text_ids": jnp.zeros((1, 2), jnp.int32)}


def test_times_belong_to_segments():
    _, row, cond = packed()
    t = expand(jnp.asarray([[0.1, 0.2, 0.3, 0.4]]), row, cond)
    assert t.shape == (1, 60, 1)
    np.testing.assert_allclose(t[0, [0, 23, 24, 39, 40, 49], 0], [0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    assert int(valid(row, cond).sum()) == 50


@pytest.mark.parametrize("task", TASKS)
def test_tasks_give_the_same_of_a_clip_wherever_it_lies(task):
    clips, row, cond = packed()
    mask = TASKS[task](*coordinates(row, cond))[0, :50, 0]
    alone = [TASKS[task](*coordinates(clip, {})) for clip in clips]
    parts = [jnp.broadcast_to(m, (*c.shape[:-1], 1)).reshape(-1) for m, c in zip(alone, clips)]
    np.testing.assert_array_equal(mask, jnp.concatenate(parts))


def test_loss_of_a_row_is_that_of_its_clips():
    clips, row, cond = packed()
    drawn = draw(jax.random.key(0), row, cond, ObjectiveConfig(known={"image_to_video": 1.0}))
    network = as_velocity(lambda x, t, cond, known: 0.3 * x - 0.1 * expand(t, x, cond), "residual")
    whole = flow_matching_loss(network, row, cond, NULL, drawn)
    total, count, first = 0.0, 0, 0
    for i, clip in enumerate(clips):
        part = slice(first, first := first + clip[..., 0].size)
        alone = Draws(
            t=drawn.t[:, i],
            eps=drawn.eps[:, part].reshape(clip.shape),
            drop=drawn.drop[:, i],
            known=drawn.known[:, part].reshape(*clip.shape[:-1], 1),
        )
        text = {"text_ids": cond["text_ids"][:, i]}
        unknown = int((~alone.known).sum())
        if unknown:
            total += float(flow_matching_loss(network, clip, text, NULL, alone)) * unknown
        count += unknown
    assert float(whole) == pytest.approx(total / count, rel=1e-5)


def test_padding_leaves_no_trace_in_the_loss():
    _, row, cond = packed()
    drawn = draw(jax.random.key(0), row, cond, ObjectiveConfig())
    network = lambda x, t, cond, known: x * x  # noqa: E731
    loss = lambda row: flow_matching_loss(network, row, cond, NULL, drawn)  # noqa: E731
    assert not jax.grad(loss)(row)[:, 50:].any()
    assert jax.grad(loss)(row)[:, :50].any()


def test_text_is_withheld_from_single_segments_and_nothing_else_is():
    _, _, cond = packed()
    out = without_text(cond, NULL, jnp.asarray([[False, True, False, False]]))
    np.testing.assert_array_equal(out["text_ids"][0, :, 0], [1, 0, 5, 7])
    assert out["positions"] is not None
    np.testing.assert_array_equal(out["segment_ids"], cond["segment_ids"])


def test_clips_of_a_row_share_a_task():
    _, row, cond = packed()
    known = draw_known(
        jax.random.key(0),
        {"none": 1.0, "connect": 1.0},
        jnp.tile(row, (64, 1, 1)),
        {name: jnp.tile(value, (64, *(1,) * (value.ndim - 1))) for name, value in cond.items()},
    )
    share = float(known[:, 0].mean())
    assert 0.25 < share < 0.75
