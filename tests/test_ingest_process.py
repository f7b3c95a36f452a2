# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Ingesting as a process of its own: killed, resumed, and as people run it."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from dit_jax.data.clips_io import ClipsSource
from dit_jax.ingest import Ingest, IngestConfig
from tests.data.video_files import noise, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos")
    for name in "abcd":
        write(path / f"{name}.mp4", noise(12, seed=ord(name)))
    (path / "text.mp4").write_text("not a video")
    return path


def config(path):
    return IngestConfig(path=str(path), num_frames=5, num_shards=4, num_workers=1)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "clips"
    work = Ingest(config(folder), out)
    work.run()
    work.finish()
    return out


def contents(out):
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


KILLED = """
import json, os, signal, sys
from dit_jax.ingest import Ingest, IngestConfig
done = []
def on_event(part, event):
    done.append(part)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Ingest(IngestConfig(**json.loads(sys.argv[1])), sys.argv[2]).run(on_event=on_event)
"""


def test_resumed_is_undisturbed(folder, undisturbed, tmp_path):
    out, made = tmp_path / "clips", config(folder)
    arguments = [json.dumps(dataclasses.asdict(made)), str(out)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(out.glob("parts/*.jsonl"))) == 1
    with pytest.raises(ValueError, match="has no ingested clips"):
        ClipsSource(out)
    work = Ingest(made, out)
    work.run()
    work.finish()
    assert contents(out) == contents(undisturbed)


def test_the_command(folder, undisturbed, tmp_path):
    command = [sys.executable, "-m", "experiments.encode", "--config.stage=clips", f"--workdir={tmp_path}"]
    command += [
        f"--config.ingest.path={folder}",
        "--config.ingest.num_frames=5",
        "--config.ingest.num_shards=4",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "clips kept" in done.stdout
    assert "dropped: " in done.stdout
    assert contents(tmp_path / "clips") == contents(undisturbed)
