# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which diffusion times are trained, sampled and evaluated."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.arrays import Cond, Key, Sites, Time
from dit_jax.diffusion.schedule import PATHS, At, Cast, Const
from dit_jax.diffusion.sites import clip_sizes

MAX_MODE = 2 / (math.pi - 2)  # beyond, eq. 20 of Esser et al. turns back


@dataclasses.dataclass(frozen=True)
class TimeLaw:
    """How the times of training are distributed, before they are shifted.

    Attributes:
      name: in `LAWS`.
      mean: of the logit of t (`logit_normal`), or of log sigma (`edm`, where it is P_mean).
      std: the same's (P_std).
      mode: s of `mode`: above 0 the middle is more frequent, below 0 the ends.
    """

    name: str = "uniform"
    mean: float = 0.0
    std: float = 1.0
    mode: float = 0.0

    def __post_init__(self):
        if self.name not in LAWS:
            raise ValueError(f"time_law={self.name!r} is not one of {', '.join(LAWS)}")
        if self.std <= 0:
            raise ValueError(f"time_std={self.std} must be positive")
        if not -1 <= self.mode <= MAX_MODE:
            raise ValueError(f"time_mode={self.mode} must be from -1 to {MAX_MODE:.4f}")


def _normal(u: At, law: TimeLaw) -> At:
    return law.mean + law.std * jax.scipy.stats.norm.ppf(jnp.clip(u, 1e-6, 1 - 1e-6))


# name: (u, law, path) -> the time below which the share u (or above which the share 1 - u) of all times lies
LAWS = {
    "uniform": lambda u, law, path: u,
    # Esser et al. 2024, arXiv 2403.03206, eq. 19
    "logit_normal": lambda u, law, path: jax.nn.sigmoid(_normal(u, law)),
    # the same, eq. 20
    "mode": lambda u, law, path: 1 - u - law.mode * (jnp.square(jnp.cos(math.pi / 2 * u)) - 1 + u),
    # Karras et al. 2022, arXiv 2206.00364, table 1: the ratio sigma of noise to data is log-normal
    "edm": lambda u, law, path: PATHS[path].time_of(-2 * _normal(u, law)),
}


def draw_time(key: Key, batch_size: int, law: TimeLaw, path: str = "linear") -> Time:
    """Times of a batch, stratified: the i-th comes from the i-th of `batch_size` equal shares of the law.

    Stratifying leaves the law as it is and takes most of the variance between batches away.
    """
    offset, order = jax.random.split(key)
    u = (jnp.arange(batch_size) + jax.random.uniform(offset, (batch_size,))) / batch_size
    return LAWS[law.name](jax.random.permutation(order, u), law, path)


def shift_time(t: Cast, shift: Const, path: str = "linear") -> Cast:
    """The times at which there is `shift` times as much noise to the data: `s t / (1 + (s - 1) t)` on the
    straight path.

    Esser et al. 2024, "Scaling Rectified Flow Transformers", arXiv 2403.03206, eq. 23.
    """
    if isinstance(shift, (int, float)) and shift == 1:
        return t
    return PATHS[path].shift(t, shift)


def clip_shift(shift: float, base_size: int, x: Sites, cond: Cond) -> Const:
    """The shift of each clip: that of a clip of `base_size`, times `sqrt(size / base_size)`.

    The larger a clip, the more noise hides as much of it (Esser et al. 2024, eq. 23, with m = size and n =
    base_size). A float on a grid, whose clips are of one size; `[B, S]` for packed rows.

    Args:
      shift: of a clip of `base_size`, or of every clip where that is 0.
      base_size: values in its latents: frames x rows x columns x channels.
      x: latents or packed rows, for their shape.
      cond: of packed rows.
    """
    if not base_size:
        return shift
    ratio = clip_sizes(x, cond) / base_size
    return shift * (math.sqrt(ratio) if isinstance(ratio, float) else jnp.sqrt(ratio))


def time_bins(num_bins: int, path: str = "linear") -> Float[Array, " bins"]:
    """The times at which an evaluation looks, before they are shifted: on every path those of the straight
    path's noise to data at midpoints of equal shares of its time."""
    tau = (jnp.arange(num_bins) + 0.5) / num_bins
    return tau if path == "linear" else PATHS[path].time_of(PATHS["linear"].logsnr(tau))
