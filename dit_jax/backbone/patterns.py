# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Who attends to whom: groups of tokens, cut out of a grid by reshapes or told apart by numbers.

| pattern | a token sees |
|---|---|
| `joint` | its clip |
| `space` | its frame |
| `time` | its place in all frames |
| `window`, `shifted_window` | its window of frames, rows and columns; windows moved by half a size |
| `skip`, `skip_runs` | every k-th token; every k-th run of k tokens |

Windows are those of Liu et al. 2021 (Swin, arXiv 2103.14030, section 3.2), over time too (arXiv 2106.13230);
skips those of Lin et al. 2024 (Open-Sora Plan, arXiv 2412.00131, section 2.3): one of each kind, and every
token has reached every other.

On a grid a group is a short sequence of its own. In a packed row the same groups are numbered, and a token
sees those of its number.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

Grid = tuple[int, int, int]

PATTERNS = ("joint", "space", "time", "window", "shifted_window", "skip", "skip_runs")


@dataclasses.dataclass(frozen=True)
class PatternSizes:
    """Of windows in tokens along time, rows and columns, and the stride of skips."""

    window: Grid = (2, 4, 4)
    skip: int = 4


def _window(grid: Grid, sizes: PatternSizes) -> Grid:
    return tuple(min(n, w) for n, w in zip(grid, sizes.window))


