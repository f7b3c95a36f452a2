# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Work that may crash, hang or eat all memory, such as decoding an untrusted file, in a process of its own.

The process serves many calls. When it dies or goes over its limits, the call fails with the reason, and the
next call gets a new process. This contains faults; it is no sandbox against code that means harm.
"""

import contextlib
import dataclasses
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any

_OUT_OF_MEMORY = 77  # the exit status of a worker in which Python ran out of memory


@dataclasses.dataclass(frozen=True)
class BoundedConfig:
    """What one call may use.

    Attributes:
      seconds: of time waited for the worker, and of its processor's time.
      memory_bytes: of the worker's address space, with Python's own half gigabyte; kept on Linux only.
    """

    seconds: float = 1800.0
    memory_bytes: int = 2**32

    def __post_init__(self):
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; give a time above 0")
        if self.memory_bytes < 2**29:
            raise ValueError(f"memory_bytes is {self.memory_bytes}; give 2**29 or more, which Python needs")


class BoundedError(RuntimeError):
    """A worker died or went over a limit; the message is the reason."""


class Bounded:
    """Runs generators in a worker process; a context manager, for one thread."""

    def __init__(self, config: BoundedConfig | None = None):
        self._config = config or BoundedConfig()
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> "Bounded":
        return self

    def __exit__(self, *error: object) -> None:
        self._kill()

    def interrupt(self) -> None:
        """Ends the worker, from any thread: a call under way fails."""
        if (process := self._process) is not None:
            process.kill()

    def stream(self, function: Callable[..., Iterable[Any]], *args: Any) -> Iterator[Any]:
        """What `function(*args)` yields in the worker, one by one as it comes.

        Args:
          function: found by its module and name, like anything pickled.
          args: picklable; so is what it yields or raises.

        Raises:
          BoundedError: the worker died or went over a limit.
          Exception: what `function` raises.
        """
        self._start()
        done, left = False, self._config.seconds
        try:
            self._send((function, args, self._config))
            while True:
                asked = time.monotonic()
                kind, value = self._receive(left)
                left -= time.monotonic() - asked
                done = kind != "item"
                if kind == "error":
                    raise value
                if done:
                    return
                yield value
        finally:
            if not done:  # it died, or works on for somebody who has gone
                self._kill()

    def _send(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died: receiving tells of what
            self._connection.send(message)

    def _receive(self, seconds: float) -> tuple[str, Any]:
        if not self._connection.poll(max(seconds, 0)):
            raise BoundedError(f"it took more than {self._config.seconds:g} seconds")
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise BoundedError(self._death(self._process.wait())) from None

    def _death(self, status: int) -> str:
        if status == _OUT_OF_MEMORY:
            return f"it takes more than {self._config.memory_bytes} bytes of memory"
        if status == -signal.SIGXCPU:
            return f"it took more than {self._config.seconds:g} seconds"
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        return f"the process that read it died {how}"

    def _start(self) -> None:
        if self._process is not None:
            return
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dit_jax.data.bounded", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
            )

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._connection.close()
            self._process = self._connection = None


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    _limit(resource.RLIMIT_CORE, 0)
    while True:
        try:
            function, args, config = connection.recv()
        except EOFError:  # the parent is gone
            return
        _limit(resource.RLIMIT_AS, config.memory_bytes)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + config.seconds))
        _answer(connection, function, args)


def _answer(connection: Connection, function: Callable[..., Iterable[Any]], args: tuple[Any, ...]) -> None:
    try:
        for item in function(*args):
            connection.send(("item", item))
        connection.send(("end", None))
    except (MemoryError, BrokenPipeError) as error:  # what is left of the process is not to be trusted
        os._exit(_OUT_OF_MEMORY if isinstance(error, MemoryError) else 1)
    except Exception as error:
        connection.send(("error", error))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(ValueError, OSError):  # a system without this limit
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
