# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The mask of what is given: every task is a function that makes one.

Known latents enter the network clean, see t = 0, are left out of the loss, and come out as given.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import Cond, Key, KnownSites, Sites
from dit_jax.diffusion.sites import coordinates

Mask = Bool[Array, "t h w 1"]
Axes = Float[Array, "... 3"]  # time, row and column


FRAME_FACTOR = 2  # of `slow_motion`: every how-manieth frame is given


def _half(frames: Array) -> Array:
    return jnp.maximum(1, frames // 2)


def _centre(at: Axes, size: Axes) -> Bool[Array, "..."]:
    return (jnp.abs(2 * at + 1 - size) < (size + 1) // 2)[..., 1:].all(-1)


# name: (where a site lies, the size of its clip) -> whether it is given
TASKS = {
    "none": lambda at, size: at[..., 0] < 0,
    "image_to_video": lambda at, size: at[..., 0] == 0,
    "extend_forward": lambda at, size: at[..., 0] < _half(size[..., 0]),
    "extend_backward": lambda at, size: at[..., 0] >= size[..., 0] - _half(size[..., 0]),
    "connect": lambda at, size: (at[..., 0] == 0) | (at[..., 0] == size[..., 0] - 1),
    "slow_motion": lambda at, size: at[..., 0] % FRAME_FACTOR == 0,
    "inpaint": lambda at, size: ~_centre(at, size),
    "outpaint": _centre,
}


def tasks(frame_factor: int = FRAME_FACTOR) -> Mapping[str, Callable[[Axes, Axes], Bool[Array, "..."]]]:
    """`TASKS`, with every `frame_factor`-th frame given in `slow_motion`."""
    return {**TASKS, "slow_motion": lambda at, size: at[..., 0] % frame_factor == 0}


def task_mask(task: str, shape: tuple[int, int, int], frame_factor: int = FRAME_FACTOR) -> Mask:
    """What of latents of `shape` (t, h, w) a task gives; of `slow_motion` every `frame_factor`-th frame.

    Raises:
      ValueError: no task is called `task`.
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not one of {', '.join(TASKS)}")
    return tasks(frame_factor)[task](*coordinates(jnp.zeros((1, *shape, 1)), {}))[0]


def draw_known(
    key: Key, weights: Mapping[str, float], x: Sites, cond: Cond, frame_factor: int = FRAME_FACTOR
) -> KnownSites | None:
    """Masks of a batch, each clip's task drawn by `weights`; None when nothing is ever given.

    The clips of a packed row have a task in common.
    """
    drawn = {task: weight for task, weight in weights.items() if weight > 0}
    if set(drawn) <= {"none"}:
        return None
    masks = jnp.stack(
        [tasks(frame_factor)[task](*coordinates(x, cond)) for task in drawn]
    )  # tasks B|1 sites 1
    masks = jnp.broadcast_to(masks, (len(drawn), *x.shape[:-1], 1))
    probability = jnp.asarray(list(drawn.values()), jnp.float32)
    task = jax.random.categorical(key, jnp.log(probability), shape=(x.shape[0],))
    return jnp.take_along_axis(masks, task.reshape(1, -1, *(1,) * (masks.ndim - 2)), 0)[0]