def _shift(grid: Grid, sizes: PatternSizes) -> Grid:
    """Half a window, where there is more than one."""
    return tuple(w // 2 if w < n else 0 for n, w in zip(grid, _window(grid, sizes)))


def check_pattern(pattern: str, grid: Grid, sizes: PatternSizes) -> None:
    """Raises ValueError, naming both numbers, where windows or skips do not fill a grid."""
    window, stride = _window(grid, sizes), sizes.skip**2
    if "window" in pattern and any(n % w for n, w in zip(grid, window)):
        raise ValueError(f"window={window} does not divide the grid of tokens {grid}: choose one that does")
    if "skip" in pattern and math.prod(grid) % stride:
        raise ValueError(
            f"skip={sizes.skip}: its square {stride} does not divide the {math.prod(grid)} tokens of a clip: "
            "choose a skip whose square does"
        )


def _axes(
    pattern: str, grid: Grid, sizes: PatternSizes
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The axes that the tokens of a grid are seen along; those that tell groups apart; those within one."""
    t, cells, tokens, k = grid[0], grid[1] * grid[2], math.prod(grid), sizes.skip
    if pattern in ("space", "time"):
        return (t, cells), (0,) if pattern == "space" else (1,), (1,) if pattern == "space" else (0,)
    if "skip" in pattern:
        return ((tokens // k, k), (1,), (0,)) if pattern == "skip" else ((-1, k, k), (1,), (0, 2))
    window = _window(grid, sizes)
    axes = tuple(size for n, w in zip(grid, window) for size in (n // w, w))
    return axes, (0, 2, 4), (1, 3, 5)


def span(pattern: str, grid: Grid, sizes: PatternSizes) -> int:
    """How many tokens each one sees."""
    if pattern == "joint":
        return math.prod(grid)
    axes, _, within = _axes(pattern, grid, sizes)
    shape = np.empty(math.prod(grid), bool).reshape(axes).shape
    return math.prod(shape[axis] for axis in within)


def cut(x: Shaped[Array, "B N *D"], pattern: str, grid: Grid, sizes: PatternSizes) -> Shaped[Array, "G n *D"]:
    """The groups of clips on a grid, each a sequence: those of the first clip, those of the second..."""
    if pattern == "joint":
        return x
    check_pattern(pattern, grid, sizes)
    if pattern == "shifted_window":
        x = _rolled(x, grid, [-s for s in _shift(grid, sizes)])
    axes, groups, within = _axes(pattern, grid, sizes)
    y = x.reshape(x.shape[0], *axes, *x.shape[2:])
    order = [0, *(a + 1 for a in groups + within), *range(1 + len(axes), y.ndim)]
    return y.transpose(order).reshape(-1, span(pattern, grid, sizes), *x.shape[2:])


def paste(
    y: Shaped[Array, "G n *D"], pattern: str, grid: Grid, sizes: PatternSizes
) -> Shaped[Array, "B N *D"]:
    """The inverse of `cut`."""
    if pattern == "joint":
        return y
    axes, groups, within = _axes(pattern, grid, sizes)
    shape = np.empty(math.prod(grid), bool).reshape(axes).shape
    order = groups + within
    x = y.reshape(-1, *(shape[a] for a in order), *y.shape[2:])
    back = [0, *(int(a) + 1 for a in np.argsort(order)), *range(1 + len(axes), x.ndim)]
    x = x.transpose(back).reshape(x.shape[0], math.prod(grid), *y.shape[2:])
    return _rolled(x, grid, _shift(grid, sizes)) if pattern == "shifted_window" else x


def _rolled(x: Shaped[Array, "B N *D"], grid: Grid, shift: list[int] | Grid) -> Shaped[Array, "B N *D"]:
    return jnp.roll(x.reshape(x.shape[0], *grid, *x.shape[2:]), shift, (1, 2, 3)).reshape(x.shape)


def wrapped(grid: Grid, sizes: PatternSizes) -> Int[Array, "1 N"]:
    """Tells apart what a shifted window holds of opposite edges of the grid."""
    axes = np.indices(grid).reshape(3, -1)
    edge = [(axis < s) * 2**i for i, (axis, s) in enumerate(zip(axes, _shift(grid, sizes)))]
    return jnp.asarray(sum(edge), jnp.int32)[None]


def numbers(
    pattern: str,
    positions: Float[Array, "B N 3"],
    clip_sizes: Float[Array, "B N 3"],
    segment_ids: Int[Array, "B N"],
    sizes: PatternSizes,
) -> Int[Array, "B N"]:
    """The number of each token's group in packed rows.

    Args:
      pattern: one of `PATTERNS`.
      positions: time, row and column of each token in its clip.
      clip_sizes: of each token's clip, along these.
      segment_ids: which clip it is of.
      sizes: of windows and skips.
    """
    if pattern == "joint":
        return segment_ids
    place = positions.astype(jnp.int32)
    if pattern == "space":
        keys = place[..., :1]
    elif pattern == "time":
        keys = place[..., 1:]
    elif "window" in pattern:
        window = jnp.minimum(jnp.asarray(sizes.window), clip_sizes.astype(jnp.int32))
        shift = jnp.where(window < clip_sizes, window // 2, 0) * (pattern == "shifted_window")
        keys = jnp.floor_divide(place - shift, jnp.maximum(window, 1))
    else:
        index = _index_in_segment(segment_ids)[..., None]
        keys = index % sizes.skip if pattern == "skip" else index // sizes.skip % sizes.skip
    return jax.vmap(_ranks)(jnp.concatenate([segment_ids[..., None], keys], -1))


def _index_in_segment(segment_ids: Int[Array, "B N"]) -> Int[Array, "B N"]:
    index = jnp.broadcast_to(jnp.arange(segment_ids.shape[1]), segment_ids.shape)
    first = jnp.pad(segment_ids[:, 1:] != segment_ids[:, :-1], ((0, 0), (1, 0)))
    return index - jax.lax.cummax(jnp.where(first, index, 0), axis=1)


def _ranks(keys: Int[Array, "N K"]) -> Int[Array, " N"]:
    """Equal numbers for equal rows."""
    order = jnp.lexsort(keys.T)
    rising = keys[order]
    new = jnp.pad((rising[1:] != rising[:-1]).any(-1), (1, 0))
    return jnp.zeros(len(keys), jnp.int32).at[order].set(jnp.cumsum(new.astype(jnp.int32)))
