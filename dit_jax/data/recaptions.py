# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Dense captions beside the originals, on disk; and clips that carry both.

A folder has `recaptions.json`, which says of what clips and by whom, and shards of JSON lines such as
`captions-00000-of-00008.jsonl`, one line a clip in the order of the source:

    {"key": "a.mp4#0.000", "seconds": 1.125, "original": {"dense": "a dog"},
     "caption": "A brown dog runs ...", "source": {"captioner": "endpoint", "model": ..., ...}}

A clip that has none says why, with "error" in the place of "caption".
"""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from dit_jax.data.clip import Clip, ClipSource

VERSION = 1
METADATA = "recaptions.json"


@dataclasses.dataclass(frozen=True)
class RecaptionConfig:
    """How a data set is recaptioned.

    Attributes:
      captioner: its name in `build.CAPTIONERS`.
      clips_per_shard: a shard is written whole or not at all, so this is what an interruption can lose.
      num_workers: processes; 0 for one per core. One is enough where an endpoint does the work.
    """

    captioner: str = "known_world"
    clips_per_shard: int = 256
    num_workers: int = 1

    def __post_init__(self):
        for name, least in (("clips_per_shard", 1), ("num_workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")


def shard_name(index: int, num_shards: int) -> str:
    """`captions-00000-of-00008.jsonl`."""
    return f"captions-{index:05d}-of-{num_shards:05d}.jsonl"


def read_shard(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a shard.

    Raises:
      ValueError: a line is not a row.
    """
    lines = Path(path).read_bytes().splitlines()
    return [_row(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]


def _row(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
        text = (row["key"], row["caption"] if "caption" in row else row["error"], *row["original"].values())
        if all(isinstance(part, str) for part in text) and row["seconds"] > 0:
            return row
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{where} is damaged: remove the file, and recaption the clips again")


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """What `recaptions.json` says: `version`, `source`, `data`, `num_clips`, `clips_per_shard`, `num_shards`.

    Raises:
      ValueError: there is none, it is damaged, or of another version.
    """
    path = Path(folder, METADATA)
    try:
        metadata = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{folder} has no {METADATA}: give a folder that experiments.recaption wrote"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and recaption the clips again") from None
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path} has version {metadata.get('version')} and this code reads {VERSION}")
    return metadata


def read_recaptions(folder: str | Path) -> Mapping[str, Mapping[str, Any]]:
    """The rows of all shards by their clips' keys, without the originals and the sources.

    Raises:
      ValueError: a shard is missing or damaged.
    """
    count = read_metadata(folder)["num_shards"]
    paths = tuple(Path(folder, shard_name(index, count)) for index in range(count))
    if missing := [path for path in paths if not path.is_file()]:
        raise ValueError(
            f"{folder} lacks {len(missing)} of {count} shards: the command that began them goes on"
        )
    return _rows(paths, max(path.stat().st_mtime_ns for path in paths))


@functools.lru_cache(maxsize=2)
def _rows(paths: tuple[Path, ...], written: int) -> dict[str, dict[str, Any]]:
    """Read once in this process, unless they are written anew: an encoder asks for each of its parts."""
    kept = ("seconds", "caption")
    rows = {row["key"]: {k: row[k] for k in kept if k in row} for path in paths for row in read_shard(path)}
    if failed := sum("caption" not in row for row in rows.values()):
        logging.warning(
            "%d of %d clips in %s failed, and keep their own captions", failed, len(rows), paths[0].parent
        )
    return rows


class Recaptioned:
    """A `ClipSource` whose clips have their dense captions from `rows`, and keep their own short ones.

    A lone caption of a clip's own counts as "dense" where it is read; here it becomes the "short" one. How
    often a model trains on which is `caption_weights`, as ever. Clips whose captioning failed are as they were.

    Args:
      source: the clips.
      rows: of `read_recaptions`.
      where: the rows' folder, for messages.

    Raises:
      ValueError: the rows are too few; and on reading, a clip has no row or was longer or shorter then.
    """

    def __init__(self, source: ClipSource, rows: Mapping[str, Mapping[str, Any]], where: str | Path):
        if len(rows) < len(source):
            raise ValueError(
                f"{where} has {len(rows)} clips and the data {len(source)}: recaption all of them, or set "
                "config.data.num_clips"
            )
        self._source, self._rows, self._where = source, rows, where

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Clip:
        clip = self._source[index]
        row, seconds = self._rows.get(clip.key), len(clip.video) / clip.fps
        if row is None:
            raise ValueError(f"{self._where} has no clip {clip.key}: recaption the data of this config")
        if not math.isclose(row["seconds"], seconds, rel_tol=0.01):
            raise ValueError(
                f"{self._where} describes {clip.key} as of {row['seconds']:g} seconds, and it has "
                f"{seconds:g} here: recaption the data of this config"
            )
        if "caption" not in row:
            return clip
        return dataclasses.replace(clip, captions=merged(clip.captions, row["caption"]))


def merged(original: Mapping[str, str], dense: str) -> dict[str, str]:
    """Captions by level, with `dense` as the dense one; a lone dense one before becomes the short one."""
    short = {"short": original["dense"]} if "dense" in original and "short" not in original else {}
    return {**original, **short, "dense": dense}
