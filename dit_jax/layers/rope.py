# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary positions over several axes.

Su et al. 2021, "RoFormer", arXiv 2104.09864, eq. 34, applied by halves (the first half of the features
holds the real parts, the second the imaginary ones) and factorised: every axis turns its own share of
the feature pairs. The product of a rotated query and key then depends on the offset of their positions.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.mesh import platform

# Clips are tens of cells wide where sentences are thousands of tokens long: a smaller base keeps the
# slowest pair turning visibly.
BASE = 100.0

Turns = Float[Array, "*#B N turns"]
Rotation = tuple[Turns, Turns]  # cosines and sines, see `rotations`


def split_pairs(num_pairs: int, num_axes: int) -> tuple[int, ...]:
    """How many feature pairs each axis turns: as even as possible, the last axes favoured."""
    share, rest = divmod(num_pairs, num_axes)
    return tuple(share + (axis >= num_axes - rest) for axis in range(num_axes))


def rotations(
    positions: Float[Array, "*B N axes"],
    head_dim: int,
    *,
    pairs: tuple[int, ...] | None = None,
    base: float = BASE,
) -> Rotation:
    """Cosines and sines that turn the `head_dim // 2` feature pairs at `positions` (in cells); on a TPU once for
    both of a pair.

    They are the same in every block: compute them once.

    Args:
      positions: along each axis; any, also beyond those trained on.
      head_dim: features of a head.
      pairs: that each axis turns; as `split_pairs` shares them by default.
      base: of the frequencies `base^(-i/n)` of an axis' n pairs.

    Raises:
      ValueError: `head_dim` is odd.
    """
    if head_dim % 2:
        raise ValueError(f"head_dim={head_dim} is odd; rotary positions turn pairs: choose an even head_dim")
    angles = []
    for axis, num_pairs in enumerate(pairs or split_pairs(head_dim // 2, positions.shape[-1])):
        frequency = base ** (-jnp.arange(num_pairs, dtype=jnp.float32) / max(num_pairs, 1))
        angles.append(positions[..., axis, None].astype(jnp.float32) * frequency)
    angle = jnp.concatenate(angles, -1)
    if platform() == "tpu":
        angle = jnp.concatenate([angle, angle], -1)
    turns = jnp.cos(angle), jnp.sin(angle)
    if platform() == "cpu":
        # XLA would compute cosines anew for every head of every block, but not what a product has put out.
        return tuple(one @ jnp.eye(one.shape[-1]) for one in turns)
    return turns


def _swap(size: int) -> Float[np.ndarray, "size size"]:
    """Takes (real, imaginary) to (-imaginary, real)."""
    return np.kron([[0.0, 1.0], [-1.0, 0.0]], np.eye(size // 2))


def apply_rope(
    x: Float[Array, "B heads N head_dim"], rotation: Rotation
) -> Float[Array, "B heads N head_dim"]:
    """Turns queries or keys by a `rotation` that all heads share, and all clips where it has no axis for
    them."""
    cos, sin = (one[..., None, :, :].astype(x.dtype) for one in rotation)
    if platform() == "tpu":  # where moving halves of a row costs more than a product, of exact terms
        return x * cos + (x @ _swap(x.shape[-1]).astype(x.dtype)) * sin
    # Halves as an axis, which turns where a concatenation would be copied element by element.
    halves = x.reshape(*x.shape[:-1], 2, -1)
    turned = halves * cos[..., None, :] + halves[..., ::-1, :] * jnp.stack([-sin, sin], -2)
    return turned.reshape(x.shape)
