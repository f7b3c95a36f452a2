# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in safetensors files, one or several with an index, read and written tensor by tensor.

Nothing is ever unpickled: a pickle can run code when it is read.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp  # teaches NumPy bfloat16, which it must know before a file that holds it is read
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

INDEX = ".index.json"
PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
ENDINGS = (".safetensors", *PICKLES)
SHARD_BYTES = 5_000_000_000
NAMED = 3  # names of each kind that a message lists

Path = str | os.PathLike
Shapes = Mapping[str, tuple[int, ...]]


class TensorFiles:
    """The tensors of open safetensors files; see `open_tensors`."""

    def __init__(self, files: Mapping[str, Any]):
        self._files = files
        slices = {name: file.get_slice(name) for name, file in files.items()}
        self.shapes: Shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        self.dtypes = {name: part.get_dtype() for name, part in slices.items()}  # such as F32, BF16
        first = next(iter(files.values()), None)
        self.metadata: Mapping[str, str] = (first and first.metadata()) or {}

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32.

        Raises:
          ValueError: it is not of floating point, or not finite.
        """
        tensor = self._files[name].get_tensor(name)
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(f"{name} is {tensor.dtype}: weights are floating point")
        tensor = tensor.astype(np.float32)
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite")
        return tensor


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[TensorFiles]:
    """Opens weights; only headers are read until a tensor is asked for.

    Args:
      path: a `.safetensors` file, the `.safetensors.index.json` of several, or a folder that holds one of these.

    Raises:
      FileNotFoundError: no such file, or a folder without one.
      ValueError: one line that names the file: a pickle, not safetensors, or an index that does not fit.
    """
    with contextlib.ExitStack() as stack, _naming(path):
        yield TensorFiles(_open(_find(pathlib.Path(path)), stack))


def weight_files(path: Path) -> list[pathlib.Path]:
    """The files that hold the tensors, by name; takes and raises what `open_tensors` does."""
    with _naming(path):
        file = _find(pathlib.Path(path))
        if file.suffix != ".json":
            return [file]
        return [file.with_name(name) for name in sorted(set(_read_index(file).values()))]


def check_shapes(found: Shapes, expected: Shapes) -> None:
    """Compares the tensors of a file with those that a model needs.

    Raises:
      ValueError: one line with the number, and the first few, of the tensors that are missing, of those that
        are unknown, and of those that have another shape.
    """
    wrong = [name for name in expected if name in found and tuple(found[name]) != tuple(expected[name])]
    parts = [
        _some("missing", [name for name in expected if name not in found]),
        _some("unknown", [name for name in found if name not in expected]),
        _some("of another shape", [f"{n} {tuple(found[n])} for {tuple(expected[n])}" for n in wrong]),
    ]
    if any(parts):
        raise ValueError(f"not the weights of this model: {'; '.join(filter(None, parts))}")


def save_tensors(
    path: Path,
    tensors: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes tensors as they come, holding one file's worth of them.

    Args:
      path: ends in `.safetensors`. What needs more than `shard_bytes` becomes `NAME-00001-of-00002.safetensors`
        and so on, with `NAME.safetensors.index.json`. Files that exist are replaced, when all are whole.
      tensors: names, each once, and values.
      metadata: kept in every header.
      shard_bytes: the most bytes of tensors to a file, unless one tensor is larger.

    Raises:
      ValueError: for another ending, or a name given twice.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name must end in .safetensors")
    partials: list[pathlib.Path] = []
    shards: list[dict[str, int]] = []  # bytes by name
    try:
        for shard in _shards(tensors, shard_bytes):
            partials.append(path.with_name(f".{path.name}.{os.getpid()}.{len(partials)}"))
            save_file(shard, partials[-1], dict(metadata or {}))
            shards.append({name: tensor.nbytes for name, tensor in shard.items()})
        _publish(path, partials, shards)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors as one line that names the file."""
    try:
        yield
    except (SafetensorError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{os.fspath(path)}: {reason}") from None


def _some(kind: str, names: list[str]) -> str:
    """`kind 5: a, b, c, ...`, or nothing."""
    more = ", ..." if len(names) > NAMED else ""
    return f"{kind} {len(names)}: {', '.join(names[:NAMED])}{more}" if names else ""


def _find(path: pathlib.Path) -> pathlib.Path:
    """The file that a path stands for."""
    if path.is_dir():
        for pattern in (f"*.safetensors{INDEX}", "*.safetensors", *(f"*{ending}" for ending in PICKLES)):
            files = sorted(path.glob(pattern))
            if len(files) > 1:
                raise ValueError(f"it holds {len(files)} of {pattern}: name one of them")
            if files:
                return _find(files[0])
        raise FileNotFoundError(f"{path}: no .safetensors file in it")
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path.name} is a pickle, which can run code when it is read: convert it where you trust it, by "
            "safetensors.torch.save_file({name: tensor.clone().contiguous() for name, tensor in "
            "torch.load(PATH, weights_only=True).items()}, 'weights.safetensors')"
        )
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    return path


def _open(path: pathlib.Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Open files by the name of each tensor they hold."""
    if path.suffix != ".json":
        file = stack.enter_context(safe_open(path, "numpy"))
        return dict.fromkeys(file.keys(), file)
    shard_of = _read_index(path)
    opened = {
        name: stack.enter_context(safe_open(path.with_name(name), "numpy")) for name in set(shard_of.values())
    }
    held = {name: set(file.keys()) for name, file in opened.items()}
    for tensor, shard in shard_of.items():
        if tensor not in held[shard]:
            raise ValueError(f"its index looks for {tensor} in {shard}, where it is not")
    return {tensor: opened[shard] for tensor, shard in shard_of.items()}


def _read_index(path: pathlib.Path) -> dict[str, str]:
    """The name of the file of each tensor; all lie beside the index."""
    try:
        shard_of = dict(json.loads(path.read_text())["weight_map"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("not an index: JSON with a weight_map is expected") from None
    for shard in shard_of.values():
        if not isinstance(shard, str) or not shard.endswith(ENDINGS) or set(shard) & set("/\\"):
            raise ValueError(f"its index names {shard!r}, which is not a file beside it")
        _find(path.with_name(shard))
    return shard_of


def _shards(tensors: Iterable[tuple[str, np.ndarray]], shard_bytes: int) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    seen: set[str] = set()
    for name, tensor in tensors:
        if name in seen:
            raise ValueError(f"{name} is given twice")
        seen.add(name)
        if shard and sum(held.nbytes for held in shard.values()) + tensor.nbytes > shard_bytes:
            yield shard
            shard = {}
        shard[name] = np.asarray(tensor, order="C")  # safetensors writes the memory as it lies
    yield shard


def _publish(path: pathlib.Path, partials: list[pathlib.Path], shards: list[dict[str, int]]) -> None:
    """Gives whole files their names, the index last."""
    index = path.with_name(path.name + INDEX)
    if len(partials) == 1:
        os.replace(partials[0], path)
        index.unlink(missing_ok=True)
        return
    names = [f"{path.stem}-{i + 1:05}-of-{len(partials):05}.safetensors" for i in range(len(partials))]
    for partial, name in zip(partials, names):
        os.replace(partial, path.with_name(name))
    content = {
        "metadata": {"total_size": sum(sum(shard.values()) for shard in shards)},
        "weight_map": {tensor: name for name, shard in zip(names, shards) for tensor in shard},
    }
    unfinished = index.with_name(f".{index.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=2))
    os.replace(unfinished, index)
    path.unlink(missing_ok=True)
