# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary positions over several axes.

Su et al. 2021, "RoFormer", arXiv 2104.09864, eq. 34, applied by halves (the first half of the features
holds the real parts, the second the imaginary ones) and factorised: every axis turns its own share of
the feature pairs. The product of a rotated query and key then depends on the offset of their positions.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Clips are tens of cells wide where sentences are thousands of tokens long: a smaller base keeps the
# slowest pair turning visibly.
BASE = 100.0


def split_pairs(num_pairs: int, num_axes: int) -> tuple[int, ...]:
    """How many feature pairs each axis turns: as even as possible, the last axes favoured."""
    share, rest = divmod(num_pairs, num_axes)
    return tuple(share + (axis >= num_axes - rest) for axis in range(num_axes))


def rotations(positions: Float[Array, "N axes"], head_dim: int) -> Float[Array, "2 N half"]:
    """Cosines and sines that turn the `head_dim // 2` feature pairs at `positions` (in cells).

    They are the same in every block: compute them once.

    Raises:
      ValueError: `head_dim` is odd.
    """
    if head_dim % 2:
        raise ValueError(f"head_dim={head_dim} is odd; rotary positions turn pairs: choose an even head_dim")
    angles = []
    for axis, num_pairs in enumerate(split_pairs(head_dim // 2, positions.shape[-1])):
        frequency = BASE ** (-jnp.arange(num_pairs, dtype=jnp.float32) / max(num_pairs, 1))
        angles.append(positions[:, axis, None].astype(jnp.float32) * frequency)
    angle = jnp.concatenate(angles, -1)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def apply_rope(
    x: Float[Array, "B heads N head_dim"], rotation: Float[Array, "2 N half"]
) -> Float[Array, "B heads N head_dim"]:
    """Turns queries or keys by a `rotation` that all clips and heads share."""
    cos, sin = rotation.astype(x.dtype)
    real, imaginary = jnp.split(x, 2, -1)
    return jnp.concatenate([real * cos - imaginary * sin, imaginary * cos + real * sin], -1)
