# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The mask of what is given: every task is a function that makes one.

Known latents enter the network clean, see t = 0, are left out of the loss, and come out as given.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from dit_jax.arrays import Key, Known

Mask = Bool[Array, "t h w 1"]


def _frames(keep, shape) -> Mask:
    t, h, w = shape
    return jnp.broadcast_to(keep(jnp.arange(t))[:, None, None, None], (t, h, w, 1))


def _centre(shape) -> Mask:
    t, h, w = shape
    rows, columns = (jnp.abs(2 * jnp.arange(n) + 1 - n) < (n + 1) // 2 for n in (h, w))
    return jnp.broadcast_to((rows[:, None] & columns[None])[None, ..., None], (t, h, w, 1))


TASKS = {
    "none": lambda shape: _frames(lambda i: i < 0, shape),
    "image_to_video": lambda shape: _frames(lambda i: i == 0, shape),
    "extend_forward": lambda shape: _frames(lambda i: i < max(1, shape[0] // 2), shape),
    "extend_backward": lambda shape: _frames(lambda i: i >= shape[0] - max(1, shape[0] // 2), shape),
    "connect": lambda shape: _frames(lambda i: (i == 0) | (i == shape[0] - 1), shape),
    "slow_motion": lambda shape: _frames(lambda i: i % 2 == 0, shape),
    "inpaint": lambda shape: ~_centre(shape),
    "outpaint": _centre,
}


def task_mask(task: str, shape: tuple[int, int, int]) -> Mask:
    """What of latents of `shape` (t, h, w) a task gives.

    Raises:
      ValueError: no task is called `task`.
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not one of {', '.join(TASKS)}")
    return TASKS[task](shape)


def draw_known(
    key: Key, weights: Mapping[str, float], batch_size: int, shape: tuple[int, int, int]
) -> Known | None:
    """Masks of a batch, each clip's task drawn by `weights`; None when nothing is ever given."""
    drawn = {task: weight for task, weight in weights.items() if weight > 0}
    if set(drawn) <= {"none"}:
        return None
    masks = jnp.stack([task_mask(task, shape) for task in drawn])
    probability = jnp.asarray(list(drawn.values()), jnp.float32)
    return masks[jax.random.categorical(key, jnp.log(probability), shape=(batch_size,))]
