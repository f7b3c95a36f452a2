# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Latents on disk: ArrayRecord shards and a `metadata.json` that appears with them or not at all.

A record is one safetensors blob, so reading it runs no code: `latents` in float16, and the captions and the
key as JSON bytes.
"""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from safetensors import SafetensorError
from safetensors.numpy import load, save

VERSION = 1
METADATA = "metadata.json"
_MEASURED = {"version", "count", "shape", "num_shards", "mean", "std"}
IN_MEMORY_BYTES = 2**30  # sets up to this size, as float16, are read once and kept


def write_latents(
    path: str | Path, elements: Iterable[Mapping[str, Any]], metadata: Mapping[str, Any], num_shards: int = 1
) -> None:
    """Writes a set of latents for `LatentsSource`, whole or not at all.

    The shards are written beside `path` under another name and renamed when complete, so a writer that is
    killed leaves nothing at `path`.

    Args:
      path: the folder to make; it must not exist.
      elements: dicts with `latents` (float [t,h,w,c], one shape for all), `captions` (text by level) and
        `key`.
      metadata: what to record of where they come from, such as the autoencoder's digest; JSON. The writer
        adds `version`, `count`, `shape`, `num_shards`, and per channel `mean` and `std` of what it stored.
      num_shards: files; element i is in shard i % num_shards.

    Raises:
      FileExistsError: if `path` exists.
      TypeError: if metadata is not JSON.
      ValueError: for no elements, differing shapes, values that float16 cannot hold, or metadata that has
        a name the writer adds.
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
        (partial / METADATA).write_text(json.dumps({**metadata, **measured}, indent=2))
        partial.chmod(0o755)  # mkdtemp's folders are for their owner alone
        os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class LatentsSource:
    """Random access to what `write_latents` wrote, in its order.

    Elements are dicts: `latents` float32 [t,h,w,c], `captions` text by level, `key`. A set of up to
    `IN_MEMORY_BYTES` is read into memory at once; a larger one is read record by record.

    Attributes:
      metadata: the contents of `metadata.json`.

    Raises:
      ValueError: if the folder has no set of latents, or one that is incomplete or damaged.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        self.metadata = read_metadata(self._path)
        self._num_shards = self.metadata["num_shards"]
        sizes = [len(range(shard, len(self), self._num_shards)) for shard in range(self._num_shards)]
        self._firsts = list(itertools.accumulate(sizes, initial=0))
        shards = [str(self._path / _shard(i, self._num_shards)) for i in range(self._num_shards)]
        try:
            self._records = ArrayRecordDataSource(shards)
        except RuntimeError as error:
            raise ValueError(f"{self._path} is damaged ({error}); write the set again") from error
        if len(self._records) != len(self):
            raise ValueError(
                f"{self._path} has {len(self._records)} records of {len(self)}; write the set again"
            )
        in_memory = len(self) * int(np.prod(self.metadata["shape"])) * 2 <= IN_MEMORY_BYTES
        self._elements = [self._read(index) for index in range(len(self))] if in_memory else None

    def __len__(self) -> int:
        return self.metadata["count"]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"latents {index} of {len(self)}")
        element = self._elements[index] if self._elements else self._read(index)
        return element | {"latents": element["latents"].astype(np.float32)}

    def __reduce__(self):
        return type(self), (self._path,)  # a worker process reads for itself: latents are not sent to it

    def _read(self, index: int) -> dict[str, Any]:
        row, shard = divmod(index, self._num_shards)
        try:
            arrays = load(self._records[self._firsts[shard] + row])
            return {"latents": arrays["latents"], **json.loads(arrays["json"].tobytes())}
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self._path}: record {index} is damaged ({error}); write the set again"
            ) from error


def _write_shards(folder: Path, elements: Iterable[Mapping[str, Any]], num_shards: int) -> dict[str, Any]:
    count, shape, total, squares = 0, None, 0.0, 0.0
    with ExitStack() as stack:
        writers = [_open_writer(stack, folder / _shard(i, num_shards)) for i in range(num_shards)]
        for count, element in enumerate(elements, 1):
            latents = np.asarray(element["latents"], np.float32)
            shape = latents.shape if shape is None else shape
            writers[(count - 1) % num_shards].write(_encode(latents, shape, element))
            total = total + latents.mean((0, 1, 2), dtype=np.float64)
            squares = squares + np.square(latents, dtype=np.float64).mean((0, 1, 2))
    if not count:
        raise ValueError("there are no latents to write; check the source that they come from")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return {
        "version": VERSION,
        "count": count,
        "shape": list(shape),
        "num_shards": num_shards,
        "mean": mean.tolist(),
        "std": std.tolist(),
    }


def _open_writer(stack: ExitStack, path: Path) -> ArrayRecordWriter:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    stack.callback(writer.close)
    return writer


def _encode(latents: np.ndarray, shape: tuple[int, ...], element: Mapping[str, Any]) -> bytes:
    key = element["key"]
    if latents.ndim != 4 or latents.shape != shape:
        raise ValueError(f"{key}: latents are {latents.shape}; give all one shape [t,h,w,c], here {shape}")
    with np.errstate(over="ignore"):
        half = latents.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(
            f"{key}: latents reach {np.abs(latents).max()}, beyond float16; normalise them first"
        )
    text = json.dumps({"captions": dict(element["captions"]), "key": key}).encode()
    return save({"latents": half, "json": np.frombuffer(text, np.uint8)})


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
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path} has version {metadata.get('version')} and this code reads {VERSION}")
    return metadata


def _shard(index: int, num_shards: int) -> str:
    return f"latents-{index:05d}-of-{num_shards:05d}.array_record"
