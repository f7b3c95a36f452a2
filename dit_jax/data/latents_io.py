# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Latents on disk: ArrayRecord shards, their shapes, and a `metadata.json`; all appear or none.

A record is one safetensors blob, so reading it runs no code: `latents` in float16, the captions and the key as
JSON bytes, and where there are any, the text tokens of a caption of each level, [n,E] in float16 without
padding. `shapes.npy` holds [t,h,w,c] of each, so that batches are planned without reading them, and
`null_text.npy` the text tokens of the empty prompt.
"""

import bisect
import functools
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dit_jax.data.quarantine import DamagedClip

VERSION = 2
METADATA, SHAPES, NULL_TEXT = "metadata.json", "shapes.npy", "null_text.npy"
_MEASURED = {"version", "count", "shape", "num_shards", "num_bytes", "mean", "std"}
_TEXT = "text."  # before a level's name
IN_MEMORY_BYTES = 2**30  # sets up to this size are read once and kept


def write_latents(
    path: str | Path,
    elements: Iterable[Mapping[str, Any]],
    metadata: Mapping[str, Any],
    num_shards: int = 1,
    null_text: Float[np.ndarray, "n E"] | None = None,
) -> None:
    """Writes a set of latents for `LatentsSource`, whole or not at all.

    The shards are written beside `path` under another name and renamed when complete, so a writer that is
    killed leaves nothing at `path`.

    Args:
      path: the folder to make; it must not exist.
      elements: dicts with `latents` (float [t,h,w,c], of any sizes but one number of channels), `captions`
        (text by level) and `key`; and maybe `text`, the tokens [n,E] of captions by level, and `micro`, numbers
        by name.
      metadata: what to record of where they come from, such as the autoencoder's digest; JSON. The writer
        adds `version`, `count`, `shape` (null where there are several), `num_shards`, `num_bytes` of the records,
        and per channel `mean` and `std` of what it stored.
      num_shards: files; element i is in shard i % num_shards.
      null_text: tokens of the empty prompt, where elements have `text`.

    Raises:
      FileExistsError: if `path` exists.
      TypeError: if metadata is not JSON.
      ValueError: for no elements, differing channels, values that float16 cannot hold, or metadata that
        has a name the writer adds.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; remove it or write to another folder")
    if num_shards < 1:
        raise ValueError(f"num_shards is {num_shards}; give 1 or more")
    if clash := sorted(_MEASURED & set(metadata)):
        raise ValueError(f"metadata has {clash[0]!r}, which the writer adds itself; rename it")
    json.dumps(dict(metadata))  # fails before the work and not after it
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        measured = _write_shards(partial, elements, num_shards)
        if null_text is not None:
            np.save(partial / NULL_TEXT, _half(null_text, "the empty prompt", "text"), allow_pickle=False)
        (partial / METADATA).write_text(json.dumps({**metadata, **measured}, indent=2))
        partial.chmod(0o755)  # mkdtemp's folders are for their owner alone
        os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class LatentsSource:
    """Random access to what `write_latents` wrote, in its order.

    Elements are dicts: `latents` float32 [t,h,w,c], `captions` text by level, `key`, `text`, by level the float16
    tokens [n,E] that were stored, and the numbers that were, such as `fps`. A set of up to `IN_MEMORY_BYTES` is
    read into memory at once; a
    larger one is read record by record. A record that is damaged, or lies in a shard that cannot be opened,
    raises `DamagedClip` when it is asked for.

    Attributes:
      metadata: the contents of `metadata.json`.
      shapes: [t,h,w,c] of each element.

    Raises:
      ValueError: if the folder has no set of latents, or one that is incomplete.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        self.metadata = read_metadata(self._path)
        self._num_shards = self.metadata["num_shards"]
        self.shapes = _read_shapes(self._path, self.metadata)
        self._shards = [self._open(shard) for shard in range(self._num_shards)]
        of_latents = int(self.shapes.prod(axis=1, dtype=np.int64).sum()) * 2
        in_memory = self.metadata.get("num_bytes", of_latents) <= IN_MEMORY_BYTES
        self._elements = [self._or_damage(index) for index in range(len(self))] if in_memory else None

    @property
    def null_text(self) -> Float[np.ndarray, "n E"]:
        """Tokens of the empty prompt.

        Raises:
          ValueError: the set has none, or they are damaged.
        """
        try:
            return np.load(self._path / NULL_TEXT, allow_pickle=False)
        except FileNotFoundError:
            raise ValueError(
                f"{self._path} has no text tokens: encode the clips with a text encoder"
            ) from None
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{self._path / NULL_TEXT} is damaged ({error}); write the set again") from error

    def __len__(self) -> int:
        return self.metadata["count"]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"latents {index} of {len(self)}")
        element = self._elements[index] if self._elements else self._or_damage(index)
        if isinstance(element, DamagedClip):
            raise element
        return element | {"latents": element["latents"].astype(np.float32)}

    def __reduce__(self):
        return type(self), (self._path,)  # a worker process reads for itself: latents are not sent to it

    def _open(self, shard: int) -> ArrayRecordDataSource | DamagedClip:
        path = self._path / _shard(shard, self._num_shards)
        if not path.is_file():
            raise ValueError(f"{path} is missing; write the set again")
        try:
            records = ArrayRecordDataSource([str(path)])
        except RuntimeError as error:
            return self._damaged(path.name, error)
        if len(records) != (expected := len(range(shard, len(self), self._num_shards))):
            raise ValueError(f"{path} has {len(records)} records of {expected}; write the set again")
        return records

    def _or_damage(self, index: int) -> dict[str, Any] | DamagedClip:
        row, shard = divmod(index, self._num_shards)
        records = self._shards[shard]
        if isinstance(records, DamagedClip):
            return records
        try:
            arrays = load(records[row])
            shape = tuple(self.shapes[index].tolist())
            if arrays["latents"].shape != shape:
                raise ValueError(f"{arrays['latents'].shape} where {SHAPES} says {shape}")
            text = {name[len(_TEXT) :]: arrays[name] for name in arrays if name.startswith(_TEXT)}
            return {"latents": arrays["latents"], "text": text, **json.loads(arrays["json"].tobytes())}
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            return self._damaged(f"record {index}", error)

    def _damaged(self, what: str, error: Exception) -> DamagedClip:
        return DamagedClip(f"{self._path}: {what} is damaged ({' '.join(str(error).split())[:200]})")


def _write_shards(folder: Path, elements: Iterable[Mapping[str, Any]], num_shards: int) -> dict[str, Any]:
    shapes, total, squares, num_bytes = [], 0.0, 0.0, 0
    with ExitStack() as stack:
        writers = [_open_writer(stack, folder / _shard(i, num_shards)) for i in range(num_shards)]
        for count, element in enumerate(elements):
            latents = np.asarray(element["latents"], np.float32)
            channels = shapes[0][-1] if shapes else latents.shape[-1]
            record = _encode(latents, channels, element)
            writers[count % num_shards].write(record)
            num_bytes += len(record)
            shapes.append(latents.shape)
            total = total + latents.sum((0, 1, 2), dtype=np.float64)
            squares = squares + np.square(latents, dtype=np.float64).sum((0, 1, 2))
    if not shapes:
        raise ValueError("there are no latents to write; check the source that they come from")
    np.save(folder / SHAPES, np.array(shapes, np.int32), allow_pickle=False)
    num_cells = np.prod(np.array(shapes)[:, :3], axis=1).sum()
    mean = total / num_cells
    return {
        "version": VERSION,
        "count": len(shapes),
        "shape": list(shapes[0]) if len(set(shapes)) == 1 else None,
        "num_shards": num_shards,
        "num_bytes": num_bytes,
        "mean": mean.tolist(),
        "std": np.sqrt(np.maximum(squares / num_cells - mean**2, 0)).tolist(),
    }


def _open_writer(stack: ExitStack, path: Path) -> ArrayRecordWriter:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    stack.callback(writer.close)
    return writer


def _encode(latents: np.ndarray, channels: int, element: Mapping[str, Any]) -> bytes:
    key = element["key"]
    if latents.ndim != 4 or latents.shape[-1] != channels:
        raise ValueError(f"{key}: latents are {latents.shape}; give all [t,h,w,c] with {channels} channels")
    about = {**element.get("micro", {}), "captions": dict(element["captions"]), "key": key}
    names = json.dumps(about).encode()
    text = {_TEXT + level: _half(tokens, key, "text") for level, tokens in element.get("text", {}).items()}
    return save({"latents": _half(latents, key, "latents"), "json": np.frombuffer(names, np.uint8), **text})


def _half(array: np.ndarray, key: str, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = np.asarray(array).astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{key}: {what} reach {np.abs(array).max()}, beyond float16; normalise them first")
    return half


class Joined:
    """Sources one after the other."""

    def __init__(self, sources: Sequence[Any]):
        self.sources = sources
        self._starts = list(itertools.accumulate((len(s) for s in sources), initial=0))

    @property
    def shapes(self) -> Int[np.ndarray, "N 4"]:
        """Of each element, for sources that know them."""
        return np.concatenate([source.shapes for source in self.sources])

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int):
        index = range(len(self))[index]
        number = bisect.bisect_right(self._starts, index) - 1
        return self.sources[number][index - self._starts[number]]


@functools.lru_cache(maxsize=4)
def latents_source(folder: Path) -> Joined:
    """The latents of a split, all parts of them; read once in this process.

    Raises:
      ValueError: parts are missing.
    """
    parts = sorted(path for path in folder.glob("[0-9]*-of-*") if path.is_dir())
    expected = int(parts[0].name.split("-of-")[1]) if parts else 1
    if len(parts) != expected:
        raise ValueError(f"{folder} has {len(parts)} of {expected} parts of the latents: encode them first")
    return Joined([LatentsSource(part) for part in parts])


def read_metadata(path: Path) -> dict[str, Any]:
    """The `metadata.json` of a set of latents.

    Raises:
      ValueError: there is none, it is damaged, or of another version.
    """
    try:
        metadata = json.loads((path / METADATA).read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} has no {METADATA}; give a folder of encoded latents") from None
    except ValueError as error:
        raise ValueError(f"{path / METADATA} is damaged ({error}); write the set again") from error
    if metadata.get("version") not in (1, VERSION):
        raise ValueError(f"{path} has version {metadata.get('version')} and this code reads 1 and {VERSION}")
    return metadata


def _read_shapes(path: Path, metadata: Mapping[str, Any]) -> Int[np.ndarray, "N 4"]:
    if metadata["version"] == 1:  # one shape, in the metadata alone
        return np.tile(np.array(metadata["shape"], np.int32), (metadata["count"], 1))
    try:
        shapes = np.load(path / SHAPES, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path / SHAPES} is missing or damaged ({error}); write the set again") from error
    if shapes.shape != (metadata["count"], 4):
        raise ValueError(f"{path / SHAPES} is of {len(shapes)} elements of {metadata['count']}; write again")
    return shapes


def _shard(index: int, num_shards: int) -> str:
    return f"latents-{index:05d}-of-{num_shards:05d}.array_record"
