# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The command: killed and resumed, its exit codes, and its secrets."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from dit_jax.data.recaptions import read_recaptions
from tests.chat_server import ChatServer, Reply, answer

ROOT = pathlib.Path(__file__).parents[1]
KEY = "secret-0123456789"
SMALL = ("num_clips=20", "num_frames=2", "height=16", "width=16")


def start(*arguments, **environment):
    flags = [f"--config.data.{setting}" for setting in SMALL] + ["--config.evaluate.num_clips=4"]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.recaption", *flags, *arguments],
        cwd=ROOT,
        env={**os.environ, "no_proxy": "127.0.0.1", "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def with_endpoint(server, folder):
    settings = ("captioner=endpoint", "clips_per_shard=4")
    endpoint = (f"base_url={server.url}", "model=m", "api_key_variable=A_KEY", "max_concurrent=1")
    flags = [f"--config.recaption.{setting}" for setting in settings]
    flags += [f"--config.endpoint.{setting}" for setting in (*endpoint, "max_retries=0", "num_images=1")]
    return start(*flags, f"--workdir={folder}", A_KEY=KEY)


@pytest.fixture(scope="module")
def mistake(tmp_path_factory):
    """Begun with the first test: most of a command's time goes into starting."""
    folder = tmp_path_factory.mktemp("mistake") / "out"
    return start("--config.recaption.captioner=endpoint", f"--workdir={folder}"), folder


@pytest.mark.usefixtures("mistake")
def test_killed_resumed_and_told_of_failures(tmp_path):
    with ChatServer(lambda body: Reply(answer("A dog."), delay_seconds=0.1)) as server:
        process = with_endpoint(server, tmp_path)
        while not (tmp_path / "captions-00001-of-00006.jsonl").exists():
            assert process.poll() is None, finish(process)
            time.sleep(0.01)
        process.kill()
        assert finish(process)[0] == -9
    whole = {path: path.stat().st_mtime_ns for path in tmp_path.glob("captions-*")}
    assert len(whole) < 6
    never = Reply({"error": {"message": f"never, {KEY}"}}, 400)
    # Another server: what the killed process had asked last may reach the first one late.
    with ChatServer(lambda body: Reply(answer("A dog.")), [never]) as other:
        code, out, err = finish(with_endpoint(other, tmp_path))
    assert len(other.requests) == 24 - 4 * len(whole)
    assert {headers["Authorization"] for _, headers, _ in other.requests} == {f"Bearer {KEY}"}
    assert code == 0, err
    assert f"captions {6 - len(whole)}/{6 - len(whole)} 100 %" in out
    assert out.splitlines()[-1] == f"written: {tmp_path}"
    [told] = err.splitlines()
    assert told.startswith("1 clips failed, such as known_world/0/0/")
    assert told.endswith("status 400: never, ***; the same command tries them again")
    assert all(path.stat().st_mtime_ns == before for path, before in whole.items())
    rows = read_recaptions(tmp_path)
    assert sorted(row.get("caption", "") for row in rows.values()) == [""] + ["A dog."] * 23
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in written.decode() + out + err


def test_a_mistake_is_one_line_and_exits_with_2(mistake):
    process, folder = mistake
    code, out, err = finish(process)
    assert (code, out) == (2, "")
    assert err == "error: no model is named: set config.endpoint.model to one that the endpoint serves\n"
    assert not folder.exists()
