# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The known world as a source: the same bytes everywhere, and one world behind every view of it."""

import dataclasses
import hashlib
import json
import pickle

import grain
import numpy as np
import pytest
from absl import flags

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.known_world_captions import DIRECTIONS, PALETTE, SHAPES

# (level, seed, index, (frames, height, width), fps): start of the sha256 of video, captions and truth.
GOLDEN = {
    (0, 0, 0, (9, 32, 32), 8.0): "17363ec5d95db5bf",
    (0, 7, 2**31 - 2, (17, 48, 64), 16.0): "fda4048fa06057ba",
    (1, 1, 17, (9, 32, 56), 12.5): "c4c13f6f37a62013",
    (2, 2**63 - 1, 3, (12, 57, 32), 24000 / 1001): "6cd69a0773e0acd6",
    (3, 0, 12, (33, 64, 64), 24.0): "7559938d927e8343",
    (4, 5, 1, (60, 120, 214), 30.0): "af33fc5fb56f5757",
}
ADVICE = (
    "The known world's clips have changed. If you did not mean to change them, this is a bug: they must be "
    "the same on every machine, Python and NumPy. If you did, runs made before cannot be compared with runs "
    "made after: raise VERSION in known_world_tfds.py, say so to users, and then replace these digests."
)


def world(**changes):
    return KnownWorld(KnownWorldConfig(**changes))


def digest(clip):
    """What has to be the same everywhere."""
    words = {**clip.captions, **{k: v for k, v in clip.truth.items() if not isinstance(v, np.ndarray)}}
    parts = [clip.video.tobytes(), json.dumps(words, sort_keys=True).encode()]
    parts += [clip.truth[name].tobytes() for name in ("positions", "velocities", "visible")]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_golden_digests(case):
    level, seed, index, (num_frames, height, width), fps = case
    source = world(level=level, seed=seed, num_frames=num_frames, height=height, width=width, fps=fps)
    assert digest(source[index]) == GOLDEN[case], ADVICE


def test_a_clip_is_what_the_sources_promise():
    clip = world(level=4, num_frames=5, height=20, width=36, seed=3)[11]
    assert clip.video.dtype == np.uint8
    assert clip.video.shape == (5, 20, 36, 3)
    assert clip.fps == 8.0
    assert clip.key == "known_world/4/3/11"
    assert set(clip.captions) == {"tag", "short", "dense"}
    count = len(clip.truth["objects"])
    assert clip.truth["positions"].shape == clip.truth["velocities"].shape == (count, 5, 2)
    assert clip.truth["visible"].shape == (count, 5)
    json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in clip.truth.items()})


def test_clips_are_random_access_and_seeds_and_levels_differ():
    source = world(level=3)
    late = digest(source[1000])
    assert [digest(source[i]) for i in (0, 5, 1000)][2] == late
    others = [world(level=level, seed=seed)[i] for level in (0, 1, 2) for seed in (0, 1) for i in (0, 1)]
    assert len({clip.video.tobytes() for clip in others}) == 12


def test_length():
    assert len(world()) == 2**31 - 1
    assert len(world(num_clips=3)) == 3
    assert [clip.key for clip in world(num_clips=2)] == ["known_world/0/0/0", "known_world/0/0/1"]
    with pytest.raises(IndexError, match="clip 3 is not in this known world of 3 clips"):
        world(num_clips=3)[3]
    with pytest.raises(IndexError):
        world()[-1]


