# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Flipped bits and missing ends: none ends the work, and none changes an ingested set unnoticed."""

import json

import numpy as np
import pytest

from dit_jax.data.bounded import Bounded
from dit_jax.data.extract import read_file
from dit_jax.data.manifest import Segment, file_digest
from dit_jax.data.video_header import VideoError
from dit_jax.data.windows import WindowConfig
from dit_jax.ingest import Ingest, IngestConfig
from tests.data.video_files import noise, write


def flipped(data, rng):
    bit = int(rng.integers(8 * len(data)))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def truncated(data, rng):
    return data[: int(rng.integers(len(data)))]


def ingested(made, folder):
    work = Ingest(made, folder)
    work.run()
    return work.finish()


def test_damaged_files_are_a_row_each(tmp_path):
    """Whatever a flip does to the pixels, the digest tells it from the whole file."""
    videos, rng = tmp_path / "videos", np.random.default_rng(0)
    videos.mkdir()
    data = write(videos / "whole.mp4", noise(20)).read_bytes()
    for kind in (flipped, truncated):
        for k in range(15):
            (videos / f"{kind.__name__}{k:02d}.mp4").write_bytes(kind(data, rng))
    total = ingested(IngestConfig(path=str(videos), num_frames=5, num_workers=2), tmp_path / "clips")
    rows = [json.loads(line) for line in (tmp_path / "clips/report.jsonl").read_text().splitlines()]
    assert len(rows) == total["files"] == 31
    kept = {row["file"] for row in rows if row["kept"]}
    assert "whole.mp4" in kept
    assert not any(name.startswith("truncated") for name in kept)
    assert len(kept) < 12  # the decoder notices most flips too
    assert all(row["reason"] for row in rows)
    assert len({row["sha256"] for row in rows}) == 31


def test_damage_after_ingesting_is_noticed(tmp_path):
    videos, rng = tmp_path / "videos", np.random.default_rng(1)
    videos.mkdir()
    path = write(videos / "a.mp4", noise(20))
    data, made = path.read_bytes(), IngestConfig(path=str(videos), num_frames=5)
    total = ingested(made, tmp_path / "clips")
    for damage in (flipped, flipped, flipped, truncated):
        path.write_bytes(damage(data, rng))
        with pytest.raises(ValueError, match=r"a\.mp4 changed since it was ingested"):
            ingested(made, tmp_path / "clips")
    path.write_bytes(data)
    assert ingested(made, tmp_path / "clips") == total


CONFIG = WindowConfig(num_frames=9, max_side=64, max_windows_per_file=1)
CLIPS = {"carphone_pristine.mp4": (220, 80), "bikes.mp4": (60, 15), "bigbuckbunny.mp4": (20, 5)}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips(shared, tmp_path, name):
    """300 flips and 100 truncations in all."""
    data, path, rng = (shared / "clips" / name).read_bytes(), tmp_path / name, np.random.default_rng(0)
    path.write_bytes(data)
    digest = file_digest(path)
    num_flipped, num_truncated = CLIPS[name]
    refused = {flipped: 0, truncated: 0}
    with Bounded() as worker:
        for damage in [flipped] * num_flipped + [truncated] * num_truncated:
            path.write_bytes(damage(data, rng))
            items = worker.stream(read_file, str(path), [Segment()], CONFIG)
            assert next(items) != digest
            try:
                assert all(clip["video"].shape[0] == 9 for clip in list(items)[1:])
            except VideoError:
                refused[damage] += 1
    assert refused[truncated] == num_truncated
    assert refused[flipped] > num_flipped / 2
