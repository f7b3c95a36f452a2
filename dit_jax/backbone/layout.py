# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What transformers know of a batch besides its tokens: whose each is, where it lies, and its time.

The same blocks serve clips on a grid and clips packed into rows (see `data.packing`). Registers and text in
context stand before a clip's tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dit_jax.backbone.patchify import grid_positions
from dit_jax.backbone.patterns import Grid, PatternSizes, cut, numbers, paste, wrapped
from dit_jax.layers.attention import Attention
from dit_jax.layers.rope import Rotation, rotations

AXES = {"space": (1, 2), "time": (0,)}  # of the positions that a pattern tells apart; all by default


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Layout:
    """Where tokens lie.

    Attributes:
      positions: time, row and column of each token in its clip, in cells.
      sizes: of each token's clip along them.
      segment_ids: which clip of the row a token is of; None on a grid.
      grid: tokens along time, rows and columns; None in packed rows.
    """

    positions: Float[Array, "#B N 3"]
    sizes: Float[Array, "#B #N 3"]
    segment_ids: Int[Array, "B N"] | None = None
    grid: Grid | None = dataclasses.field(default=None, metadata=dict(static=True))


def on_grid(grid: Grid) -> Layout:
    """The layout of clips of one size."""
    return Layout(grid_positions(grid)[None], jnp.asarray(grid, jnp.float32)[None, None], None, grid)


def packed(positions: Float[Array, "B N 3"], segment_ids: Int[Array, "B N"]) -> Layout:
    """The layout of packed rows."""
    room = segment_ids.shape[1] + 1  # no row has more clips than tokens
    last = jax.vmap(lambda p, s: jax.ops.segment_max(p, s, room)[s])(positions, segment_ids)
    return Layout(positions, last + 1, segment_ids)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Group:
    """A pattern of self-attention on a layout: made once, used by every block."""

    rotation: Rotation | None
    ids: Int[Array, "_ n"] | None
    pattern: str = dataclasses.field(metadata=dict(static=True))
    sizes: PatternSizes = dataclasses.field(metadata=dict(static=True))
    grid: Grid | None = dataclasses.field(metadata=dict(static=True))

    def attend(
        self, attention: Attention, x: Float[Array, "B N D"], gate: Float[Array, "B #N D"]
    ) -> Float[Array, "B N D"]:
        """`gate` times `attention` within the groups."""
        if self.grid is None:
            return attention(x, rotation=self.rotation, ids=(self.ids, self.ids), gate=gate)
        y = cut(x, self.pattern, self.grid, self.sizes)
        rotation, ids = jax.tree.map(lambda a: self._for_all(a, len(y)), (self.rotation, self.ids))
        ids = None if ids is None else (ids, ids)
        if self.pattern == "joint":
            return attention(y, rotation=rotation, ids=ids, gate=gate)
        y = attention(y, rotation=rotation, ids=ids)
        return gate * paste(y, self.pattern, self.grid, self.sizes)

    def _for_all(self, array: Array, count: int) -> Array:
        """What the groups of one clip have, for the `count` groups of all; one for every group stays one."""
        if len(array) in (1, count):
            return array
        return jnp.tile(array, (count // len(array), *(1,) * (array.ndim - 1)))


def make_group(
    pattern: str,
    layout: Layout,
    sizes: PatternSizes,
    prefix_ids: Int[Array, "B P"] | None = None,
    *,
    head_dim: int = 0,
    pairs: tuple[int, ...] | None = None,
    base: float = 0.0,
) -> Group:
    """The groups of a pattern on a layout.

    Args:
      pattern: one of `patterns.PATTERNS`.
      layout: of the tokens.
      sizes: of windows and skips.
      prefix_ids: clips that the tokens before them are of, -1 for padding; those have no position. Joint
        attention alone reaches them.
      head_dim: of queries and keys that rotary positions turn; 0 for none.
      pairs: see `rotations`; where all three axes are told apart.
      base: see `rotations`.
    """
    at = layout.positions if layout.grid is None else _in_groups(pattern, layout, sizes)
    ids = _ids(pattern, layout, sizes)
    rotation = None
    if head_dim:
        axes = AXES.get(pattern, (0, 1, 2))
        rotation = rotations(at[..., axes], head_dim, pairs=pairs if len(axes) == 3 else None, base=base)
    if prefix_ids is not None:
        count = prefix_ids.shape[1]
        ids = jnp.zeros((1, at.shape[1]), jnp.int32) if ids is None else ids
        ids = jnp.concatenate([prefix_ids, jnp.broadcast_to(ids, (len(prefix_ids), ids.shape[1]))], 1)
        if rotation is not None:
            rotation = tuple(_behind(count, rest, one) for rest, one in zip((1.0, 0.0), rotation))
    return Group(rotation, ids, pattern, sizes, layout.grid)


def _behind(count: int, rest: float, turns: Float[Array, "B n turns"]) -> Float[Array, "B _ turns"]:
    """`turns` behind those of `count` tokens that are not turned."""
    return jnp.pad(turns, ((0, 0), (count, 0), (0, 0)), constant_values=rest)


def _in_groups(pattern: str, layout: Layout, sizes: PatternSizes) -> Float[Array, "G n 3"]:
    """Positions in the groups of a grid, once where those of all differ by an offset alone."""
    if pattern == "joint" or "skip" in pattern:
        return cut(layout.positions, pattern, layout.grid, sizes)
    return cut(layout.positions, pattern.removeprefix("shifted_"), layout.grid, sizes)[:1]


def _ids(pattern: str, layout: Layout, sizes: PatternSizes) -> Int[Array, "G n"] | None:
    if layout.grid is None:
        return numbers(pattern, layout.positions, layout.sizes, layout.segment_ids, sizes)
    if pattern == "shifted_window":
        return cut(wrapped(layout.grid, sizes), pattern, layout.grid, sizes)
    return None
