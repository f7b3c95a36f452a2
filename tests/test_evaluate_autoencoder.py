# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The report on an autoencoder: that which comes with the package, on the clips it was trained for."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from configs import known_world
from dit_jax import build
from dit_jax.data.video_io import write_video
from dit_jax.evaluate_autoencoder import evaluate_autoencoder


def config(**data):
    made = known_world.get_config()
    made.evaluate.num_clips = 10
    made.data.update(data)
    return made


@pytest.fixture(scope="module")
def report():
    colours = lambda video: video.mean((1, 2, 3))  # noqa: E731 - features of a network that sees only these
    return evaluate_autoencoder(config(), ".", {"colours": colours})


def test_it_says_what_was_compared(report):
    assert report["compression"] == "4x8x8"
    assert report["latent_channels"] == 16
    assert report["latent_values"] == 3 * 4 * 4 * 16
    assert report["pixel_values"] == 9 * 32 * 32 * 3
    assert report["clips"] == 10
    json.dumps(report, allow_nan=False)


def test_scores_are_those_of_the_reconstruction(report):
    """PSNR anew, from bytes."""
    source = build.clip_source(config(), "validation")
    model, _ = build.autoencoder(config())
    values = []
    for i in range(10):
        real = source[i].video
        decoded = np.asarray(model(jnp.asarray(real[None] / 127.5 - 1, jnp.float32)))[0]
        decoded = np.clip(np.round((decoded + 1) * 127.5), 0, 255)
        values.append(10 * np.log10(255**2 / np.square(decoded - real).mean()))
    ours = report["autoencoder"]
    assert ours["psnr"] == pytest.approx(np.mean(values), abs=0.01)
    assert ours["psnr_se"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(10), abs=0.01)
    assert 0.8 < ours["ssim"] < 1
    assert ours["flicker"] > 0


def test_a_trained_autoencoder_is_better_than_codecs_that_learn_nothing(report):
    for name in ("baseline_dct", "baseline_bicubic"):
        gain, error = report[name]["psnr_gain"], report[name]["psnr_gain_se"]
        assert gain > 3 * error > 0
        assert gain == pytest.approx(report["autoencoder"]["psnr"] - report[name]["psnr"])
        assert report[name]["flicker"] > report["autoencoder"]["flicker"]
    assert report["baseline_dct_clip"]["psnr"] > report["baseline_dct"]["psnr"]


def test_the_distance_carries_the_networks_name(report):
    assert 0 <= report["autoencoder"]["fvd_colours"] < report["baseline_bicubic"]["fvd_colours"]


def test_clips_that_share_frames_are_thinned(tmp_path):
    """Forty windows of a file lie a frame apart; what is held out of them is ten, and one of nine is scored."""
    rng = np.random.default_rng(0)
    write_video(tmp_path / "a.mp4", rng.integers(0, 256, (49, 32, 32, 3)).astype(np.uint8), 8.0)
    made = config(source="folder", path=str(tmp_path))
    made.data.folder.stride_seconds = 1 / 8
    assert len(build.clip_source(made, "validation")) == 10
    assert evaluate_autoencoder(made, ".")["clips"] == 2


def test_one_of_run_and_workdir_is_needed():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.evaluate"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "give either --run, for a backbone, or --workdir" in done.stderr
