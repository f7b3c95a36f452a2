# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The main job from the command line: killed, continued, read by others, and on a folder of real videos."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.video_io import probe, write_video
from dit_jax.generate import load
from tests.test_architecture import ROOT

CONFIG = f"--config={pathlib.Path(__file__).with_name('tiny_sweep.py')}"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def command(entry, *arguments):
    return [sys.executable, "-m", f"experiments.{entry}", *map(str, arguments)]


def run(entry, *arguments):
    return subprocess.run(
        command(entry, *arguments), env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False
    )


def lines(folder):
    path = folder / "records.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep that was killed once while encoding and once among its trials, and then finished."""
    folder = tmp_path_factory.mktemp("sweep")
    arguments = (CONFIG, f"--workdir={folder}")
    for ready in (lambda: (folder / "config.json").exists(), lambda: len(lines(folder)) >= 2):
        process = subprocess.Popen(
            command("quickstart", *arguments), env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(lines(folder)) < 10
    done = run("quickstart", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def rows(folder):
    return [json.loads(line) for line in lines(folder)]


def test_no_trial_is_lost_or_run_twice(swept):
    trials = [row["trial"] for row in rows(swept[0])]
    assert len(trials) == len(set(trials)) == 10
    assert all(row["status"] == "finished" for row in rows(swept[0]))
    assert [row["role"] for row in rows(swept[0])].count("heldout") == 1


def test_the_same_command_again_does_nothing_more(swept):
    folder, _ = swept
    before = lines(folder)
    done = run("quickstart", CONFIG, f"--workdir={folder}")
    assert done.returncode == 0
    assert lines(folder) == before


def test_a_person_sees_what_came_out(swept):
    folder, text = swept
    for words in ("held-out budget", "standard errors", "samples show exactly", "law:", "trials"):
        assert words in text
    for path in ("law.json", "records.jsonl", "plots", "samples", "checkpoints"):
        assert path in text
    assert str(folder) in text


def test_artefacts(swept):
    folder, _ = swept
    law = json.loads((folder / "law.json").read_text())
    assert law["version"] == 1
    assert law["heldout"]["flops"] > 2.9 * 1.6e8
    assert law["rows"]["used"] == 9
    low, high = law["heldout"]["loss_pi95"]
    assert low < law["heldout"]["loss_predicted"] < high
    assert len(list((folder / "plots").glob("*.png"))) >= 2
    assert probe(folder / "samples" / "00.mp4").num_frames == 5
    assert (folder / "samples" / "strip.png").stat().st_size > 1000
    for row in rows(folder):
        trial = folder / "trials" / row["trial"]
        assert list(trial.glob("events.out.tfevents.*"))
        assert (trial / "checkpoints" / str(row["steps"])).is_dir()


def test_rows_say_what_a_run_was(swept):
    for row in rows(swept[0]):
        assert row["flops"] == pytest.approx(row["budget_flops"], rel=0.35)
        assert sum(row["flops_by_part"].values()) == row["flops"]
        assert 0 < row["params_active"] < row["params_total"]
        assert row["tokens_seen"] == row["steps"] * 4 * row["tokens_per_clip"]
        assert row["unique_tokens"] <= 96 * row["tokens_per_clip"]
        assert row["loss_se"] > 0


def test_a_checkpoint_loads_and_draws_in_four_lines(swept):
    folder, _ = swept
    model = load(folder / "trials" / rows(folder)[-1]["trial"])
    video = model(["A large red circle moves right."], seed=1)
    assert video.shape == (1, 5, 16, 16, 3)
    assert video.dtype == "uint8"
    assert (model(["A large red circle moves right."], seed=1) == video).all()
    assert (model(["A large red circle moves right."], seed=2) != video).any()


def test_given_frames_come_back(swept):
    """The first frame, when given, is that of the same clip through the autoencoder."""
    folder, _ = swept
    model = load(folder / "trials" / rows(folder)[-1]["trial"])
    clip = KnownWorld(KnownWorldConfig(num_frames=5, height=16, width=16))[0].video[None]
    drawn, decoded = model([""], task="image_to_video", given=clip), model.reconstruct(clip)
    assert (abs(drawn[:, 0].astype(int) - decoded[:, 0]) <= 1).all()
    with pytest.raises(ValueError, match="needs one clip for each of the 2 prompts"):
        model(["", ""], task="image_to_video", given=clip)


def test_evaluate_repeats_the_recorded_loss(swept):
    folder, _ = swept
    row = rows(folder)[0]
    done = run("evaluate", f"--run={folder / 'trials' / row['trial']}")
    assert done.returncode == 0, done.stderr[-2000:]
    again = json.loads(done.stdout)
    assert again["loss"] == pytest.approx(row["loss"], rel=1e-5)
    assert again["text_gap_se"] == pytest.approx(row["text_gap_se"], rel=1e-3)


def test_generate_writes_videos(swept, tmp_path):
    folder, _ = swept
    trial = folder / "trials" / rows(folder)[0]["trial"]
    done = run("generate", f"--run={trial}", f"--out={tmp_path}", "--prompt=a", "--prompt=b; $(id) ../")
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00.mp4", "01.mp4", "strip.png"]


def test_fit_reads_the_record(swept, tmp_path):
    done = run("fit", f"--runs={swept[0] / 'records.jsonl'}", f"--out={tmp_path}")
    assert done.returncode in (0, 3), done.stderr[-2000:]
    assert json.loads((tmp_path / "law.json").read_text())["rows"]["used"] == 10


def test_another_config_in_the_folder_is_refused(swept):
    done = run("quickstart", CONFIG, f"--workdir={swept[0]}", "--config.seed=5")
    assert done.returncode == 2
    assert "holds the work of another config.seed" in done.stderr


def test_a_folder_of_videos_with_a_corrupt_one(tmp_path):
    """The same command on real files, with an autoencoder trained on them: the same artefacts."""
    videos, folder = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    world = KnownWorld(KnownWorldConfig(level=1, num_frames=40, height=24, width=32, seed=7))
    for i in range(2):
        write_video(videos / f"{i}.mp4", world[i].video, 8.0)
        (videos / f"{i}.txt").write_text(world[i].captions["dense"])
    (videos / "broken.mp4").write_bytes((videos / "0.mp4").read_bytes()[:700])
    done = run(
        "quickstart", CONFIG, f"--workdir={folder}", "--config.data.source=folder",
        f"--config.data.path={videos}", "--config.data.folder.stride_seconds=0.25",
        "--config.autoencoder.train=True",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "broken.mp4" in done.stderr
    assert "1 of 3 files" in done.stderr
    assert len(lines(folder)) == 10
    assert json.loads((folder / "autoencoder.json").read_text())["psnr"] > 0
    for path in ("law.json", "samples/00.mp4", "samples/strip.png", "plots"):
        assert (folder / path).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.data.sorce=x"], 'unknown config key sorce: did you mean "source"'),
        (["--config.nothing=1"], "unknown config key nothing"),
        (["--config.backbone.num_heads=5"], "num_heads=5 does not cut width=12"),
        (["--config.backbone.patch=(1,3,3)"], "patch=(1, 3, 3) does not divide the latents'"),
        (["--config.data.height=20"], "H=20 must be a multiple of spatial_compression=8"),
        (["--config.data.source=folder", "--config.data.path=no/such"], "no window of 5 frames can be read"),
        (["--config.data.source=floder"], "did you mean 'folder'?"),
        (["stray"], "'stray' is not a flag"),
        ([f"--config={ROOT}/configs/pod.py:xl_5k"], "pod.py:xl_5k: no preset 'xl_5k': choose one of xl_4k"),
        ([f"--config={ROOT}/README.md"], "README.md, line"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_two(arguments, message, tmp_path):
    done = run("quickstart", CONFIG, f"--workdir={tmp_path}", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr


def test_the_notebook_runs(swept, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("DIT_JAX_SWEEP", str(swept[0]))
    notebook = nbformat.read(ROOT / "notebooks" / "after_a_sweep.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    assert (tmp_path / "clip.mp4").stat().st_size > 500
    assert (tmp_path / "continued.png").exists()
