# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import logging
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.known_world_tfds import KnownWorldTfdsConfig
from dit_jax.data.sources import FolderConfig, FolderSource, TFDSConfig, TFDSSource
from tests.data.video_files import frame_numbers, levels, noise, write, write_sound


@pytest.fixture
def folder(tmp_path):
    """Two good videos, one below the other, among files that are none."""
    (tmp_path / "below").mkdir()
    write(tmp_path / "b.mp4", levels(30))
    write(tmp_path / "below/a.MKV", noise(20), fps=10, g=5)
    write(tmp_path / "short.mov", levels(3), codec="png", pix_fmt="rgb24")
    write_sound(tmp_path / "sound.mp4")
    (tmp_path / "torn.mp4").write_bytes((tmp_path / "b.mp4").read_bytes()[:-300])
    (tmp_path / "notes.md").write_text("not a video")
    return tmp_path


def config(folder, **changes):
    return FolderConfig(**{"path": str(folder), "num_frames": 9, "height": 32, "width": 48, **changes})


def test_windows_side_by_side(folder):
    source = FolderSource(config(folder))
    keys = [source[k].key for k in range(len(source))]
    assert keys == ["b.mp4#0.000", "b.mp4#0.360", "b.mp4#0.720", "below/a.MKV#0.000", "below/a.MKV#0.900"]
    assert [frame_numbers(source[k].video) for k in range(3)] == [list(range(s, s + 9)) for s in (0, 9, 18)]
    assert [source[k].fps for k in (0, 4)] == [25, 10]
    assert source[0].video.shape == (9, 32, 48, 3)
    for index in (-1, len(source)):
        with pytest.raises(IndexError):
            source[index]


def test_overlapping_windows_at_another_rate(folder):
    source = FolderSource(config(folder, fps=12.5, stride_seconds=0.16))
    starts = [frame_numbers(source[k].video)[0] for k in range(len(source)) if source[k].key[0:5] == "b.mp4"]
    assert starts == [0, 4, 8, 12]
    assert frame_numbers(source[1].video) == list(range(4, 22, 2))
    assert source[0].fps == 12.5


def test_windows_are_spread_over_a_long_file(folder):
    source = FolderSource(config(folder, num_frames=1, max_windows_per_file=3))
    assert [frame_numbers(source[k].video) for k in range(3)] == [[0], [14], [29]]


def test_what_is_left_out_is_named_and_logged(folder, caplog):
    with caplog.at_level(logging.WARNING):
        source = FolderSource(config(folder))
    reasons = dict(source.skipped)
    assert list(reasons) == ["short.mov", "sound.mp4", "torn.mp4"]
    assert "ask for fewer frames" in reasons["short.mov"]
    assert "no video stream" in reasons["sound.mp4"]
    assert len([r for r in caplog.records if r.message.startswith("skipped ")]) == 3


@pytest.mark.parametrize("cache_bytes", [0, 30 * 32 * 48 * 3])
def test_the_cache_changes_nothing(folder, cache_bytes):
    whole, other = FolderSource(config(folder)), FolderSource(config(folder, cache_bytes=cache_bytes))
    sent = pickle.loads(pickle.dumps(whole))
    assert len(pickle.dumps(whole)) < 10_000  # the pixels stay here
    for k in range(len(whole)):
        np.testing.assert_array_equal(other[k].video, whole[k].video)
        np.testing.assert_array_equal(sent[k].video, whole[k].video)
        assert other[k].key == whole[k].key == sent[k].key


def test_reading_does_not_decode_what_is_cached(folder):
    source = FolderSource(config(folder))
    expected = source[0].video
    (folder / "b.mp4").unlink()
    np.testing.assert_array_equal(source[0].video, expected)


