# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dit_jax.data import latents_io
from dit_jax.data.buckets import BucketConfig, bucket_latents
from dit_jax.data.latents_io import LatentsSource, write_latents
from dit_jax.data.loader import Loader, LoaderConfig
from dit_jax.data.quarantine import DamagedClip

CHILD = pathlib.Path(__file__).with_name("loader_child.py")
ROOT = CHILD.parents[2]
SHARED_MEMORY = pathlib.Path("/dev/shm")

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc and /dev/shm")


class Child:
    """A process with loader workers, and the shared memory that they have made."""

    def __init__(self, num_workers):
        command = [sys.executable, str(CHILD), str(num_workers)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def workers(self):
        return [int(pid) for pid in self.process.stdout.readline().split()]

    def segments(self):
        return list(SHARED_MEMORY.glob(f"dit_{self.process.pid:x}_*"))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def _alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def children():
    """Three at once, for most of a test is waiting for one to start."""
    started = {"killed": Child(1), "stopped": Child(1), "orphaned": Child(1)}
    yield started
    for child in started.values():
        child.end()


@linux
@pytest.mark.slow
def test_a_stopped_worker_is_named_in_time(children):
    child = children["stopped"]
    (worker,) = child.workers()
    began = time.monotonic()
    os.kill(worker, signal.SIGSTOP)
    line = child.process.stdout.readline()
    assert time.monotonic() - began < 30
    assert f"loader worker {worker} was stopped" in line
    assert child.process.wait(10) == 1
    assert not _alive(worker)
    assert _within(10, lambda: not child.segments())


@linux
@pytest.mark.slow
def test_a_killed_worker_is_an_error_at_once(children):
    child = children["killed"]
    (worker,) = child.workers()
    began = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    assert "terminated unexpectedly with exit code -9" in child.process.stdout.readline()
    assert time.monotonic() - began < 5
    assert child.process.wait(10) == 1
    assert _within(10, lambda: not child.segments())


@linux
@pytest.mark.slow
def test_nothing_outlives_a_killed_parent(children):
    child = children["orphaned"]
    (worker,) = child.workers()
    assert _alive(worker)
    assert _within(10, child.segments)  # batches on their way
    child.process.kill()
    child.process.wait()
    assert _within(5, lambda: not _alive(worker))
    assert _within(10, lambda: not child.segments())


KILLED_WHILE_IT_MAKES_MEMORY = """
import os, signal
from dit_jax.data.workers import TrackedMemory
os.ftruncate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
TrackedMemory(create=True, size=8)
"""


@linux
def test_a_kill_before_its_memory_is_mapped_leaves_none():
    command = [sys.executable, "-c", KILLED_WHILE_IT_MAKES_MEMORY]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL
    assert b"1 leaked shared_memory" in killed.stderr  # it had been made
    assert not list(SHARED_MEMORY.glob(f"dit_{os.getpid():x}_*"))


SHAPES = [(1, 2, 4, 8), (2, 4, 4, 8)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """2000 latents of two sizes, read record by record, so that 2 may be damaged."""
    monkeypatch.setattr(latents_io, "IN_MEMORY_BYTES", 0)
    rng = np.random.default_rng(0)
    elements = (
        {"latents": rng.normal(size=SHAPES[k % 2]), "captions": {}, "key": str(k)} for k in range(2000)
    )
    write_latents(tmp_path / "set", elements, {}, num_shards=2)
    return tmp_path / "set"


def damage(folder, *offsets):
    """Flips a bit at offsets of the second shard; the numbers of the records that no longer read."""
    shard = sorted(folder.glob("*.array_record"))[1]
    data = bytearray(shard.read_bytes())
    for offset in offsets:
        data[offset] ^= 16
    shard.write_bytes(data)
    source = LatentsSource(folder)
    return [k for k in range(2000) if _is_damaged(source, k)]


def _is_damaged(source, index):
    try:
        source[index]
    except DamagedClip:
        return True
    return False


def number(element, rng):
    return {"number": np.array(int(element["key"]))}


def numbers(source, host=0, hosts=1, count=100, **settings):
    """The clips of two epochs of batches of one host, and its loader."""
    settings = LoaderConfig(40, **{"num_threads": 0, **settings})
    batches = Loader(source, number, settings, host, hosts)
    taken = np.array([batch["number"] for batch in itertools.islice(batches, count)])
    batches.close()
    return taken, batches


def test_a_damaged_record_is_replaced_and_counted(folder):
    sound, _ = numbers(LatentsSource(folder))
    damaged = damage(folder, 3000, 100_000)
    assert len(damaged) == 2
    taken, batches = numbers(LatentsSource(folder))
    assert batches.damaged == set(damaged)
    assert batches.counts() == {"damaged_clips": 2}
    expected = np.where(np.isin(sound, damaged), sound + 1, sound)
    np.testing.assert_array_equal(taken, expected)
    parts = [numbers(LatentsSource(folder), host, 2, num_threads=2)[0] for host in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), taken)


def test_a_substitute_has_the_same_size(folder):
    damaged = damage(folder, 3000, 100_000)
    source = LatentsSource(folder)
    config = BucketConfig(tokens_per_batch=512)
    plan = bucket_latents(source.shapes, (1, 2, 2), config).plan(1)
    batches = Loader(source, number, LoaderConfig(1, "buckets", num_threads=0), plan=plan)
    seen = [batch["number"] for batch in itertools.islice(batches, plan.num_batches)]
    assert batches.damaged == set(damaged)
    assert all(len(set(part % 2)) == 1 for part in seen)


def test_too_much_damage_ends_the_run_with_one_line(folder):
    damaged = damage(folder, 3000, 100_000, 200_000)
    assert len(damaged) == 3
    message = f"3 of 2000 clips are damaged, more than 0.1%, such as clip {min(damaged)}"
    with pytest.raises(ValueError, match=message) as caught:
        numbers(LatentsSource(folder))
    assert "\n" not in str(caught.value)


def test_a_truncated_shard_ends_the_run_with_one_line(folder):
    shard = sorted(folder.glob("*.array_record"))[1]
    os.truncate(shard, shard.stat().st_size - 1000)
    with pytest.raises(ValueError, match=r"of 2000 clips are damaged, more than 0\.1%"):
        numbers(LatentsSource(folder))


def test_damage_does_not_stand_in_the_way_of_resuming(folder):
    whole, _ = numbers(LatentsSource(folder), count=20)
    first = Loader(LatentsSource(folder), number, LoaderConfig(40, num_threads=0))
    for _ in range(5):
        next(first)
    damaged = damage(folder, shard_end(folder))
    assert damaged == [1999]  # by whose name, among others, the set is known
    resumed = Loader(LatentsSource(folder), number, LoaderConfig(40, num_threads=0))
    resumed.restore(first.state())
    taken = np.array([batch["number"] for batch in itertools.islice(resumed, 15)])
    np.testing.assert_array_equal(taken[taken != 1], whole[5:][taken != 1])


def shard_end(folder):
    """An offset in the last record of the second shard."""
    shard = sorted(folder.glob("*.array_record"))[1]
    data = shard.read_bytes()
    return data.rindex(b"1999")


@pytest.mark.slow
def test_workers_report_damage_too(folder):
    damaged = damage(folder, 3000, 100_000)
    alone, _ = numbers(LatentsSource(folder), count=50)
    taken, batches = numbers(LatentsSource(folder), count=50, num_workers=1)
    np.testing.assert_array_equal(taken, alone)
    assert batches.damaged == set(damaged)
