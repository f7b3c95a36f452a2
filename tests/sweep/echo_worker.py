# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A worker for the engine's tests."""

import os
import pathlib
import time

from dit_jax.sweep.worker import serve


def echo(value, progress, seconds=0.0):
    print("this goes to the log, not among the events")
    time.sleep(seconds)
    progress(0.5, 1.0)
    return {"value": value, "process": os.getpid()}


def fail(kind, progress):
    raise {"user": ValueError, "other": RuntimeError}[kind]("on purpose")


def die_once(marker, progress):
    if not pathlib.Path(marker).exists():
        pathlib.Path(marker).touch()
        os._exit(9)
    return "second time"


def die(progress):
    os._exit(9)


def sleep(marker, progress):
    pathlib.Path(marker).write_text(str(os.getpid()))
    time.sleep(60)


if __name__ == "__main__":
    serve({"echo": echo, "fail": fail, "die_once": die_once, "die": die, "sleep": sleep})
