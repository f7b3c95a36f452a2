# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from dit_jax.data import scenes
from dit_jax.data.scenes import SIDE, cut_scores, find_cuts
from dit_jax.data.video_decode import Frames


def shot(num_frames, seed, speed=1):
    """A smooth texture of its own brightness that slides."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 128, (4, 4 + SIDE)) + 127 * (seed % 2)
    texture = np.kron(small, np.ones((8, 8)))
    return np.stack([texture[:, speed * k : speed * k + SIDE] for k in range(num_frames)]).astype(np.uint8)


def cuts_of(*shots):
    return find_cuts(cut_scores(np.concatenate(shots))).tolist()


def test_cuts_are_where_shots_meet():
    assert cuts_of(shot(20, 0), shot(15, 1), shot(30, 2)) == [20, 35]


@pytest.mark.parametrize("speed", [1, 2, 4])
def test_motion_is_no_cut(speed):
    assert cuts_of(shot(40, 3, speed)) == []


def test_a_picture_that_changes_all_the_time_is_not_cut():
    noise = np.random.default_rng(0).integers(0, 255, (40, 4, 4))
    assert cuts_of(np.kron(noise, np.ones((1, 8, 8))).astype(np.uint8)) == []


def test_a_flash_of_one_frame_is_no_cut():
    dark = shot(30, 4) // 4
    flash = dark.copy()
    flash[12] = 255
    assert cuts_of(flash) == []
    assert cuts_of(dark[:12], np.full((8, SIDE, SIDE), 255, np.uint8), dark[12:]) == [12, 20]


def test_a_fade_is_no_cut():
    ramp = np.linspace(1, 0, 40)[:, None, None]
    assert cuts_of((shot(40, 5) * ramp).astype(np.uint8)) == []


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_few_frames(num_frames):
    frames = shot(num_frames, 6)
    assert cut_scores(frames).shape == (num_frames,)
    assert cuts_of(frames) == []


def test_a_cut_between_two_frames():
    assert cuts_of(shot(1, 0), shot(1, 1)) == [1]


def test_scores_are_bounded_and_zero_for_the_same():
    black, white = (np.full((3, SIDE, SIDE), v, np.uint8) for v in (0, 255))
    scores = cut_scores(np.concatenate([black, white]))
    np.testing.assert_array_equal(scores, [0, 0, 0, 1, 0, 0])


def test_chunks_change_nothing(monkeypatch):
    frames = np.concatenate([shot(11, seed) for seed in range(5)])
    whole = cut_scores(frames)
    monkeypatch.setattr(scenes, "_CHUNK", 7)
    np.testing.assert_array_equal(cut_scores(frames), whole)


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("bikes.mp4", [30, 76, 137, 187, 242]),
        ("bigbuckbunny.mp4", []),
        ("carphone_pristine.mp4", []),
    ],
)
def test_real_clips(shared, name, cuts):
    """The cuts of these clips as seen by eye."""
    reformatter = VideoReformatter()
    small = [_thumbnail(reformatter, timed.frame) for timed in Frames(shared / "clips" / name)]
    assert find_cuts(cut_scores(np.stack(small))).tolist() == cuts


def _thumbnail(reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    return reformatter.reformat(frame, SIDE, SIDE, "gray", interpolation="AREA").to_ndarray()
