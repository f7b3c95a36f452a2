# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Loader workers: none outlives its parent, and none that is stopped is waited for."""

import multiprocessing
import os
import secrets
import signal
import threading
from multiprocessing import resource_tracker, shared_memory
from multiprocessing.process import BaseProcess
from pathlib import Path

from absl import logging

STOPPED_SECONDS = 5  # that a worker may be stopped
_NAME = "grain-process-prefetch"


def begin_worker(index: int, count: int) -> None:
    """In worker `index` of `count`: nothing of it outlives its parent or itself, even after SIGKILL.

    It ends when its parent has ended. Its shared memory is then freed by Python's resource tracker, which
    outlives both.
    """
    shared_memory.SharedMemory = TrackedMemory
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


class TrackedMemory(shared_memory.SharedMemory):
    """Shared memory that the resource tracker knows before it exists, named after the parent process.

    Python's own tells the tracker afterwards: a process that is killed in between leaves it for ever.
    """

    def __init__(self, name=None, create=False, size=0, **options):
        if create and name is None:
            name = f"dit_{os.getppid():x}_{secrets.token_hex(8)}"
            resource_tracker.register(f"/{name}", "shared_memory")
        super().__init__(name, create, size, **options)


class StoppedWorkers:
    """Kills workers of this process that have been stopped (SIGSTOP) for `STOPPED_SECONDS`.

    Grain waits for a stopped worker for ever, and says so at once when one has died. A debugger's stop does
    not count. Only Linux tells whether a process is stopped; elsewhere this does nothing.

    Attributes:
      killed: a line for each.
    """

    def __init__(self):
        self.killed: list[str] = []
        self._closed = threading.Event()
        self._seen: dict[int, int] = {}
        self._thread = threading.Thread(target=self._watch, name="worker watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        # Looks are counted and not seconds: where this process is stopped too, time goes on without it.
        while not self._closed.wait(1.0):
            workers = [p for p in multiprocessing.active_children() if p.name.startswith(_NAME)]
            self._seen = {p.pid: self._seen.get(p.pid, 0) + 1 for p in workers if _is_stopped(p.pid)}
            for worker in workers:
                if self._seen.get(worker.pid, 0) >= STOPPED_SECONDS:
                    self._kill(worker)

    def _kill(self, worker: BaseProcess) -> None:
        line = f"loader worker {worker.pid} was stopped for {STOPPED_SECONDS} seconds and has been killed"
        logging.error(line)
        self.killed.append(line)
        os.kill(worker.pid, signal.SIGKILL)


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
