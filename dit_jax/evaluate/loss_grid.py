# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The validation loss, paired: the same clips, noise and times for every run of a sweep.

Each clip is seen at each time with noise of its own, once with its text and once without. Pairing takes
the clips' and the noise's share out of every difference between runs; the standard errors are over clips.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Float, PyTree

from dit_jax.arrays import Cond, Sites
from dit_jax.mesh import compiler_options

# (params, x_t, t, cond) -> velocity, which is noise - x0 whatever the path between them
VelocityOf = Callable[[PyTree, Sites, Float[Array, " B"], Cond], Sites]
# (x0, noise) -> (x_t, t): clips at the times of the grid
Noised = Callable[[Sites, Sites], tuple[Sites, Float[Array, " times"]]]
Errors = Float[Array, "texts clips times"]


@dataclasses.dataclass(frozen=True)
class LossGridConfig:
    """Size of the grid.

    Attributes:
      num_clips: validation clips.
      num_times: equal shares of the time law, each seen at its midpoint.
      seed: of the noise.
    """

    num_clips: int = 128
    num_times: int = 8
    seed: int = 0

    def __post_init__(self):
        if self.num_clips < 2 or self.num_times < 1:
            raise ValueError(f"num_clips={self.num_clips} must be 2 or more, num_times={self.num_times} 1")


def make_loss_grid(
    velocity: VelocityOf,
    noised: Noised,
    num_times: int,
    null: Cond,
    seed: int,
    sharding: Sharding | None = None,
) -> Callable[[PyTree, Sites, Cond], Errors]:
    """A jitted `(params, x0, cond) -> errors`: the squared error of the velocity, averaged over a clip, with
    its text and with the null text, for each clip and time.

    Args:
      velocity: of parameters.
      noised: puts clips, one for each time, at these times.
      num_times: to see each clip at.
      null: what of `cond` stands for no text.
      seed: of the noise.
      sharding: of the errors; left to the compiler by default.
    """

    def clip_errors(
        params: PyTree, clip: tuple[Array, Mapping[str, Array], Array]
    ) -> Float[Array, "2 times"]:
        x0, cond, index = clip
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(seed), index), (num_times, *x0.shape))
        x_t, times = noised(jnp.broadcast_to(x0, noise.shape), noise)
        twice = lambda a: jnp.concatenate([a, a])  # noqa: E731 - with the text, and without
        repeat = lambda a: jnp.broadcast_to(a, (num_times, *a.shape[1:]))  # noqa: E731
        both = {
            name: jnp.concatenate([repeat(value[None]), repeat(null.get(name, value[None]))])
            for name, value in cond.items()
        }
        error = jnp.square(velocity(params, twice(x_t), twice(times), both) - twice(noise - x0))
        return error.mean(range(1, error.ndim)).reshape(2, num_times)

    def grid(params: PyTree, x0: Sites, cond: Cond) -> Errors:
        clips = (x0, cond, jnp.arange(x0.shape[0]))
        return jax.lax.map(lambda clip: clip_errors(params, clip), clips).swapaxes(0, 1)

    return jax.jit(grid, out_shardings=sharding, compiler_options=compiler_options(sharding))


def summarise_loss_grid(errors: Float[np.ndarray, "2 clips times"]) -> dict[str, float]:
    """Means and standard errors over clips.

    Returns:
      `loss`, `loss_se`; `loss_t0`, `loss_t1`, ... by time; `loss_null`; and `text_gap`, `text_gap_se`: by
      how much the null text raises the loss, paired by clip, noise and time.
    """
    conditional, null = np.asarray(errors, np.float64)
    by_time = {f"loss_t{i}": float(value) for i, value in enumerate(conditional.mean(0))}
    loss, loss_se = _mean_and_error(conditional.mean(1))
    gap, gap_se = _mean_and_error((null - conditional).mean(1))
    return {
        "loss": loss,
        "loss_se": loss_se,
        "loss_null": float(null.mean()),
        "text_gap": gap,
        "text_gap_se": gap_se,
        **by_time,
    }


def _mean_and_error(values: Float[np.ndarray, " clips"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