def test_captions(folder):
    (folder / "b.txt").write_text("a grey field brightens\n", encoding="utf-8")
    lines = [
        {"file": "below/a.MKV", "tag": "noise", "short": "noise slides"},
        {"file": "b.mp4", "caption": "no"},
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    source = FolderSource(config(folder))
    assert source[0].captions == {"dense": "a grey field brightens"}
    assert source[4].captions == {"tag": "noise", "short": "noise slides"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"captions\.jsonl:2: "),
        ('{"file": "b.mp4"}', "caption"),
        ('{"file": "b.mp4", "dense": 3}', "are text"),
        ("[1]", r"captions\.jsonl:2: "),
        ("[" * 100_000, r"captions\.jsonl:2: "),
        ('{"file": "../b.mp4", "caption": "x"}', "no video in the folder"),
    ],
)
def test_captions_that_are_wrong(folder, line, message):
    (folder / "captions.jsonl").write_text('{"file": "b.mp4", "caption": "x"}\n' + line)
    with pytest.raises(ValueError, match=message):
        FolderSource(config(folder))


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match=r"no window of 9 frames can be read in .*: put videos \(\.avi"):
        FolderSource(config(tmp_path))
    with pytest.raises(ValueError, match="or name another folder"):
        FolderSource(config(tmp_path / "missing"))
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 files skipped, such as a\.mp4: "):
        FolderSource(config(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_frames": 0},
        {"height": 0},
        {"fps": 0.0},
        {"stride_seconds": 0.0},
        {"max_windows_per_file": 0},
        {"cache_bytes": -1},
    ],
)
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; give "):
        config("x", **wrong)


def test_real_clips(shared):
    source = FolderSource(
        FolderConfig(str(shared / "clips"), num_frames=9, height=32, width=32, fps=8.0, stride_seconds=0.25)
    )
    files = {source[k].key.split("#")[0] for k in range(len(source))}
    assert files == {"bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"}
    skipped = [name for name, _ in source.skipped]
    assert skipped == ["corrupted.mp4", "unordered.mov", "video_0.mov", "video_270.mov", "video_90.mov"]
    assert len(source) > 60


def test_known_world_of_tfds(tmp_path):
    world = KnownWorldConfig(level=1)
    builder = tfds.builder(
        "known_world",
        config=KnownWorldTfdsConfig(name="tiny", world=world, num_train=4, num_validation=2),
        data_dir=tmp_path,
    )
    builder.download_and_prepare()
    source = TFDSSource(TFDSConfig("known_world/tiny", "train", str(tmp_path)))
    assert len(source) == 4
    for clip, expected in zip((source[k] for k in range(4)), (KnownWorld(world)[k] for k in range(4))):
        np.testing.assert_array_equal(clip.video, expected.video)
        assert (clip.key, clip.fps, clip.captions) == (expected.key, expected.fps, expected.captions)
    assert pickle.loads(pickle.dumps(source))[3].key == source[3].key
    with pytest.raises(ValueError, match="cannot read known_world/tiny, split test: Unknown split"):
        TFDSSource(TFDSConfig("known_world/tiny", "test", str(tmp_path)))
    with pytest.raises(ValueError, match="prepare it"):
        TFDSSource(TFDSConfig("known_world/level0", "train", str(tmp_path)))


class GrayVideos(tfds.core.GeneratorBasedBuilder):
    """Somebody else's data set: gray, with a caption and no frame rate."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        video = tfds.features.Tensor(shape=(5, 8, 8, 1), dtype=np.uint8)
        features = tfds.features.FeaturesDict({"video": video, "text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for k in range(3):
            yield k, {"video": np.full((5, 8, 8, 1), k, np.uint8), "text": f"shade {k}"}


def test_any_set_of_tfds(tmp_path):
    GrayVideos(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    source = TFDSSource(TFDSConfig("gray_videos", "train", str(tmp_path), fps=10.0))
    assert (source[1].video.shape, source[1].video.dtype, source[1].fps) == ((5, 8, 8, 3), np.uint8, 10)
    assert {source[k].captions["dense"] for k in range(3)} == {"shade 0", "shade 1", "shade 2"}
    assert len({source[k].key for k in range(3)}) == 3
    with pytest.raises(ValueError, match="does not say its frame rate; give fps"):
        TFDSSource(TFDSConfig("gray_videos", "train", str(tmp_path)))
    with pytest.raises(ValueError, match="cannot read no_such_set"):
        TFDSSource(TFDSConfig("no_such_set", "train", str(tmp_path)))
