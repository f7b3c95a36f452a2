# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One command, started as several processes, is one run: the one that a single process makes."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tests.test_architecture import ROOT

CONFIG = f"--config={pathlib.Path(__file__).with_name('tiny_run.py')}"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def start(entry, *arguments, **environment):
    command = [sys.executable, "-m", f"experiments.{entry}", CONFIG, *arguments]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, env=ENVIRONMENT | environment, cwd=ROOT, **pipes)


def finished(process):
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-3000:]
    return out


def hosts():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    given = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [given | {"JAX_PROCESS_ID": str(i)} for i in range(2)]


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(tmp_path):
    """Autoencoder, latents, training with sharded parameters, validation: one row, by the first alone."""
    many, alone = tmp_path / "many", tmp_path / "alone"
    flags = (f"--workdir={many}", "--config.mesh.fsdp=2")
    processes = [start("train", *flags, **environment) for environment in hosts()]
    first, second = map(finished, processes)
    assert "finished: loss" in first
    assert "loss" not in second
    finished(start("train", f"--workdir={alone}"))
    (row,), (other,) = (
        [*map(json.loads, (f / "records.jsonl").read_text().splitlines())] for f in (many, alone)
    )
    assert (row["device_count"], other["device_count"]) == (2, 1)
    assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert len(list(many.glob("events*"))) == 1


def test_an_entry_for_one_process_says_so(tmp_path):
    process = start("sweep", f"--workdir={tmp_path}", **hosts()[0])
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "start this entry once" in error
    assert len(error.splitlines()) == 1
