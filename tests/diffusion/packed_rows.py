# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A packed row of small clips."""

import jax.numpy as jnp
import numpy as np

SIZES = [(3, 2, 4), (1, 4, 4), (5, 1, 2)]
RNG = np.random.default_rng(0)


def packed(room=60, slots=4):
    """One row of three clips, and the clips."""
    clips = [jnp.asarray(RNG.normal(size=(1, *size, 2)), jnp.float32) for size in SIZES]
    fill = lambda a: jnp.asarray(np.concatenate([a, np.zeros((room - len(a), *a.shape[1:]), a.dtype)]))[None]  # noqa: E731
    positions = np.concatenate([np.indices(size, np.float32).reshape(3, -1).T for size in SIZES])
    numbers = np.repeat(np.arange(1, 4, dtype=np.int32), [np.prod(size) for size in SIZES])
    cond = {
        "positions": fill(positions),
        "segment_ids": fill(numbers),
        "text_segment_ids": jnp.asarray([[1, 2, 3, 0]]),
        "text_ids": jnp.arange(1, 9).reshape(1, slots, 2),
    }
    return clips, fill(np.concatenate([clip.reshape(-1, 2) for clip in clips])), cond
