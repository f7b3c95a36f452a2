# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from dit_jax.bench import loader
from dit_jax.bench.measure import measured, run_cases
from dit_jax.data.video_io import write_video


def test_a_measurement_is_summed_up():
    row = measured("a", "x/s", [3.0, 1.0, 2.0], size=4)
    assert row == {
        "name": "a",
        "value": 2.0,
        "unit": "x/s",
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "runs": [3.0, 1.0, 2.0],
        "size": 4,
    }


def test_cases_are_chosen_by_name():
    cases = {name: lambda name=name: measured(name, "s", [1.0]) for name in "abc"}
    told = []
    assert [row["name"] for row in run_cases(cases)] == ["a", "b", "c"]
    assert run_cases(cases, ["c", "a"], told.append) == told
    assert [row["name"] for row in told] == ["c", "a"]
    with pytest.raises(ValueError, match="case 'd' is unknown; the cases are a, b, c"):
        run_cases(cases, ["a", "d"])


def test_the_loader_is_timed():
    row = loader.loader_rate(batch_size=8, num_batches=4, repeats=2, num_clips=16)
    assert (row["name"], row["unit"], len(row["runs"])) == ("loader", "clips/s", 2)
    assert 10 < row["min"] <= row["value"] <= row["max"]
    assert row["per_cpu_second"] > 10


def test_decoding_is_timed_on_a_given_clip(tmp_path):
    rng = np.random.default_rng(0)
    write_video(tmp_path / "clip.mp4", rng.integers(0, 256, (24, 48, 64, 3), np.uint8), 24.0)
    row = loader.decode_rate(str(tmp_path / "clip.mp4"), repeats=2)
    assert row["frame"] == [48, 64, 3]
    assert row["min"] > 10


@pytest.mark.slow
def test_waiting_is_a_share_of_a_step():
    small = dataclasses.replace(loader.DIT_S, width=32, depth=1, num_heads=2)
    row = loader.waiting_share(small, steps=2, batch_size=2)
    assert len(row["runs"]) == 2
    assert 0 < row["min"] <= row["max"] < 1
    assert row["step_seconds"] > 0
