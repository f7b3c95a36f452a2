# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small files that a killed process must not leave half-written, and the config that owns a folder."""

import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

CONFIG = "config.json"
MAY_CHANGE = ("train.total_steps", "mesh")  # a run may be continued for longer, and elsewhere


def write_whole(path: str | pathlib.Path, data: bytes | str) -> None:
    """Writes a file whole or not at all; one that exists is replaced."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data.encode() if isinstance(data, str) else data)
    os.replace(partial, path)


def claim(config: ConfigDict, folder: str | pathlib.Path) -> None:
    """Makes `folder` that of `config`.

    Raises:
      ValueError: it is another config's; its work must not be taken for this one's.
    """
    path = pathlib.Path(folder) / CONFIG
    mine = json.loads(json.dumps(config.to_dict()))
    if path.exists():
        found = _differences(json.loads(path.read_text()), mine)
        if differing := {name for name in found if not name.startswith(MAY_CHANGE)}:
            raise ValueError(
                f"{folder} holds the work of another config.{min(differing)}: use another --workdir"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(mine, indent=2, sort_keys=True) + "\n")


def read_config(folder: str | pathlib.Path) -> ConfigDict:
    """The config that owns a folder.

    Raises:
      FileNotFoundError: no config does.
    """
    path = pathlib.Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}: give the folder of a run")
    return ConfigDict(json.loads(path.read_text()))


def _differences(a: Any, b: Any, prefix: str = "") -> set[str]:
    """Dotted names of the keys by which two configs differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {prefix}
    names = {*a, *b}
    return set().union(*(_differences(a.get(n), b.get(n), f"{prefix}.{n}" if prefix else n) for n in names))
