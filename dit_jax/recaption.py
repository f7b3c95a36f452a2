# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Dense captions of a data set's clips, written beside the originals; see `data.recaptions` for the files.

Shards are written whole or not at all, by any number of processes; what was interrupted goes on, and clips
that failed are tried again.
"""

import concurrent.futures
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.data.captioner import Captioner, CaptionError
from dit_jax.data.clip import ClipSource
from dit_jax.data.latents_io import Joined
from dit_jax.data.recaptions import (
    METADATA,
    VERSION,
    RecaptionConfig,
    read_metadata,
    read_shard,
    shard_name,
)
from dit_jax.files import write_whole
from dit_jax.sweep.display import Display
from dit_jax.sweep.engine import Engine, OnEvent, Task
from dit_jax.sweep.lock import FolderLock
from dit_jax.sweep.worker import serve

WORKERS = "workers"  # the folder of their logs

Row = dict[str, Any]
Progress = Callable[[float, float], None]  # (share done, clips done)


def recaption(config: ConfigDict, folder: str | pathlib.Path) -> list[Row]:
    """Writes whatever is missing of the dense captions of all clips of `config.data`.

    Args:
      config: `data`, `recaption` and `endpoint` are read.
      folder: gets `recaptions.json` and the shards.

    Returns:
      The rows of the clips that failed; the next call tries these again.

    Raises:
      ValueError: the folder holds captions of other clips or by another captioner, or is in use; or no clip can
        be captioned.
    """
    folder, settings = pathlib.Path(folder), build.section(config, "recaption")
    config = _original(config)
    metadata = _metadata(config, build.captioner(config), settings.clips_per_shard)
    with FolderLock(folder) as lock:
        _claim(folder, metadata)
        for partial in folder.glob(".captions-*"):
            partial.unlink()  # of a writer that was killed: the lock says that none is at work
        tasks = _tasks(config, folder, metadata)
        before = float(metadata["num_clips"]) - sum(task.weight for task in tasks)
        with Display("captions", tasks, before) as display:
            _do(
                tasks, lambda task, event: display.update(task, _checked(task, event)), settings, folder, lock
            )
    failed = [row for path in _paths(folder, metadata) for row in read_shard(path) if "error" in row]
    if len(failed) == metadata["num_clips"]:
        raise ValueError(f"every clip failed, such as {failed[0]['key']}: {failed[0]['error']}")
    return failed


def recaption_shard(
    config: ConfigDict,
    folder: str | pathlib.Path,
    shard: int,
    progress: Progress = lambda share, count: None,
) -> None:
    """Writes one shard of a folder that is claimed; of one that is there, what failed is tried again.

    Args:
      config: as for `recaption`.
      folder: with its `recaptions.json`.
      shard: from 0.
      progress: told of (share done, clips done).

    Raises:
      ValueError: no clip can be captioned.
    """
    metadata = read_metadata(folder)
    path = _paths(pathlib.Path(folder), metadata)[shard]
    size = metadata["clips_per_shard"]
    indices = range(shard * size, min((shard + 1) * size, metadata["num_clips"]))
    old = read_shard(path) if path.exists() else [None] * len(indices)
    wanted = [i for i, row in zip(indices, old, strict=True) if row is None or "error" in row]
    tried = {}
    for index, row in _rows(_clips(_original(config)), build.captioner(config), wanted):
        tried[index] = row
        progress(len(tried) / len(wanted), len(tried))
    rows = [tried.get(index, row) for index, row in zip(indices, old)]
    write_whole(path, b"".join(_line(row) for row in rows))


def upsample(
    config: ConfigDict, prompts: Sequence[str], seed: int = 0, endpoint: Mapping[str, Any] | None = None
) -> list[str]:
    """Dense prompts from short ones, by the captioner of a config; an empty prompt stays empty.

    Args:
      config: `data`, `recaption` and `endpoint` are read.
      prompts: in the user's words.
      seed: decides what the first one leaves open; one more for each that follows.
      endpoint: where given, what differs from `config.endpoint`, and an endpoint is what is asked.

    Raises:
      ValueError: a prompt cannot be made dense, or no prompt can.
    """
    if endpoint:
        config = ConfigDict(config.to_dict())
        config.endpoint = config.get("endpoint", ConfigDict()).to_dict() | dict(endpoint)
        config.recaption = {"captioner": "endpoint"}
    captioner = build.captioner(config)
    return [captioner.upsample(prompt, seed + i) if prompt else "" for i, prompt in enumerate(prompts)]


def _rows(source: ClipSource, captioner: Captioner, indices: Sequence[int]) -> Iterator[tuple[int, Row]]:
    """Rows in the order of `indices`, made in as many threads as the captioner takes."""
    errors: list[BaseException] = []  # a thread takes the next clip sooner than the first error is seen here

    def row(index: int) -> Row:
        if errors:
            raise errors[0]
        try:
            return _row(source, captioner, index)
        except BaseException as error:
            errors.append(error)
            raise

    pool = concurrent.futures.ThreadPoolExecutor(captioner.concurrency)
    try:
        yield from zip(indices, pool.map(row, indices))
    finally:
        pool.shutdown(cancel_futures=True)


def _row(source: ClipSource, captioner: Captioner, index: int) -> Row:
    clip = source[index]
    row = {"key": clip.key, "seconds": len(clip.video) / clip.fps, "original": dict(clip.captions)}
    try:
        row["caption"] = captioner.describe(clip)
    except CaptionError as error:
        row["error"] = str(error)
    return row | {"source": dict(captioner.source)}


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode(errors="replace") + b"\n"


def _original(config: ConfigDict) -> ConfigDict:
    """The config without the captions that are about to be made."""
    config = ConfigDict(config.to_dict())
    config.data.recaptions = ""
    return config


def _clips(config: ConfigDict) -> Joined:
    """Every clip, of both splits."""
    if build.is_endless(config):
        raise ValueError("config.data.num_clips=0 is endless: give the number of clips to caption")
    if config.data.source == "latents":
        raise ValueError("config.data.source=latents has no frames: recaption the clips that were encoded")
    return Joined([build.encoded_clips(config, split) for split in ("train", "validation")])


def _metadata(config: ConfigDict, captioner: Captioner, clips_per_shard: int) -> dict[str, Any]:
    data = {k: v for k, v in config.data.to_dict().items() if k not in ("caption_weights", "recaptions")}
    num_clips = len(_clips(config))
    return {
        "version": VERSION,
        "source": dict(captioner.source),
        "data": json.loads(json.dumps(data)),
        "num_clips": num_clips,
        "clips_per_shard": clips_per_shard,
        "num_shards": math.ceil(num_clips / clips_per_shard),
    }


def _claim(folder: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Makes the folder that of these clips and this captioner."""
    if not (folder / METADATA).exists():
        return write_whole(folder / METADATA, json.dumps(metadata, indent=2) + "\n")
    there = read_metadata(folder)
    for name, mine in metadata.items():
        if there.get(name) != mine:
            raise ValueError(f"{folder} holds captions of another {name}: use another --workdir")


