# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Videos to clips on disk: shards that any number of processes write, with a reason for every file.

The videos are dealt to shards by their listing alone. A shard is written whole, then its report; whoever sees
the last report writes the description. So an interrupted run goes on, and the result does not depend on the
number of processes, threads or interruptions.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter
from rich.console import Console

from dit_jax.data import extract
from dit_jax.data.bounded import Bounded, BoundedConfig, BoundedError
from dit_jax.data.clips_io import REPORT, SUMMARY, encode_clip, shard_name, write_description
from dit_jax.data.manifest import MANIFESTS, Entry, list_videos, listing_digest
from dit_jax.data.sources import TFDSConfig, TFDSSource
from dit_jax.data.video_header import VideoError
from dit_jax.data.windows import WindowConfig
from dit_jax.files import write_whole
from dit_jax.ingest_report import dropped_row, kept_row, summary, summary_table
from dit_jax.sweep.display import Display
from dit_jax.sweep.engine import Task
from dit_jax.sweep.lock import FolderLock

VERSION = 1
CLAIM = "ingest.json"
FILES_PER_SHARD = 8
MAX_SHARDS = 1024
_MAY_CHANGE = ("num_workers",)  # without changing the result


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestConfig(WindowConfig):
    """What to ingest, into which windows, and what it may cost.

    Attributes:
      path: a folder of videos; a .csv or .jsonl manifest; or the name of a prepared TFDS data set.
      split, tfds_dir: of a TFDS data set.
      source_fps: frames per second of a TFDS data set whose examples do not say.
      num_shards: files to write; by default one for 8 videos, and 1024 at most.
      num_workers: processes that decode, on this machine; 0 for one per core.
      seconds_per_file: after which a video is given up.
      memory_bytes: of a process that decodes.
    """

    path: str = ""
    split: str = "train"
    tfds_dir: str | None = None
    source_fps: float | None = None
    num_shards: int = 0
    num_workers: int = 0
    seconds_per_file: float = 1800.0
    memory_bytes: int = 2**32

    def __post_init__(self):
        super().__post_init__()
        if not self.path:
            raise ValueError("path is empty; give a folder, a .csv or .jsonl manifest, or a TFDS data set")
        for name in ("num_shards", "num_workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        self.limits()

    def windows(self) -> WindowConfig:
        """Of these, what a worker needs."""
        names = [field.name for field in dataclasses.fields(WindowConfig)]
        return WindowConfig(**{name: getattr(self, name) for name in names})

    def limits(self) -> BoundedConfig:
        """Of one video."""
        return BoundedConfig(self.seconds_per_file, self.memory_bytes)


@dataclasses.dataclass(frozen=True)
class _Video:
    """Its name, and the functions of `extract` that read it and its digest, with their arguments."""

    name: str
    read: tuple[Any, ...]
    digest: tuple[Any, ...]


class Ingest:
    """The work of turning `config.path` into clips in `folder`.

    Args:
      config: of all the work.
      folder: gets the shards, `report.jsonl`, `summary.json` and what TFDS reads; claimed for this work.

    Attributes:
      num_shards: parts of the work.

    Raises:
      ValueError: there is nothing to ingest, or the folder holds the work of another config or listing.
    """

    def __init__(self, config: IngestConfig, folder: str | pathlib.Path):
        self._config, self._folder = config, pathlib.Path(folder)
        self._videos, listing = _videos(config)
        self.num_shards = config.num_shards or min(MAX_SHARDS, -(-len(self._videos) // FILES_PER_SHARD))
        self.num_shards = min(self.num_shards, len(self._videos))
        self._claim(listing)
        self._stop = threading.Event()

    def size(self, part: int) -> int:
        """Videos in a part."""
        return len(self._of(part))

    def parts(self, process: int, num_processes: int) -> range:
        """The parts that fall to a process: part i to process i % num_processes.

        Raises:
          ValueError: there is no such process.
        """
        if not 0 <= process < num_processes:
            raise ValueError(f"process is {process} of {num_processes}; give one from 0 to below that")
        return range(process, self.num_shards, num_processes)

    def run(
        self,
        process: int = 0,
        num_processes: int = 1,
        on_event: Callable[[int, dict[str, Any]], None] = lambda part, event: None,
    ) -> None:
        """Writes the parts that fall to this process, and checks those that are there.

        Args:
          process, num_processes: this one of how many, from 0.
          on_event: told of (part, event), an event as in `sweep.engine`; from one thread at a time.

        Raises:
          ValueError: another process does the same parts, or a file changed since it was ingested.
        """
        parts: queue.SimpleQueue[int] = queue.SimpleQueue()
        for part in self.parts(process, num_processes):
            parts.put(part)
        with FolderLock(self._folder / f".process-{process:05d}"):
            self._share(parts, _one_at_a_time(on_event))

    def finish(self) -> dict[str, Any] | None:
        """Writes the description when all parts are there; its summary, or None while some are not.

        Raises:
          ValueError: no video gave any clip.
        """
        if not all(self._report(part).exists() for part in range(self.num_shards)):
            return None
        parts = [_rows(self._report(part)) for part in range(self.num_shards)]
        rows = [row for part in parts for row in part]
        write_whole(self._folder / REPORT, _lines(rows))
        total = summary(rows)
        if not total["clips"]:
            raise ValueError(
                f"none of {len(rows)} videos gives a clip, such as {rows[0]['file']}: {rows[0]['reason']} "
                f"({self._folder / REPORT} has the others)"
            )
        write_whole(self._folder / SUMMARY, json.dumps(total, indent=2) + "\n")
        counts = [sum(row["kept"] for row in part) for part in parts]
        write_description(self._folder, counts, total["bytes"])
        return total

    def _share(self, parts: "queue.SimpleQueue[int]", on_event: Callable) -> None:
        """Threads take one part after the other, each with a worker process."""
        workers = [Bounded(self._config.limits()) for _ in range(self._num_workers(parts.qsize()))]
        with concurrent.futures.ThreadPoolExecutor(max(1, len(workers))) as pool:
            futures = [pool.submit(self._serve, worker, parts, on_event) for worker in workers]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self._stop.set()
                for worker in workers:
                    worker.interrupt()
                raise

    def _num_workers(self, num_parts: int) -> int:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(num_parts, self._config.num_workers or cores)

    def _serve(self, worker: Bounded, parts: "queue.SimpleQueue[int]", on_event: Callable) -> None:
        with worker:
            while not self._stop.is_set():
                try:
                    part = parts.get_nowait()
                except queue.Empty:
                    return
                if self._report(part).exists():
                    self._check(part, worker)
                else:
                    self._write(part, worker, lambda event, part=part: on_event(part, event))
                if not self._stop.is_set():
                    on_event(part, {"event": "done"})

    def _write(self, part: int, worker: Bounded, on_event: Callable[[dict[str, Any]], None]) -> None:
        videos, rows = self._of(part), []
        shard = self._folder / shard_name(part, self.num_shards)
        partial = shard.with_name(f".{shard.name}")
        with contextlib.closing(ArrayRecordWriter(str(partial), "group_size:1")) as writer:
            for done, video in enumerate(videos, 1):
                rows.append(self._one(video, worker, writer.write))
                if self._stop.is_set():  # the worker may have been ended: what it said is not to be kept
                    return
                share, clips = done / len(videos), sum(row["kept"] for row in rows)
                on_event({"event": "progress", "done": share, "detail": clips})
        os.replace(partial, shard)
        self._report(part).parent.mkdir(exist_ok=True)
        write_whole(self._report(part), _lines(rows))

    def _one(self, video: _Video, worker: Bounded, write: Callable[[bytes], Any]) -> dict[str, Any]:
        """Writes all clips of a video or, where it turns out to be unsound, none."""
        digest, report, clips, sizes = None, {}, [], []
        with tempfile.TemporaryFile(dir=self._folder) as spool:
            try:
                items = worker.stream(*video.read)
                digest = next(items)
                report = next(items)
                for clip in items:
                    clip |= {"file": video.name, "key": f"{video.name}#{clip['key']}"}
                    sizes.append(spool.write(encode_clip(clip)))
                    clips.append(clip | {"video": clip["video"].shape})
            except (VideoError, BoundedError) as error:
                return dropped_row(video.name, digest, report, getattr(error, "reason", str(error)))
            spool.seek(0)
            for size in sizes:
                write(spool.read(size))
        return kept_row(video.name, digest, report, clips, sum(sizes))

    def _check(self, part: int, worker: Bounded) -> None:
        for video, row in zip(self._of(part), _rows(self._report(part))):
            digest = _digest(video, worker)
            if self._stop.is_set():
                return
            if digest != row["sha256"]:
                raise ValueError(
                    f"{video.name} changed since it was ingested: restore it, or ingest to another folder"
                )

    def _claim(self, listing: str) -> None:
        values = dataclasses.asdict(self._config)
        values["shorter"] = list(values["shorter"])  # as JSON has it
        config = {name: value for name, value in values.items() if name not in _MAY_CHANGE}
        mine = {"version": VERSION, "config": config, "listing_sha256": listing, "shards": self.num_shards}
        path = self._folder / CLAIM
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(mine, indent=2) + "\n")
        there = json.loads(path.read_text())
        there["config"] = {"shorter": [], **there["config"]}  # folders of before there were any
        if differing := [name for name in mine if there.get(name) != mine[name]]:
            raise ValueError(f"{self._folder} was made with another {differing[0]}: ingest to another folder")

    def _of(self, part: int) -> Sequence[_Video]:
        first, last = (len(self._videos) * k // self.num_shards for k in (part, part + 1))
        return self._videos[first:last]

    def _report(self, part: int) -> pathlib.Path:
        return self._folder / "parts" / f"{part:05d}-of-{self.num_shards:05d}.jsonl"


def run_watched(work: Ingest, process: int, num_processes: int) -> None:
    """`work.run` under a progress bar, and what came of it if it was the last."""
    parts = work.parts(process, num_processes)
    tasks = {part: Task(f"part {part}", "", {}, weight=work.size(part)) for part in parts}
    with Display("clips", list(tasks.values())) as display:
        work.run(process, num_processes, lambda part, event: display.update(tasks[part], event))
    total = work.finish()
    Console().print(summary_table(total) if total else "this process is done; others have parts left")


def _videos(config: IngestConfig) -> tuple[list[_Video], str]:
    """All videos, and a digest of the listing."""
    windows = config.windows()
    if pathlib.Path(config.path).is_dir() or config.path.lower().endswith(MANIFESTS):
        entries = list_videos(config.path)
        return [_file(entry, windows) for entry in entries], listing_digest(entries)
    source = (config.path, config.split, config.tfds_dir, config.source_fps)
    try:
        count = len(TFDSSource(TFDSConfig(*source)))
    except ValueError as error:
        raise ValueError(f"{config.path} is no folder and no .csv or .jsonl file, and {error}") from error
    names = [f"{config.path}/{config.split}/{index}" for index in range(count)]
    videos = [
        _Video(name, (extract.read_example, *source, k, windows), (extract.digest_example, *source, k))
        for k, name in enumerate(names)
    ]
    return videos, listing_digest([Entry(name, "", ()) for name in names])


def _file(entry: Entry, windows: WindowConfig) -> _Video:
    read = (extract.read_file, entry.path, entry.segments, windows)
    return _Video(entry.name, read, (extract.digest_file, entry.path))


def _digest(video: _Video, worker: Bounded) -> str | None:
    try:
        return next(iter(list(worker.stream(*video.digest))))
    except (VideoError, BoundedError):
        return None


def _one_at_a_time(on_event: Callable) -> Callable:
    lock = threading.Lock()

    def told(part: int, event: dict[str, Any]) -> None:
        with lock:
            on_event(part, event)

    return told


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
