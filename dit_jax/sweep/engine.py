# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where trials run: worker processes on this machine.

Many tiny models train fastest in one single-threaded process per core. Workers stay alive from task to task,
and a task goes by preference to a worker that has compiled its model already.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from absl import logging

ATTEMPTS = 2  # of a task whose worker dies

# One thread each; and compiling is half the work of a tiny model: level 1 takes a third less time than the
# default, for code that is no slower here.
XLA_FLAGS = "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=1"


@dataclasses.dataclass
class Task:
    """Work for a worker.

    Attributes:
      name: for people.
      kind: what to do, a key of `tasks.TASKS`.
      arguments: of that function, as JSON.
      group: tasks of one group share what they compile.
      weight: its share of the work, in any unit.
    """

    name: str
    kind: str
    arguments: dict[str, Any]
    group: Hashable = None
    weight: float = 1.0
    attempts: int = 0


# (task, event): event["event"] is one of progress, done, refused, failed
OnEvent = Callable[[Task, dict[str, Any]], None]


class Engine:
    """A pool of workers on this machine; a context manager.

    Args:
      num_workers: processes; 0 for one per core that this process may use.
      folder: gets the workers' logs and their compilation cache.
      keep_open: descriptors that the workers inherit, such as a lock's.
    """

    def __init__(
        self,
        num_workers: int,
        folder: str | pathlib.Path,
        keep_open: Sequence[int] = (),
        module: str = "dit_jax.sweep.worker",
    ):
        self._module = module
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keep_open = tuple(keep_open)
        self._num_workers = num_workers or _num_cores()
        self._workers: list[_Worker] = []
        self._events: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()

    def __enter__(self) -> "Engine":
        self._workers = [self._start(index) for index in range(self._num_workers)]
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop()

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> None:
        """Does all `tasks`, telling `on_event` of each one's progress and end, in this thread."""
        waiting = list(tasks)
        for worker in self._workers:
            self._assign(worker, waiting)
        while any(worker.task for worker in self._workers):
            worker, event = self._events.get()
            if event is None:
                worker = self._replace(worker, waiting, on_event)
            else:
                self._handle(worker, event, on_event)
            if worker.task is None:
                self._assign(worker, waiting)

    def _handle(self, worker: "_Worker", event: dict[str, Any], on_event: OnEvent) -> None:
        """Passes an event on; all but progress end the worker's task."""
        if event["event"] == "ready" or worker.task is None:
            return
        task = worker.task
        if event["event"] != "progress":
            worker.task = None
        on_event(task, event)

    def _assign(self, worker: "_Worker", waiting: list[Task]) -> None:
        """Gives `worker` a task, the first that it has compiled, else of a group that no other has."""
        if not waiting:
            return
        others = {group for other in self._workers if other is not worker for group in other.groups}
        rank = lambda task: 0 if task.group in worker.groups else 2 if task.group in others else 1  # noqa: E731
        task = min(waiting, key=rank)
        waiting.remove(task)
        worker.give(task)

    def _replace(self, worker: "_Worker", waiting: list[Task], on_event: OnEvent) -> "_Worker":
        """A new worker for one that died; its task is tried again, or has failed."""
        status, task = worker.process.wait(), worker.task
        logging.warning("a worker died with status %d during %s", status, task.name if task else "no task")
        if task is not None and task.attempts < ATTEMPTS:
            waiting.insert(0, task)
        elif task is not None:
            on_event(task, {"event": "failed", "error": f"its process died with status {status}"})
        fresh = self._start(worker.index)
        self._workers[worker.index] = fresh
        return fresh

    def _start(self, index: int) -> "_Worker":
        environment = os.environ | {
            "XLA_FLAGS": f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip(),
            "JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        with open(self._folder / f"worker{index}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                pass_fds=self._keep_open,
                text=True,
                bufsize=1,
            )
        worker = _Worker(index, process)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: "_Worker") -> None:
        for line in worker.process.stdout:
            self._events.put((worker, json.loads(line)))
        self._events.put((worker, None))


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass
class _Worker:
    index: int
    process: subprocess.Popen
    task: Task | None = None
    groups: set[Hashable] = dataclasses.field(default_factory=set)

    def give(self, task: Task) -> None:
        self.task = task
        task.attempts += 1
        self.groups.add(task.group)
        with contextlib.suppress(BrokenPipeError):  # it has died: its closed output tells the engine
            self.process.stdin.write(json.dumps({"kind": task.kind, "arguments": task.arguments}) + "\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
