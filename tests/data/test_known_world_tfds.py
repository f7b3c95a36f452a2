# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The known world written by TFDS reads back as the clips it was made of, without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dit_jax.data.known_world import KnownWorldConfig
from dit_jax.data.known_world_tfds import KnownWorldBuilder, KnownWorldTfdsConfig, to_clip


def config(**changes):
    world = KnownWorldConfig(level=4, num_frames=17, height=16, width=24, fps=30000 / 1001, **changes)
    return KnownWorldTfdsConfig(name="small", world=world, num_train=32, num_validation=4)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    made = tfds.builder("known_world", config=config(), data_dir=tmp_path_factory.mktemp("tfds"))
    made.download_and_prepare()
    return made


@pytest.mark.parametrize(("split", "count"), [("train", 32), ("validation", 4)])
def test_what_is_read_is_what_the_source_gives(builder, split, count):
    stored = builder.as_data_source(split=split)
    source = config().split(split)
    assert len(stored) == len(source) == count
    for index in range(count):
        clip, expected = to_clip(stored[index]), source[index]
        assert clip.video.tobytes() == expected.video.tobytes()
        assert clip.video.dtype == np.uint8
        assert (clip.key, clip.fps, clip.captions) == (expected.key, expected.fps, expected.captions)
        np.testing.assert_equal(dict(clip.truth), dict(expected.truth))


def test_every_kind_of_event_and_count_was_stored(builder):
    clips = [to_clip(example) for example in builder.as_data_source(split="train")]
    assert {e["kind"] for clip in clips for e in clip.truth["events"]} == {
        "wall",
        "collision",
        "hide",
        "emerge",
    }
    assert {len(clip.truth["objects"]) for clip in clips} == {1, 2, 3}


def test_splits_share_no_clip():
    splits = [config().split(name) for name in ("train", "validation")]
    videos = [{source[i].video.tobytes() for i in range(4)} for source in splits]
    assert not videos[0] & videos[1]
    assert splits[0].config.seed != splits[1].config.seed
    with pytest.raises(ValueError, match="seed"):
        config(seed=1 << 62)


def test_levels_are_registered_by_name(tmp_path):
    for level in range(5):
        made = tfds.builder(f"known_world/level{level}", data_dir=tmp_path)
        assert made.builder_config.world == KnownWorldConfig(level=level)
        assert made.info.features["video"].shape == (9, 32, 32, 3)
    assert set(KnownWorldBuilder.builder_configs) == {f"level{level}" for level in range(5)}


def test_a_prepared_set_opens_by_name_and_by_folder(tmp_path, monkeypatch):
    level = KnownWorldBuilder.builder_configs["level0"]
    monkeypatch.setattr(level, "num_train", 3)
    monkeypatch.setattr(level, "num_validation", 2)
    tfds.builder("known_world/level0", data_dir=tmp_path).download_and_prepare()
    by_name = tfds.data_source("known_world/level0", split="train", data_dir=tmp_path)
    folder = tfds.builder_from_directory(tmp_path / "known_world" / "level0" / "1.0.0")
    expected = level.split("train")
    for stored in (by_name, folder.as_data_source(split="train")):
        assert len(stored) == 3
        assert [to_clip(example).key for example in stored] == [clip.key for clip in expected]
        assert to_clip(stored[2]).video.tobytes() == expected[2].video.tobytes()


def test_tensorflow_is_not_imported():
    code = "import sys, dit_jax.data.known_world_tfds; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