def _paths(folder: pathlib.Path, metadata: dict[str, Any]) -> list[pathlib.Path]:
    return [folder / shard_name(i, metadata["num_shards"]) for i in range(metadata["num_shards"])]


def _tasks(config: ConfigDict, folder: pathlib.Path, metadata: dict[str, Any]) -> list[Task]:
    """One for each shard that is missing or has failures, weighing its clips."""
    tasks, size = [], metadata["clips_per_shard"]
    for shard, path in enumerate(_paths(folder, metadata)):
        clips = min(size, metadata["num_clips"] - shard * size)
        if path.exists():
            clips = sum("error" in row for row in read_shard(path))
        arguments = dict(config=config.to_dict(), folder=str(folder), shard=shard)
        tasks += [Task(f"shard {shard}", "shard", arguments, weight=float(clips))] if clips else []
    return tasks


def _do(
    tasks: Sequence[Task],
    on_event: OnEvent,
    settings: RecaptionConfig,
    folder: pathlib.Path,
    lock: FolderLock,
) -> None:
    if settings.num_workers == 1:  # in this process: to wait for an endpoint takes no other
        for task in tasks:
            _do_here(task, on_event)
    elif tasks:
        with Engine(settings.num_workers, folder / WORKERS, (lock.descriptor,), __name__) as engine:
            engine.run(tasks, on_event)


def _do_here(task: Task, on_event: OnEvent) -> None:
    progress = lambda share, count: on_event(task, dict(event="progress", done=share, detail=count))  # noqa: E731
    _work(**task.arguments, progress=progress)
    on_event(task, {"event": "done"})


def _checked(task: Task, event: dict[str, Any]) -> dict[str, Any]:
    if event["event"] == "refused":
        raise ValueError(event["error"])
    if event["event"] == "failed":
        raise RuntimeError(f"{task.name} failed: {event['error']}; {WORKERS}/ has the log")
    return event


def _work(config: dict[str, Any], folder: str, shard: int, progress: Progress) -> None:
    recaption_shard(ConfigDict(config), folder, shard, progress)


if __name__ == "__main__":
    serve({"shard": _work})
