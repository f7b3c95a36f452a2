# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A picture cut into tiles that overlap, and put together again."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.layers.causal_conv import Cache

Chunk = Float[Array, "B _ _ _ _"]  # pixels or latents: what comes out has another size
Ramp = Float[np.ndarray, " size"]
Caches = dict[tuple[int, int], Cache]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Square tiles that overlap.

    Attributes:
      tile: pixels along one side; a multiple of the autoencoder's `spatial_compression`.
      overlap: pixels that neighbours share, across which one fades into the other; likewise.

    Raises:
      ValueError: unless 0 <= overlap < tile.
    """

    tile: int = 256
    overlap: int = 64

    def __post_init__(self):
        if not 0 <= self.overlap < self.tile:
            raise ValueError(f"overlap={self.overlap} must be from 0 to tile={self.tile} less one")

    def cells(self, spatial_compression: int) -> tuple[int, int]:
        """`tile` and `overlap` in latent cells.

        Raises:
          ValueError: where they are not whole.
        """
        for name, size in dataclasses.asdict(self).items():
            if size % spatial_compression:
                raise ValueError(
                    f"{name}={size} must be a multiple of spatial_compression={spatial_compression}"
                )
        return self.tile // spatial_compression, self.overlap // spatial_compression


@dataclasses.dataclass(frozen=True)
class _Line:
    """Tiles along a line of `size` cells: the last one ends where the line does."""

    size: int
    tile: int
    overlap: int

    @property
    def length(self) -> int:
        return min(self.tile, self.size)

    @property
    def starts(self) -> list[int]:
        last = self.size - self.length
        return [*range(0, last, self.tile - self.overlap), last]

    def ramps(self, scale: int) -> list[Ramp]:
        """The weights of each tile, `scale` to a cell: linear across an overlap, and one in sum."""
        total, ramps = np.zeros(self.size * scale), []
        for start in self.starts:
            ramps.append(
                np.minimum(self._rise(scale, start > 0), self._rise(scale, start < self.starts[-1])[::-1])
            )
            total[start * scale :][: len(ramps[-1])] += ramps[-1]
        return [ramp / total[start * scale :][: len(ramp)] for start, ramp in zip(self.starts, ramps)]

    def _rise(self, scale: int, has_neighbour: bool) -> Ramp:
        """From 0 to 1 across the overlap with the neighbour before; 1 without one."""
        size = self.length * scale
        if not has_neighbour or not self.overlap:
            return np.ones(size)
        return np.minimum((np.arange(size) + 0.5) / (self.overlap * scale), 1)


def step_tiles(
    step: Callable[[Chunk, Cache | None], tuple[Chunk, Cache]],
    x: Chunk,
    caches: Caches,
    tiling: Tiling,
    scales: tuple[int, int],
) -> Chunk:
    """Puts one chunk through `step`, tile by tile, and fades each tile into its neighbours.

    Args:
      step: takes a tile and its cache, and returns a tile and its next cache.
      x: `B T H W C`.
      caches: of the tiles, by their corners; filled here.
      tiling: in pixels.
      scales: how many cells along one side the input and the output have to one of the latents.
    """
    before, after = scales
    rows, columns = (_Line(size // before, *tiling.cells(max(scales))) for size in x.shape[2:4])
    canvas = None
    for row, column, ramp in _tiles(rows, columns, after):
        size = (*x.shape[:2], rows.length * before, columns.length * before, x.shape[-1])
        tile = jax.lax.dynamic_slice(x, (0, 0, row * before, column * before, 0), size)
        out, caches[row, column] = step(tile, caches.get((row, column)))
        if canvas is None:
            size = (out.shape[1], rows.size * after, columns.size * after)
            canvas = jnp.zeros((len(x), *size, out.shape[-1]), jnp.float32)
        canvas = _paint(canvas, out, jnp.asarray(ramp, jnp.float32), row * after, column * after)
    return canvas.astype(out.dtype)


def _tiles(rows: _Line, columns: _Line, scale: int) -> Iterator[tuple[int, int, Float[np.ndarray, "h w 1"]]]:
    """The corner of each tile, and its weights, `scale` to a cell."""
    for (row, down), (column, across) in itertools.product(
        zip(rows.starts, rows.ramps(scale)), zip(columns.starts, columns.ramps(scale))
    ):
        yield row, column, np.outer(down, across)[..., None]


@functools.partial(jax.jit, donate_argnums=0)  # the canvas may be far larger than what a tile needs
def _paint(
    canvas: Chunk, tile: Chunk, weight: Float[Array, "h w 1"], row: int | Array, column: int | Array
) -> Chunk:
    corner = (0, 0, row, column, 0)
    under = jax.lax.dynamic_slice(canvas, corner, tile.shape)
    return jax.lax.dynamic_update_slice(canvas, under + tile * weight, corner)
