# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A process that does one task after another for an engine.

Tasks come as JSON lines on standard input, events go as JSON lines to standard output; all that is printed
on the way goes to standard error. The process ends at once when its standard input closes, which is what
happens when the engine dies, however it dies.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from dit_jax.process import prepare

EVENT_SECONDS = 0.5  # between two reports of progress


def serve(tasks: dict[str, Callable[..., Any]]) -> None:
    """Runs `tasks[kind](**arguments, progress=...)` for every request until standard input closes."""
    prepare()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    _emit(out, event="ready")
    while True:
        request = requests.get()
        _answer(out, tasks[request["kind"]], request)


def _read(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)


def _answer(out: TextIO, task: Callable[..., Any], request: dict[str, Any]) -> None:
    try:
        result = task(**request["arguments"], progress=_Throttled(out))
        _emit(out, event="done", result=result)
    except (ValueError, FileNotFoundError) as error:
        traceback.print_exc()
        _emit(out, event="refused", error=str(error))
    except Exception as error:
        traceback.print_exc()
        _emit(out, event="failed", error=f"{type(error).__name__}: {error}")


class _Throttled:
    """Reports progress, at most every `EVENT_SECONDS`."""

    def __init__(self, out: TextIO):
        self._out, self._last = out, 0.0

    def __call__(self, done: float, detail: float) -> None:
        if time.monotonic() - self._last >= EVENT_SECONDS:
            self._last = time.monotonic()
            _emit(self._out, event="progress", done=done, detail=detail)


def _emit(out: TextIO, **event: Any) -> None:
    out.write(json.dumps(event) + "\n")
    out.flush()


if __name__ == "__main__":
    from dit_jax.sweep.tasks import TASKS

    serve(TASKS)
