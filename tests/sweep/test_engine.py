# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from dit_jax.sweep.engine import Engine, Task
from dit_jax.sweep.lock import FolderLock

TESTS = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _worker_is_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))


def run(folder, tasks, num_workers=2):
    events = []
    with Engine(num_workers, folder, module="tests.sweep.echo_worker") as engine:
        engine.run(tasks, lambda task, event: events.append((task.name, event)))
    return events


def ends(events):
    return {name: event for name, event in events if event["event"] != "progress"}


def test_every_task_is_done_once(tmp_path):
    tasks = [Task(str(i), "echo", {"value": i}, group=i % 3) for i in range(12)]
    done = ends(run(tmp_path, tasks))
    assert {name: event["result"]["value"] for name, event in done.items()} == {str(i): i for i in range(12)}
    assert len({event["result"]["process"] for event in done.values()}) == 2
    assert "not among the events" in (tmp_path / "worker0.log").read_text()


def test_progress_is_told(tmp_path):
    events = run(tmp_path, [Task("a", "echo", {"value": 1})])
    assert ("a", {"event": "progress", "done": 0.5, "detail": 1.0}) in events


def test_a_group_stays_with_its_worker(tmp_path):
    arguments = {"value": 0, "seconds": 0.2}  # longer than the second worker's head start
    tasks = [Task(f"{group}{i}", "echo", arguments, group=group) for i in range(6) for group in "ab"]
    done = ends(run(tmp_path, tasks))
    where = {group: {done[f"{group}{i}"]["result"]["process"] for i in range(3)} for group in "ab"}
    assert all(len(processes) == 1 for processes in where.values())


def test_errors_are_told_apart(tmp_path):
    tasks = [Task("mine", "fail", {"kind": "user"}), Task("theirs", "fail", {"kind": "other"})]
    done = ends(run(tmp_path, tasks, 1))
    assert done["mine"] == {"event": "refused", "error": "on purpose"}
    assert done["theirs"] == {"event": "failed", "error": "RuntimeError: on purpose"}


def test_a_task_whose_worker_dies_is_tried_again_and_then_given_up(tmp_path):
    tasks = [
        Task("twice", "die_once", {"marker": str(tmp_path / "marker")}),
        Task("never", "die", {}),
        Task("after", "echo", {"value": 1}),
    ]
    done = ends(run(tmp_path, tasks, 1))
    assert done["twice"]["result"] == "second time"
    assert done["never"]["event"] == "failed"
    assert "died with status 9" in done["never"]["error"]
    assert done["after"]["event"] == "done"


def alive(process: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_idle_worker_may_die(tmp_path):
    tasks = [Task("long", "echo", {"value": 1, "seconds": 2.0})]
    events = []
    with Engine(2, tmp_path, module="tests.sweep.echo_worker") as engine:
        engine._workers[1].process.kill()
        engine.run(tasks, lambda task, event: events.append((task.name, event)))
    assert ends(events)["long"]["event"] == "done"


HOLDER = """
import sys
from dit_jax.sweep.engine import Engine, Task
from dit_jax.sweep.lock import FolderLock
folder = sys.argv[1]
with FolderLock(folder) as lock, Engine(1, folder, (lock.descriptor,), module="tests.sweep.echo_worker") as engine:
    engine.run([Task("a", "sleep", {"marker": folder + "/marker"})], lambda *event: None)
"""


def test_workers_die_with_their_engine_and_the_lock_goes_with_them(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)])
    marker = tmp_path / "marker"
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(marker.read_text())
    assert alive(worker)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with FolderLock(tmp_path):
        pass  # at the latest when the worker has ended
    assert not alive(worker)


def test_a_folder_in_use_names_its_holder(tmp_path, monkeypatch):
    monkeypatch.setattr("dit_jax.sweep.lock.WAIT_SECONDS", 0.2)
    with FolderLock(tmp_path), pytest.raises(ValueError, match=f"in use by process {os.getpid()}"):
        FolderLock(tmp_path).__enter__()
    with FolderLock(tmp_path):
        pass
