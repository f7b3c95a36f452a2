# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Positions that are added to tokens: fixed sinusoids, or learned tables."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

MAX_PERIOD = 10_000.0


def sincos(position: Float[Array, "*shape"], width: int) -> Float[Array, "*shape width"]:
    """Sines, then cosines, of a position at geometric frequencies (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    frequency = MAX_PERIOD ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = position[..., None].astype(jnp.float32) * frequency
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def frame_sincos(positions: Float[Array, "*N 3"], width: int) -> Float[Array, "*N width"]:
    """Of the time alone."""
    return sincos(positions[..., 0], width)


def cell_sincos(positions: Float[Array, "*N 3"], width: int) -> Float[Array, "*N width"]:
    """Of column and row, half of the width each, in this order (that of the published models)."""
    return jnp.concatenate([sincos(positions[..., axis], width // 2) for axis in (2, 1)], -1)


class LearnedPositions(nnx.Module):
    """A table for each of time, rows and columns, whose entries are added.

    A clip longer or larger than the tables has its cells spread over them, with linear interpolation between
    entries, so that it can be processed, if not as well as those trained on.

    Args:
      size: entries of the tables.
      width: of the tokens.
      rngs: for the tables.
    """

    def __init__(self, size: tuple[int, int, int], width: int, *, rngs: nnx.Rngs):
        tables = [0.02 * nnx.initializers.normal(1.0)(rngs.params(), (n, width)) for n in size]
        self.tables = nnx.List([nnx.Param(table) for table in tables])

    def __call__(
        self, positions: Float[Array, "*N 3"], size: Float[Array, "*#N 3"]
    ) -> Float[Array, "*N width"]:
        """Of tokens at `positions` in clips of `size`, in cells."""
        total = 0.0
        for axis, table in enumerate(self.tables):
            last = table.shape[0] - 1
            at = positions[..., axis] * jnp.minimum(1.0, last / jnp.maximum(size[..., axis] - 1, 1))
            below = jnp.floor(at)
            low = jnp.clip(below.astype(jnp.int32), 0, last)
            share = (at - below)[..., None]
            total += table[...][low] * (1 - share) + table[...][jnp.minimum(low + 1, last)] * share
        return total
