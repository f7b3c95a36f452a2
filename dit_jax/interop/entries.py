# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables that say which public tensor holds which of our parameters, and how; read in both directions."""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from flax import nnx

from dit_jax.interop.safetensors import Shapes, TensorFiles, check_shapes

Config = TypeVar("Config")

BLOCKS = "blocks."  # begins the paths of parameters that hold those of all blocks, stacked


class Turn(NamedTuple):
    """Between a public tensor and the parameters it holds, exact but for what is said of one.

    Attributes:
      to_ours: a tensor to the values of the parameters.
      to_theirs: and back.
    """

    to_ours: Callable[[np.ndarray], Sequence[np.ndarray]]
    to_theirs: Callable[..., np.ndarray]


class Via(NamedTuple):
    """A change of a public tensor on its way in, and the one that undoes it."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


class Entry(NamedTuple):
    """One public tensor, or one of each block.

    Attributes:
      theirs: its name, with `{}` for the number of a block. Where ours is not stacked, every block must hold the
        same.
      ours: paths of parameters.
      turn: between the two.
    """

    theirs: str
    ours: tuple[str, ...]
    turn: Turn


NEGATED = Via(np.negative, np.negative)


def beside(count: int = 1) -> Turn:
    """Parameters side by side along the outputs, which come first in public kernels."""
    return Turn(lambda a: np.split(a.T, count, -1), lambda *parts: np.concatenate(parts, -1).T)


def through(via: Via, turn: Turn) -> Turn:
    """`turn` after a change of the public tensor."""
    return Turn(lambda a: turn.to_ours(via.there(a)), lambda *parts: via.back(turn.to_theirs(*parts)))


def outputs(sizes: tuple[int, ...], order: tuple[int, ...]) -> Via:
    """Outputs numbered along axes of `sizes`, which are taken in another order."""

    def move(a: np.ndarray, sizes: Sequence[int], order: Sequence[int]) -> np.ndarray:
        parts = a.reshape(*sizes, *a.shape[1:])
        return parts.transpose(*order, *range(len(sizes), parts.ndim)).reshape(a.shape)

    back = [sizes[axis] for axis in order], np.argsort(order).tolist()
    return Via(lambda a: move(a, sizes, order), lambda a: move(a, *back))


def flat(shape: tuple[int, ...]) -> Turn:
    """A table of `shape` as one vector."""
    return Turn(lambda a: [a.reshape(-1)], lambda vector: vector.reshape(shape))


def patches(channels: int, patch: tuple[int, ...]) -> Via:
    """The kernel of a convolution that does not overlap, as that of a layer over patches with channels last."""
    return Via(
        lambda a: np.moveaxis(a, 1, -1).reshape(len(a), -1),
        lambda a: np.moveaxis(a.reshape(len(a), *patch, channels), -1, 1),
    )


def dense(theirs: str, *ours: str, via: Via | None = None) -> Iterator[Entry]:
    """A layer's kernel and bias, which may hold those of several of ours."""
    turn = through(via, beside(len(ours))) if via else beside(len(ours))
    yield Entry(f"{theirs}.weight", tuple(f"{name}.kernel" for name in ours), turn)
    yield Entry(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours), turn)


def parameters_by_path(module: nnx.Module) -> dict[str, nnx.Param]:
    """By dotted path, such as `blocks.blocks.0.mlp.up.kernel`."""
    nodes = nnx.iter_graph(module)
    return {".".join(map(str, path)): node for path, node in nodes if isinstance(node, nnx.Param)}


def read_entries(
    tensors: TensorFiles, entries: Sequence[Entry], shapes: Shapes, num_blocks: int
) -> dict[str, np.ndarray]:
    """The value of every parameter in `shapes` that an entry names.

    Args:
      tensors: of a file.
      entries: that say what it must hold.
      shapes: of our parameters by path, those of stacked blocks with their number first.
      num_blocks: of these.

    Raises:
      ValueError: tensors missing, unknown, of another shape, not finite, or of several blocks where one is read.
    """
    check_shapes(tensors.shapes, dict(_public_shapes(entries, shapes, num_blocks)))
    values: dict[str, np.ndarray] = {}
    for entry in entries:
        first, *others = _numbers(entry, num_blocks)
        read = tensors.read(entry.theirs.format(first))
        for path, part in zip(entry.ours, entry.turn.to_ours(read), strict=True):
            values[path] = np.empty(shapes[path], np.float32)
            values[path][0 if _is_stacked(path) else ...] = part
        for number in others:
            name = entry.theirs.format(number)
            if entry.ours and _is_stacked(entry.ours[0]):
                for path, part in zip(entry.ours, entry.turn.to_ours(tensors.read(name)), strict=True):
                    values[path][number] = part
            elif not np.array_equal(tensors.read(name), read):
                raise ValueError(
                    f"{name} differs from {entry.theirs.format(first)}: one for all blocks is read"
                )
    return values


def write_entries(
    entries: Iterable[Entry], values: Mapping[str, np.ndarray], num_blocks: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Every public tensor, by name, of parameters by path."""
    for entry in entries:
        for number in _numbers(entry, num_blocks):
            parts = (values[path][number] if _is_stacked(path) else values[path] for path in entry.ours)
            yield entry.theirs.format(number), entry.turn.to_theirs(*parts)


def _public_shapes(
    entries: Sequence[Entry], shapes: Shapes, num_blocks: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for entry in entries:
        parts = (shapes[path][1:] if _is_stacked(path) else shapes[path] for path in entry.ours)
        shape = entry.turn.to_theirs(*(np.broadcast_to(np.float32(0), part) for part in parts)).shape
        for number in _numbers(entry, num_blocks):
            yield entry.theirs.format(number), shape


def _numbers(entry: Entry, num_blocks: int) -> range:
    return range(num_blocks if "{}" in entry.theirs else 1)


def _is_stacked(path: str) -> bool:
    return path.startswith(BLOCKS)


def read_diffusers_config(
    path: str | os.PathLike, class_name: str, parse: Callable[[Mapping[str, Any]], Config], what: str
) -> Config | None:
    """The config that diffusers' `config.json` beside weights describes; None where there is none of the class.

    Args:
      path: a file of weights, or the folder of one.
      class_name: diffusers'.
      parse: its fields to a config of ours.
      what: is described, for people.

    Raises:
      ValueError: one line that names the `config.json`: not JSON, or a network that is none of ours.
    """
    folder = pathlib.Path(path)
    file = (folder if folder.is_dir() else folder.parent) / "config.json"
    try:
        found = json.loads(file.read_text()) if file.is_file() else {}
        return parse(found) if found.get("_class_name") == class_name else None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file}: not the config of {what}: {reason}") from None
