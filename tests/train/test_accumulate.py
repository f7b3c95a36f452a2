# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A batch trains alike at once and in parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import known_world
from dit_jax.program import Program
from dit_jax.train.accumulate import accumulated
from dit_jax.train.optimizer import Horizon, OptimizerConfig

SIZES = np.asarray([[1, 2, 2], [2, 2, 4], [3, 2, 2], [1, 4, 4]])
RNG = np.random.default_rng(0)


def config(parts):
    made = known_world.get_config()
    made.text.update(max_bytes=8, width=12, num_heads=2)
    made.backbone.update(
        in_channels=4, width=12, depth=1, num_heads=2, patch=(1, 1, 1), text_width=12, time_features=8
    )
    made.objective.known = {"image_to_video": 1.0, "none": 1.0}
    made.optimizer.accumulation_steps = parts
    return made


def grid():
    text = RNG.integers(0, 255, (4, 8)).astype(np.int32)
    return {"latents": RNG.normal(size=(4, 3, 2, 2, 4)).astype(np.float32), "text_ids": text}


def rows():
    """Four rows, each of one clip of its own size: their counts differ."""
    made = {
        "tokens": RNG.normal(size=(4, 18, 4)),
        "positions": np.zeros((4, 18, 3)),
        "segment_ids": np.zeros((4, 18), np.int32),
        "text_segment_ids": np.asarray([[1, 0]] * 4, np.int32),
        "text_ids": RNG.integers(0, 255, (4, 2, 8)).astype(np.int32),
    }
    for row, size in enumerate(SIZES):
        count = size.prod()
        made["segment_ids"][row, :count] = 1
        made["positions"][row, :count] = np.indices(size).reshape(3, -1).T
    return {name: a if a.dtype == np.int32 else a.astype(np.float32) for name, a in made.items()}


@pytest.mark.parametrize("batch", [grid(), rows()], ids=["grid", "rows"])
def test_a_step_in_parts_is_the_step_at_once(batch):
    batches, horizon = {name: jnp.asarray(a)[None] for name, a in batch.items()}, Horizon(1e-3, 0, 10, 0)
    found = []
    for parts in (1, 2, 4):
        program = Program(config(parts))
        state, metrics = program.steps(program.init(jax.random.key(0)), batches, horizon)
        found.append((metrics["loss"], metrics["grad_norm"], state.opt_state))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found[0], other)


def test_a_batch_that_has_no_such_parts_says_so():
    grads = accumulated(lambda batch, key: batch, lambda params, x: params * x.sum(), 3)
    with pytest.raises(ValueError, match=r"batch_size=4 .*accumulation_steps=3"):
        grads(jnp.ones(()), jnp.ones((4, 2)), jax.random.key(0))
    with pytest.raises(ValueError, match="accumulation_steps=0"):
        OptimizerConfig(accumulation_steps=0)
