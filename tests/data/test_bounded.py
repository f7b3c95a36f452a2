# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dit_jax.data.bounded import Bounded, BoundedConfig, BoundedError
from tests.data.worker_tasks import eat, hang, process_id, refuse, segfault, sends, spin, squares


@pytest.fixture(scope="module")
def worker():
    with Bounded(BoundedConfig(seconds=20.0, memory_bytes=2**30)) as made:
        yield made


def test_items_come_as_they_are_made(worker):
    assert list(worker.stream(squares, 5)) == [0, 1, 4, 9, 16]
    array = np.arange(3_000_000, dtype=np.uint8)
    np.testing.assert_array_equal(next(iter(list(worker.stream(sends, array)))), array[::-1])


def test_one_process_serves_many_calls(worker):
    ids = {next(iter(list(worker.stream(process_id)))) for _ in range(5)}
    assert len(ids) == 1
    assert os.getpid() not in ids


def test_an_error_is_passed_on_and_the_worker_lives(worker):
    (before,) = worker.stream(process_id)
    stream = worker.stream(refuse)
    assert next(stream) == "first"
    with pytest.raises(LookupError, match="no such thing"):
        next(stream)
    assert list(worker.stream(process_id)) == [before]


def test_a_crash_is_one_failed_call(worker):
    stream = worker.stream(segfault)
    assert next(stream) == 1
    with pytest.raises(BoundedError, match="died by SIGSEGV"):
        next(stream)
    assert list(worker.stream(squares, 2)) == [0, 1]


def test_memory_is_bounded(worker):
    assert list(worker.stream(eat, 2**20)) == [2**20]
    with pytest.raises(BoundedError, match=f"more than {2**30} bytes of memory"):
        list(worker.stream(eat, 2**31))
    assert list(worker.stream(squares, 2)) == [0, 1]


@pytest.mark.parametrize("endless", [hang, spin])
def test_time_is_bounded(endless):
    with Bounded(BoundedConfig(seconds=2.0)) as worker:
        list(worker.stream(squares, 1))
        begun = time.monotonic()
        with pytest.raises(BoundedError, match="more than 2 seconds"):
            list(worker.stream(endless))
        assert time.monotonic() - begun < 10
        assert list(worker.stream(squares, 2)) == [0, 1]


def test_the_time_that_the_caller_takes_does_not_count():
    with Bounded(BoundedConfig(seconds=2.0)) as worker:
        stream = worker.stream(squares, 2)
        next(stream)
        time.sleep(2.1)
        assert list(stream) == [1]


def test_what_nobody_waits_for_is_ended(worker):
    (before,) = worker.stream(process_id)
    stream = worker.stream(squares, 10**9)
    assert next(stream) == 0
    stream.close()
    assert list(worker.stream(process_id)) != [before]
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_another_thread_may_interrupt(worker):
    stream = worker.stream(squares, 10**9)
    next(stream)
    worker.interrupt()
    with pytest.raises(BoundedError, match="died by SIGKILL"):
        list(stream)


PARENT = """
import os, signal
from dit_jax.data.bounded import Bounded
from tests.data.worker_tasks import process_id
(number,) = Bounded().stream(process_id)
print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_when_its_parent_does():
    """Also when the parent is killed, and cannot tell it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, env=environment, text=True)
    assert parent.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(int(parent.stdout)):
        time.sleep(0.02)
    assert not _runs(int(parent.stdout))


def _runs(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"memory_bytes": 1000}])
def test_limits_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; give "):
        BoundedConfig(**wrong)
