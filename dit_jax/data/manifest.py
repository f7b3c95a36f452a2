# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to ingest: the videos of a folder, or those that a CSV or JSONL file lists; and digests."""

import csv
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dit_jax.data.captions import LEVELS, read_captions
from dit_jax.data.video_header import EXTENSIONS

MANIFESTS = (".csv", ".jsonl")
_EXAMPLE = 'write a "path" and, as you like, "caption", "tag", "short", "dense", "source", "start", "end"'


@dataclasses.dataclass(frozen=True)
class Caption:
    """A text of a level (see `captions.LEVELS`), and where it is from."""

    level: str
    text: str
    source: str


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a video, in seconds from its first frame, and what is said of it."""

    start: float = 0.0
    end: float = math.inf
    captions: tuple[Caption, ...] = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A video: the name it goes by, where it is, and the parts of it to take, in order."""

    name: str
    path: str
    segments: tuple[Segment, ...]


def list_videos(path: str | Path) -> list[Entry]:
    """The videos of a folder or of a manifest, by name.

    A folder is searched with the folders below it, its captions are those of `read_captions`. A manifest has
    a row per caption or segment, with a `path` (absolute or from the manifest's folder), any of `tag`,
    `short`, `dense` and `caption` (which counts as dense), `source` (of these captions; by default the
    manifest's name), and `start` and `end` in seconds. Other columns are passed over. Rows of one path are
    one entry; those of one path, start and end are one segment with all of their captions.

    Raises:
      ValueError: there is nothing, or a row is malformed; it is named.
    """
    path = Path(path)
    entries = _grouped(path) if path.suffix.lower() in MANIFESTS else _in_folder(path)
    if not entries:
        raise ValueError(
            f"{path} has no videos ({', '.join(sorted(EXTENSIONS))}); give a folder or a manifest that has"
        )
    return entries


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file.

    Raises:
      OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing_digest(entries: list[Entry]) -> str:
    """SHA-256 of names, segments and captions: the same listing gives the same ingested set."""
    rows = [[entry.name, [dataclasses.astuple(segment) for segment in entry.segments]] for entry in entries]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _in_folder(folder: Path) -> list[Entry]:
    names = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS
    )
    captions = read_captions(folder, names)
    return [Entry(name, str(folder / name), (_whole(folder / name, captions[name]),)) for name in names]


def _whole(video: Path, captions: Mapping[str, str]) -> Segment:
    beside = video.with_suffix(".txt")
    source = beside.name if beside.is_file() else "captions.jsonl"
    return Segment(captions=tuple(Caption(level, text, source) for level, text in captions.items()))


def _grouped(manifest: Path) -> list[Entry]:
    videos: dict[str, dict[tuple[float, float], list[Caption]]] = {}
    rows = _csv_rows(manifest) if manifest.suffix.lower() == ".csv" else _json_rows(manifest)
    for where, row in rows:
        try:
            name, span, captions = _parsed(row, manifest.name)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{where}: {error!r}; {_EXAMPLE}") from None
        videos.setdefault(name, {}).setdefault(span, []).extend(captions)
    return [
        Entry(name, str(manifest.parent / name), tuple(_segments(spans)))
        for name, spans in sorted(videos.items())
    ]


def _segments(spans: Mapping[tuple[float, float], list[Caption]]) -> Iterator[Segment]:
    for (start, end), captions in sorted(spans.items()):
        yield Segment(start, end, tuple(dict.fromkeys(captions)))


def _parsed(row: Mapping[str, Any], manifest: str) -> tuple[str, tuple[float, float], list[Caption]]:
    name, source = row["path"], row.get("source") or manifest
    texts = {level: row.get(level) for level in LEVELS}
    texts["dense"] = texts["dense"] or row.get("caption")
    texts = {level: text for level, text in texts.items() if text}
    if not name or not all(isinstance(text, str) for text in (name, source, *texts.values())):
        raise TypeError("path, source and captions are text")
    start, end = _seconds(row.get("start"), 0.0), _seconds(row.get("end"), math.inf)
    if not 0 <= start < end:
        raise ValueError(f"it goes from {start:g} to {end:g} seconds")
    return name, (start, end), [Caption(level, text, source) for level, text in texts.items()]


def _seconds(value: Any, default: float) -> float:
    return default if value in (None, "") else float(value)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                if None in row:
                    raise ValueError(f"{path}:{reader.line_num}: it has more fields than the header")
                yield f"{path}:{reader.line_num}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}:{reader.line_num + 1}: {error}; write CSV in UTF-8") from None


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError("it is no object")
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: {error!r}; {_EXAMPLE}") from None
        yield f"{path}:{number}", row
