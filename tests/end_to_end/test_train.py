# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One run from the command line: what it compiles is kept, and where its steps spend time can be traced."""

import os
import subprocess
import sys

from tests.end_to_end.test_hosts import CONFIG, ENVIRONMENT
from tests.test_architecture import ROOT


def train(folder, *flags):
    command = [sys.executable, "-m", "experiments.train", CONFIG, f"--workdir={folder}", *flags]
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"JAX_LOG_COMPILES": "0", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_is_compiled_is_kept_and_steps_are_traced(tmp_path):
    train(tmp_path, "--profile")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    kept = {path.name: os.stat(path).st_mtime_ns for path in (tmp_path / ".compiled").glob("*-cache")}
    assert len(kept) > 5
    train(tmp_path, "--config.train.total_steps=30")  # goes on: the same programs, none compiled anew
    again = {path.name: os.stat(path).st_mtime_ns for path in (tmp_path / ".compiled").glob("*-cache")}
    assert set(kept) <= set(again)
    steps = [name for name in again if name.startswith("jit_steps")]
    assert steps
    assert {name: again[name] for name in steps} == {name: kept[name] for name in steps}