@pytest.mark.parametrize("level", range(5))
def test_another_resolution_shows_the_same_world(level):
    small, large = (world(level=level, height=h, width=h * 3 // 2)[4] for h in (32, 64))
    for name in ("positions", "velocities"):
        np.testing.assert_array_equal(2 * small.truth[name], large.truth[name])
    assert small.captions == large.captions
    halves = large.video.reshape(9, 32, 2, 48, 2, 3).mean((2, 4))
    assert np.abs(halves - small.video).mean() < 1.0


@pytest.mark.parametrize("fps", [8.0, 7.5, 30000 / 1001])
def test_twice_the_frame_rate_adds_frames_between(fps):
    slow, fast = (world(level=3, fps=rate, num_frames=n)[4] for rate, n in ((fps, 9), (2 * fps, 18)))
    np.testing.assert_array_equal(slow.truth["positions"], fast.truth["positions"][:, ::2])
    np.testing.assert_array_equal(slow.truth["velocities"], 2 * fast.truth["velocities"][:, ::2])
    np.testing.assert_array_equal(slow.video, fast.video[::2])


@pytest.mark.parametrize("level", range(5))
def test_a_longer_clip_begins_with_the_shorter(level):
    short, long = (world(level=level, num_frames=n)[6] for n in (9, 40))
    np.testing.assert_array_equal(short.video, long.video[:9])
    np.testing.assert_array_equal(short.truth["positions"], long.truth["positions"][:, :9])
    assert short.truth["events"] == [event for event in long.truth["events"] if event["frame"] < 9]


@pytest.mark.parametrize("level", [0, 1])
def test_pixels_agree_with_the_truth(level):
    """The centroid of a lone shape's pixels is its position."""
    checked = 0
    for index in range(30):
        clip = world(level=level, num_frames=20)[index]
        if len(clip.truth["objects"]) > 1:
            continue
        colour = np.array(PALETTE[clip.truth["objects"][0]["colour"]], float) - 16
        mass = (clip.video - 16.0) @ colour
        centres = np.arange(32) + 0.5
        x = (mass.sum(1) @ centres) / mass.sum((1, 2))
        y = (mass.sum(2) @ centres) / mass.sum((1, 2))
        np.testing.assert_allclose(np.stack([x, y], -1), clip.truth["positions"][0], atol=0.3)
        checked += 1
    assert checked > 8


def test_velocity_and_gravity_give_the_next_frame():
    """Between events, a frame leads to the next by p + v + g / 2, in pixels and frames."""
    for index in range(30):
        truth = world(level=4, num_frames=20, fps=16.0)[index].truth
        positions, velocities = truth["positions"], truth["velocities"]
        impacts = {e["frame"] for e in truth["events"] if e["kind"] in ("wall", "collision")}
        free = [k for k in range(19) if k + 1 not in impacts]
        step = velocities + np.array([0, truth["gravity"] / 2])
        np.testing.assert_allclose(positions[:, 1:][:, free], (positions + step)[:, :-1][:, free], atol=1e-6)


def test_a_hidden_shape_goes_on_moving_and_comes_out():
    fully_hidden = 0
    for index in range(60):
        clip = world(level=4, num_frames=20, fps=16.0)[index]
        left, _, right, _ = clip.truth["occluder"]
        for thing, centres, visible in zip(
            clip.truth["objects"], clip.truth["positions"], clip.truth["visible"], strict=True
        ):
            half = thing["size_pixels"] / 2
            inside = (centres[:, 0] - half >= left) & (centres[:, 0] + half <= right)
            assert (visible[inside] <= 0.05).all()
            fully_hidden += inside[1:-1].any() and not inside[0] and not inside[-1]
    assert fully_hidden > 20


@pytest.mark.parametrize("size", [(32, 32), (32, 56), (56, 32)])
def test_level_0_moves_clearly_and_freely_for_a_second(size):
    height, width = size
    source = world(height=height, width=width)
    for index in range(200):
        truth = source[index].truth
        [thing], positions = truth["objects"], truth["positions"][0]
        assert not truth["events"]
        assert 0.31 * min(size) <= thing["size_pixels"] <= 0.45 * min(size)
        moved = positions[-1] - positions[0]
        assert tuple(np.sign(moved)) == DIRECTIONS[thing["direction"]]
        assert np.abs(moved).max() > 0.19 * min(size)
    later = world(height=height, width=width, num_frames=80)
    assert all(later[i].truth["events"] for i in range(10))


def test_draws_are_even():
    objects = [world(height=8, width=8, num_frames=1)[i].truth["objects"][0] for i in range(1000)]
    for name, values in (("colour", PALETTE), ("shape", SHAPES), ("direction", tuple(DIRECTIONS)[:4])):
        counts = [sum(o[name] == value for o in objects) for value in values]
        expected = 1000 / len(counts)
        chi_square = sum((count - expected) ** 2 / expected for count in counts)
        assert chi_square < 3 * len(counts)


@pytest.mark.parametrize(
    "changes",
    [
        {"level": 5},
        {"level": -1},
        {"num_frames": 0},
        {"height": 7},
        {"height": 8, "width": 33},
        {"fps": 0.0},
        {"fps": 240.5},
        {"fps": float("nan")},
        {"seed": -1},
        {"num_clips": -1},
    ],
)
def test_a_config_out_of_range_is_refused_with_its_value(changes):
    name, value = list(changes.items())[-1]
    with pytest.raises(ValueError, match=name) as error:
        KnownWorldConfig(**changes)
    assert str(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_source_is_named_by_its_config_and_pickles():
    source = world(level=2, seed=9, num_clips=5)
    again = pickle.loads(pickle.dumps(source))
    assert repr(again) == repr(source)
    assert "level=2" in repr(source)
    assert digest(again[3]) == digest(source[3])
    assert dataclasses.replace(source.config, seed=1) != source.config


def test_grain_reads_it_in_a_worker_process():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    source = world(level=1, num_clips=6)
    loaded = grain.MapDataset.source(source).shuffle(seed=1).to_iter_dataset()
    workers = loaded.mp_prefetch(grain.MultiprocessingOptions(num_workers=1))
    clips = {clip.key: clip for clip in workers}
    assert len(clips) == 6
    for index in range(6):
        assert digest(clips[source[index].key]) == digest(source[index])
