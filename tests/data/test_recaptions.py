# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Captions on disk find their clips, and what does not fit is refused."""

import json

import numpy as np
import pytest

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.recaptions import (
    METADATA,
    RecaptionConfig,
    Recaptioned,
    merged,
    read_metadata,
    read_recaptions,
    read_shard,
    shard_name,
)


def world(level, **changes):
    return KnownWorldConfig(level=level, **{"height": 16, "width": 16, **changes})


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ({}, {"dense": "D"}),
        ({"dense": "d"}, {"short": "d", "dense": "D"}),
        ({"tag": "t"}, {"tag": "t", "dense": "D"}),
        ({"tag": "t", "short": "s", "dense": "d"}, {"tag": "t", "short": "s", "dense": "D"}),
    ],
)
def test_merging_keeps_the_short_caption(original, expected):
    assert merged(original, "D") == expected


def written(folder, rows, num_shards=1):
    """A folder as `experiments.recaption` writes it."""
    (folder / METADATA).write_text(json.dumps({"version": 1, "num_shards": num_shards}))
    lines = [json.dumps({"original": {}, "source": {}, "seconds": 1.125, **row}) for row in rows]
    (folder / shard_name(0, num_shards)).write_text("\n".join(lines) + "\n")
    return folder


def test_clips_get_their_captions_by_key(tmp_path, caplog):
    source = KnownWorld(world(0, num_clips=3))
    keys = [source[i].key for i in range(3)]
    rows = [
        {"key": keys[2], "caption": "two"},
        {"key": keys[1], "error": "late"},
        {"key": keys[0], "caption": "0"},
    ]
    clips = Recaptioned(source, read_recaptions(written(tmp_path, rows)), tmp_path)
    assert len(clips) == 3
    assert clips[2].captions == {**source[2].captions, "dense": "two"}
    assert clips[1].captions == source[1].captions
    np.testing.assert_array_equal(clips[2].video, source[2].video)
    assert "1 of 3 clips" in caplog.text
    with pytest.raises(IndexError):
        clips[3]


def test_rows_that_are_written_anew_are_read_anew(tmp_path):
    before = read_recaptions(written(tmp_path, [{"key": "a", "error": "late"}]))
    assert read_recaptions(tmp_path) is before
    written(tmp_path, [{"key": "a", "caption": "now"}])
    assert read_recaptions(tmp_path)["a"]["caption"] == "now"


def test_captions_of_other_clips_are_refused(tmp_path):
    rows = read_recaptions(
        written(tmp_path, [{"key": f"known_world/0/0/{i}", "caption": "x"} for i in range(3)])
    )
    with pytest.raises(ValueError, match="has 3 clips and the data 4: recaption all"):
        Recaptioned(KnownWorld(world(0, num_clips=4)), rows, "here")
    with pytest.raises(ValueError, match="here has no clip known_world/0/1/0"):
        Recaptioned(KnownWorld(world(0, num_clips=3, seed=1)), rows, "here")[0]
    with pytest.raises(ValueError, match=r"as of 1\.125 seconds, and it has 3\.125 here"):
        Recaptioned(KnownWorld(world(0, num_clips=3, num_frames=25)), rows, "here")[0]
    assert Recaptioned(KnownWorld(world(0, num_clips=3, num_frames=18, fps=16.0)), rows, "here")[0]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        '{"key": "a"}',
        '{"key": "a", "caption": 3, "original": {}, "seconds": 1}',
        '{"key": "a", "caption": "x", "original": [], "seconds": 1}',
        '{"key": "a", "caption": "x", "original": {}, "seconds": "1"}',
        "[" * 100_000,
    ],
    ids=lambda line: line[:30],
)
def test_damaged_lines_are_named(tmp_path, line):
    path = tmp_path / "shard"
    path.write_text('{"key": "a", "caption": "x", "original": {}, "seconds": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"shard:2 is damaged: remove the file"):
        read_shard(path)


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"has no {METADATA}"):
        read_recaptions(tmp_path)
    written(tmp_path, [], num_shards=3)
    with pytest.raises(ValueError, match="lacks 2 of 3 shards"):
        read_recaptions(tmp_path)
    (tmp_path / METADATA).write_text('{"version": 2}')
    with pytest.raises(ValueError, match="has version 2 and this code reads 1"):
        read_metadata(tmp_path)
    (tmp_path / METADATA).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("changes", [dict(clips_per_shard=0), dict(num_workers=-1)])
def test_settings_are_checked(changes):
    [name] = changes
    with pytest.raises(ValueError, match=f"{name} is {changes[name]}; give"):
        RecaptionConfig(**changes)
