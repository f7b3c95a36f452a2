# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of different sizes in rows of one length (Dehghani et al. 2023, NaViT, arXiv 2307.06304).

A batch of B rows of N tokens, with up to S clips (segments) in a row, is a dict of

| name | shape, dtype | |
|---|---|---|
| `tokens` | [B, N, D] float32 | patches of latents as `backbone.patchify` orders them, D = c * patch volume |
| `positions` | [B, N, 3] float32 | time, row and column of a patch within its own clip, in cells |
| `segment_ids` | [B, N] int32 | 1 to S, the segment that a patch is of |
| `text_ids` | [B, S, L] int32 | row s is the text of segment s + 1; or, where text tokens are stored: |
| `text_tokens` | [B, S, M, E] float32 | the same |
| `text_mask` | [B, S, M] bool | which of them hold text |
| `text_segment_ids` | [B, S] int32 | s + 1, or 0 where the row has fewer segments |

with 0 in all of the first three where a row is not full.

The tokens of a segment lie together, segments in rising order, and what is left of the row is at its end. A
token attends to those of its own number: to patches by `segment_ids`, and to the M text tokens of every slot by
`repeat(text_segment_ids, M)`, where a text encoder reads `text_ids` as B * S texts. A slot without a segment
repeats the row's first text, so that every slot is one that a text encoder can read.

