# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import tensorflow_datasets as tfds

from configs import known_world
from dit_jax import build
from dit_jax.data.known_world import KnownWorldConfig
from dit_jax.data.known_world_tfds import KnownWorldTfdsConfig
from dit_jax.data.latents_io import Joined
from dit_jax.data.split import Part

SHAPE = (3, 4, 4, 16)


def config(**sections):
    made = known_world.get_config()
    for name, values in sections.items():
        made[name].update(values)
    return made


def test_the_default_config_is_valid():
    made = config()
    assert build.latent_shape(made) == SHAPE
    build.check(made, SHAPE)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (dict(backbone=dict(name="dut")), r"config\.backbone\.name='dut' is unknown; did you mean 'dit'\?"),
        (dict(backbone=dict(widht=3)), r"config\.backbone\.widht is unknown; did you mean 'width'\?"),
        (dict(backbone=dict(text_width=64)), r"text_width=64 differs from config\.text\.width=32"),
        (dict(backbone=dict(patch=(2, 1, 1))), r"patch=\(2, 1, 1\) does not divide .*\(3, 4, 4\)"),
        (dict(backbone=dict(in_channels=8)), r"in_channels=8 differs from the latents' 16"),
        (dict(mesh=dict(fsdp=0)), "must be positive"),
        (
            dict(objective=dict(per_frame_time=True), loader=dict(layout="packed")),
            "per_frame_time=True needs",
        ),
        (dict(train=dict(total_steps=7)), r"total_steps=7 is not a multiple of chunk_steps=20"),
    ],
)
def test_sections_are_checked_against_each_other(sections, message):
    with pytest.raises(ValueError, match=message):
        build.check(config(**sections), SHAPE)


def test_splits_of_the_known_world_are_different_streams():
    made = config(data=dict(num_clips=3), evaluate=dict(num_clips=2))
    train, validation = (build.clip_source(made, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (3, 2)
    assert train[0].key != validation[0].key
    assert (train[0].video != validation[0].video).any()


def test_held_out_windows_share_no_frame_with_training():
    class Numbers(list):
        pass

    source = Numbers(range(100))
    train, validation = (Part(source, part, 10, 3) for part in (True, False))
    assert [train[i] for i in range(len(train))] == list(range(87))
    assert [validation[i] for i in range(len(validation))] == list(range(90, 100))
    with pytest.raises(IndexError):
        validation[10]


def test_too_few_clips_to_hold_any_out():
    with pytest.raises(ValueError, match="7 clips are too few"):
        Part(list(range(7)), True, 10, 0)


def test_a_tfds_data_set_is_read(tmp_path):
    world = KnownWorldConfig(num_frames=5, height=16, width=16)
    made = KnownWorldTfdsConfig(name="tiny", world=world, num_train=12, num_validation=2)
    tfds.builder("known_world", config=made, data_dir=tmp_path).download_and_prepare()
    data = dict(source="tfds", path="known_world/tiny:1.0.0", tfds_dir=str(tmp_path))
    data |= dict(num_frames=5, height=16, width=16)
    source = build.clip_source(config(data=data, evaluate=dict(num_clips=3)), "train")
    assert len(source) == 9
    assert source[0].video.shape == (5, 16, 16, 3)
    assert source[0].captions["dense"]


def test_an_unknown_source_gets_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'tfds'"):
        build.clip_source(config(data=dict(source="tdfs")), "train")


def test_missing_parts_of_the_latents_are_counted(tmp_path):
    (tmp_path / "00000-of-00003").mkdir()
    with pytest.raises(ValueError, match="has 1 of 3 parts of the latents"):
        build.latents_source(tmp_path)


def test_joined_sources_are_one_after_the_other():
    joined = Joined([[1, 2], [3], [], [4, 5, 6]])
    assert [joined[i] for i in range(len(joined))] == [1, 2, 3, 4, 5, 6]
    assert joined[-1] == 6


def test_the_autoencoder_that_comes_along_fits_the_default_config():
    model, stats = build.autoencoder(config())
    assert model.config == build.autoencoder_config(config())
    assert stats.mean.shape == (16,)
    weights = build.autoencoder_path(config())
    assert weights.stat().st_size <= 1_000_000


def test_captions_that_are_cut_are_counted(caplog):
    build.warn_of_cut_captions(config(evaluate=dict(num_clips=4)))
    assert caplog.text == ""
    build.warn_of_cut_captions(config(data=dict(level=4), evaluate=dict(num_clips=4)))
    assert "4 of 4 captions are cut, the longest by " in caplog.text
