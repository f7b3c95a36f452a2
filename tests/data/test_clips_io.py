# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from dit_jax.data.clip import ClipSource
from dit_jax.data.clips_io import QUALITY, ClipsSource, encode_clip, fitted, shard_name, write_description
from tests.data.video_files import noise

SIZES = [(5, 16, 24), (3, 32, 8), (9, 11, 7), (1, 8, 8)]


def example(index):
    frames, height, width = SIZES[index]
    captions = [
        {"level": "dense", "text": f"clip {index}", "source": "a.csv"},
        {"level": "dense", "text": "another", "source": "b.csv"},
        {"level": "short", "text": "naïve", "source": "a.csv"},
    ]
    return {
        "video": noise(frames, height, width, seed=index),
        "fps": 30000 / 1001,
        "key": f"file{index}.mp4#0.1",
        "file": f"file{index}.mp4",
        "start_seconds": 0.1,
        "captions": captions if index else [],
        "quality": {name: number / 3 for number, name in enumerate(QUALITY)},
    }


@pytest.fixture
def folder(tmp_path):
    """Two shards with clips and an empty one."""
    num_bytes = 0
    for shard, indices in enumerate([(0, 1), (), (2, 3)]):
        writer = ArrayRecordWriter(str(tmp_path / shard_name(shard, 3)), "group_size:1")
        for index in indices:
            record = encode_clip(example(index))
            num_bytes += len(record)
            writer.write(record)
        writer.close()
    write_description(tmp_path, [2, 0, 2], num_bytes)
    return tmp_path


def test_clips_come_back_at_their_own_sizes(folder):
    source = ClipsSource(folder)
    assert isinstance(source, ClipSource)
    assert len(source) == 4
    for index in range(4):
        clip, expected = source[index], example(index)
        np.testing.assert_array_equal(clip.video, expected["video"])
        assert (clip.fps, clip.key) == (expected["fps"], expected["key"])
    assert source[0].captions == {}
    assert source[2].captions == {"dense": "clip 2", "short": "naïve"}
    for index in (-1, 4):
        with pytest.raises(IndexError):
            source[index]


def test_tfds_reads_everything(folder):
    builder = tfds.builder_from_directory(folder)
    assert builder.info.splits["train"].num_examples == 4
    read = builder.as_data_source("train")[2]
    expected = example(2)
    np.testing.assert_array_equal(read["video"], expected["video"])
    assert (read["fps"], read["start_seconds"]) == (expected["fps"], 0.1)  # in double precision
    assert {name: float(value) for name, value in read["quality"].items()} == expected["quality"]
    assert read["captions"]["text"] == [b"clip 2", b"another", "naïve".encode()]
    assert read["captions"]["source"] == [b"a.csv", b"b.csv", b"a.csv"]


def test_one_size_for_all(folder):
    source = ClipsSource(folder, (1, 8, 12))
    assert {source[index].video.shape for index in range(4)} == {(1, 8, 12, 3)}
    same = ClipsSource(folder, (3, 16, 24))[0].video
    np.testing.assert_array_equal(same, example(0)["video"][:3])
    with pytest.raises(ValueError, match=r"file1.mp4#0.1 has 3 frames of 5: ask for fewer"):
        ClipsSource(folder, (5, 8, 8))[1]


def test_fitting_covers_and_crops_to_the_centre():
    bars = np.repeat(np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8), 16, axis=0)
    video = np.broadcast_to(bars, (2, 16, 48, 3)).copy()
    np.testing.assert_array_equal(fitted(video, (2, 16, 16), "a"), video[:, :, 16:32])


def test_a_source_can_be_sent_to_a_worker(folder):
    sent = pickle.loads(pickle.dumps(ClipsSource(folder, (1, 4, 4))))
    assert sent[3].video.shape == (1, 4, 4, 3)


def test_overlap_is_that_of_the_summary(folder):
    assert ClipsSource(folder).overlap == 0
    (folder / "summary.json").write_text(json.dumps({"overlap": 3}))
    assert ClipsSource(folder).overlap == 3


def test_a_folder_that_is_not_done_is_refused(folder):
    (folder / "dataset_info.json").unlink()
    with pytest.raises(ValueError, match="has no ingested clips"):
        ClipsSource(folder)


@pytest.mark.parametrize("harm", ["features.json", "dataset_info.json", "summary.json"])
def test_a_damaged_description_is_named(folder, harm):
    (folder / harm).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        ClipsSource(folder)


def test_a_damaged_shard_is_noticed(folder):
    """No bit of a clip can change unseen: every record has a checksum."""
    path, whole = folder / shard_name(0, 3), ClipsSource(folder)
    expected = [whole[index].video for index in range(4)]
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for position in rng.integers(0, len(data), 40).tolist():
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            source = ClipsSource(folder)
            for index in range(4):
                np.testing.assert_array_equal(source[index].video, expected[index])
        except ValueError:
            noticed += 1
    assert noticed > 0


def test_text_that_is_no_utf8_is_mended():
    odd = example(1)
    odd["file"] = odd["key"] = "caf\udce9.mp4"  # as Python reads such a file name
    assert b"caf\\udce9.mp4" in encode_clip(odd)