Grain packs what passes by, so a row would depend on the host, the worker and the place where a run was
resumed. Here the rows are planned from the sizes: `pack` settles how many clips of which length share a row, the
same in every epoch, and the seed settles which clip of that length it is.
"""

import bisect
import dataclasses
import heapq
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from dit_jax.data.order import derived, permuted
from dit_jax.data.plan import Element, Row, digest

Patch = tuple[int, int, int]  # latent frames, rows and columns of a patch
TOLERANCE = 0.002  # of the number of rows


@dataclasses.dataclass(frozen=True)
class PackingConfig:
    """The shape of a row.

    Attributes:
      row_tokens: patches in a row.
      max_segments: clips in a row at most, which is also how many texts it has room for.
    """

    row_tokens: int = 4096
    max_segments: int = 16

    def __post_init__(self):
        for name in ("row_tokens", "max_segments"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")


class Packed:
    """The plan of packed rows: a position is a number of rows, and a batch may begin at any.

    Elements have `latents` [t,h,w,c], and `text_ids` [L] or `text_tokens` [M,E] and `text_mask` [M]; see above
    for what becomes of them.

    Args:
      grids: (time, rows, columns) of each clip, in patches.
      patch: latent frames, rows and columns of a patch.
      config: of the rows.
      batch_size: rows in a batch.

    Attributes:
      num_rows: of an epoch.
      fill: share of their tokens that are a clip's.

    Raises:
      ValueError: a clip is longer than a row.
    """

    name = "packed"

    def __init__(self, grids: Int[np.ndarray, "N 3"], patch: Patch, config: PackingConfig, batch_size: int):
        lengths = np.prod(grids, axis=1, dtype=np.int64)
        _check_lengths(lengths, config)
        self._config, self._patch = config, tuple(patch)
        classes, self.groups, self._counts = np.unique(lengths, return_inverse=True, return_counts=True)
        self._clips = np.split(np.argsort(self.groups, kind="stable"), np.cumsum(self._counts)[:-1])
        self._slots, self._ends = pack(classes, self._counts, config)
        self._ordinals = _ordinals(self._slots)
        self.num_clips, self.num_rows = len(grids), len(self._ends)
        self.fill = float(lengths.sum() / (self.num_rows * config.row_tokens))
        self.num_batches, rest = divmod(self.num_rows, batch_size)
        self.left_out = f"{rest} of {self.num_rows} rows" if rest else ""
        self.batch_multiple = self.stride = batch_size
        self.digest = digest(lengths, config, self._patch)

    def batch(self, position: int, seed: int | None) -> list[Row]:
        return [self._row(position + i, seed) for i in range(self.stride)]

    def assemble(self, elements: Sequence[Element]) -> Element:
        tokens = [fold(element["latents"], self._patch) for element in elements]
        grids = [_grid(element["latents"].shape, self._patch) for element in elements]
        numbers = np.arange(1, self._config.max_segments + 1, dtype=np.int32)
        unused = self._config.max_segments - len(elements)
        slots = [*elements, *elements[:1] * unused]
        names = [name for name in elements[0] if name != "latents"]
        return {
            "tokens": self._padded(np.concatenate(tokens)),
            "positions": self._padded(np.concatenate([grid_positions(grid) for grid in grids])),
            "segment_ids": self._padded(np.repeat(numbers[: len(tokens)], [len(one) for one in tokens])),
            **{name: np.stack([element[name] for element in slots]) for name in names},
            "text_segment_ids": np.where(numbers <= len(elements), numbers, 0),
        }

    def table(self) -> list[tuple[str, ...]]:
        """A heading and a row: what an epoch holds."""
        heading = ("rows", "clips", "clips in a row", "tokens in a row", "filled", "rows in a batch")
        most = int(np.diff(self._ends, prepend=0).max())
        clips = f"{self.num_clips / self.num_rows:.1f}, {most} at most"
        row = (self.num_rows, self.num_clips, clips, self._config.row_tokens, f"{self.fill:.1%}", self.stride)
        return [heading, tuple(map(str, row))]

    def _row(self, place: int, seed: int | None) -> Row:
        epoch, row = permuted(place, self.num_rows, derived(seed, 0))
        slots = range(self._ends[row - 1] if row else 0, self._ends[row])
        return [epoch * self.num_clips + self._clip(slot, epoch, seed) for slot in slots]

    def _clip(self, slot: int, epoch: int, seed: int | None) -> int:
        kind = int(self._slots[slot])
        count = int(self._counts[kind])
        _, which = permuted(epoch * count + int(self._ordinals[slot]), count, derived(seed, 1, kind))
        return int(self._clips[kind][which])

    def _padded(self, values: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "N ..."]:
        row = np.zeros((self._config.row_tokens, *values.shape[1:]), values.dtype)
        row[: len(values)] = values
        return row


def pack(
    lengths: Int[np.ndarray, " K"], counts: Int[np.ndarray, " K"], config: PackingConfig
) -> tuple[Int[np.ndarray, " slots"], Int[np.ndarray, " rows"]]:
    """Shares clips out among few rows.

    Longest first, each clip goes to the row that it leaves the least room in (best fit), or to the one with the
    most room among a number of rows that is sought by bisection: that one also evens out the number of clips
    in a row, and wins where `max_segments` is what fills rows.

    Args:
      lengths: in tokens, of each kind of clip; no more than a row's.
      counts: clips of each kind.
      config: of the rows.

    Returns:
      The kind of clip in each slot, row after row, and the slot at which each row ends.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    kinds = np.repeat(longest_first, counts[longest_first]).tolist()
    sizes = lengths[kinds].tolist()
    rows = _best_fit(sizes, config)
    fewest = max(-(-sum(sizes) // config.row_tokens), -(-len(sizes) // config.max_segments))
    while len(rows) - fewest > len(rows) * TOLERANCE:
        middle = (fewest + len(rows)) // 2
        if dealt := _deal(sizes, middle, config):
            rows = dealt
        else:
            fewest = middle + 1
    slots = np.fromiter((kinds[clip] for row in rows for clip in row), np.int32)
    return slots, np.cumsum([len(row) for row in rows])


def _best_fit(sizes: list[int], config: PackingConfig) -> list[list[int]]:
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = {}  # by the tokens they have left
    rising: list[int] = []  # its keys
    for clip, size in enumerate(sizes):
        row, left = _tightest(open_rows, rising, size) or (len(rows), config.row_tokens)
        if row == len(rows):
            rows.append([])
        rows[row].append(clip)
        if left > size and len(rows[row]) < config.max_segments:
            if left - size not in open_rows:
                bisect.insort(rising, left - size)
            open_rows.setdefault(left - size, []).append(row)
    return rows


def _tightest(open_rows: dict[int, list[int]], rising: list[int], size: int) -> tuple[int, int] | None:
    """Takes out the row with the least room that still suffices, and its room."""
    place = bisect.bisect_left(rising, size)
    if place == len(rising):
        return None
    left = rising[place]
    row = open_rows[left].pop()
    if not open_rows[left]:
        del open_rows[left], rising[place]
    return row, left


def _deal(sizes: list[int], num_rows: int, config: PackingConfig) -> list[list[int]] | None:
    """Gives each clip to the emptiest row; None if one does not fit."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    emptiest = [(0, row) for row in range(num_rows)]
    for clip, size in enumerate(sizes):
        if not emptiest or emptiest[0][0] + size > config.row_tokens:
            return None
        filled, row = emptiest[0]
        rows[row].append(clip)
        if len(rows[row]) < config.max_segments:
            heapq.heapreplace(emptiest, (filled + size, row))
        else:
            heapq.heappop(emptiest)
    return rows


def fold(latents: Float[np.ndarray, "t h w c"], patch: Patch) -> Float[np.ndarray, "N D"]:
    """Patches of latents, ordered by time, row, column; within one too, the channels last."""
    (t, h, w), (pt, ph, pw) = _grid(latents.shape, patch), patch
    cells = latents.reshape(t, pt, h, ph, w, pw, latents.shape[-1])
    return cells.transpose(0, 2, 4, 1, 3, 5, 6).reshape(t * h * w, -1)


def unfold(
    tokens: Float[np.ndarray, "N D"], patch: Patch, grid: tuple[int, int, int]
) -> Float[np.ndarray, "t h w c"]:
    """The latents whose patches are `tokens`, in a `grid` of them."""
    (t, h, w), (pt, ph, pw) = grid, patch
    cells = tokens.reshape(t, h, w, pt, ph, pw, -1)
    return cells.transpose(0, 3, 1, 4, 2, 5, 6).reshape(t * pt, h * ph, w * pw, -1)


def grid_positions(grid: tuple[int, int, int]) -> Float[np.ndarray, "N 3"]:
    """Time, row and column of each patch, in cells."""
    return np.indices(grid, np.float32).reshape(3, -1).T


def token_grids(shapes: Int[np.ndarray, "N 4"], patch: Patch) -> Int[np.ndarray, "N 3"]:
    """(time, rows, columns) of latents [t,h,w,c] in patches.

    Raises:
      ValueError: the patch does not divide some of them.
    """
    if (uneven := np.flatnonzero((shapes[:, :3] % patch).any(axis=1))).size:
        raise ValueError(
            f"patch={tuple(patch)} does not divide the latents {tuple(map(int, shapes[uneven[0], :3]))} of clip "
            f"{uneven[0]}, and {uneven.size - 1} more: choose a patch that does, or other sizes"
        )
    return shapes[:, :3] // patch


def _grid(shape: Sequence[int], patch: Patch) -> tuple[int, int, int]:
    return tuple(map(int, token_grids(np.array([shape]), patch)[0]))


def _ordinals(slots: Int[np.ndarray, " slots"]) -> Int[np.ndarray, " slots"]:
    """How many slots before each are of its kind."""
    order = np.argsort(slots, kind="stable")
    counts = np.bincount(slots)
    ordinals = np.empty_like(slots)
    ordinals[order] = np.arange(len(slots)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ordinals


def _check_lengths(lengths: Int[np.ndarray, " N"], config: PackingConfig) -> None:
    if not len(lengths):
        raise ValueError("there are no clips to pack; check the source")
    if (long := np.flatnonzero(lengths > config.row_tokens)).size:
        raise ValueError(
            f"{long.size} of {len(lengths)} clips are longer than row_tokens={config.row_tokens}, such as clip "
            f"{long[0]} with {lengths[long[0]]}: give {lengths.max()} or more, or make the clips smaller"
        )
