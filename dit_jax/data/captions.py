# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Captions by level: which one serves, and reading them from beside a folder's videos."""

import json
from collections.abc import Mapping
from pathlib import Path

LEVELS = ("tag", "short", "dense")  # from the fewest words to the most
LIST = "captions.jsonl"


def caption_at(captions: Mapping[str, str], level: str) -> str:
    """The caption of a level; else of the nearest level there is, the wordier of two; else ""."""
    if level in captions:
        return captions[level]
    wanted = LEVELS.index(level)
    present = [i for i, name in enumerate(LEVELS) if name in captions]
    if not present:
        return ""
    return captions[LEVELS[min(present, key=lambda i: (abs(i - wanted), -i))]]


def read_captions(folder: str | Path, names: list[str]) -> dict[str, dict[str, str]]:
    """Captions of the videos `names` in a folder, by name and level.

    From a text file beside the video, `clip.txt` for `clip.mp4`, as its "dense" caption; else from the
    folder's `captions.jsonl`, with lines such as `{"file": "clip.mp4", "caption": "..."}` or
    `{"file": "clip.mp4", "tag": "...", "short": "...", "dense": "..."}`. A lone caption counts as "dense".

    Raises:
      ValueError: if a line is not like that, or is of a video that is not there.
    """
    listed = _listed(Path(folder, LIST))
    if unknown := sorted(set(listed) - set(names)):
        raise ValueError(
            f"{Path(folder, LIST)} has {unknown[0]!r}, which is no video in the folder; mend the name"
        )
    return {name: _beside(Path(folder, name)) or listed.get(name, {}) for name in names}


def _beside(video: Path) -> dict[str, str]:
    path = video.with_suffix(".txt")
    return {"dense": path.read_text(encoding="utf-8", errors="replace").strip()} if path.is_file() else {}


def _listed(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    lines = enumerate(path.read_bytes().splitlines(), 1)
    return dict(_parsed(f"{path}:{number}", line) for number, line in lines if line.strip())


def _parsed(where: str, line: bytes) -> tuple[str, dict[str, str]]:
    try:
        row = json.loads(line)
        captions = {level: row[level] for level in LEVELS if level in row} or {"dense": row["caption"]}
        if not all(isinstance(text, str) for text in (row["file"], *captions.values())):
            raise TypeError("file and captions are text")
        return row["file"], captions
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f'{where}: {error!r}; write lines like {{"file": "a.mp4", "caption": "..."}}'
        ) from None
