# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from dit_jax.data.extract import read_file
from dit_jax.data.manifest import Segment
from dit_jax.data.video_decode import Frames
from dit_jax.data.video_header import VideoError
from dit_jax.data.video_io import read_video
from dit_jax.data.windows import ArrayFrames, WindowConfig, place, read_windows, survey
from tests.data.video_files import frame_numbers, levels, noise, write


def shots(*lengths, height=32, width=48):
    """Shots that are noise, alike within and unlike between: black and white, by turns."""
    texture = noise(1, height, width)[0] // 4
    return np.stack([texture + 180 * (k % 2) for k, n in enumerate(lengths) for _ in range(n)]).astype(
        np.uint8
    )


def clips_of(path, frames, config, *segments):
    found = survey(path, frames())
    placement = place(found, segments or [Segment()], config)
    size = config.size(found.height, found.width)
    return list(read_windows(path, frames(), found, placement.windows, size)), found, placement


def test_no_window_crosses_a_cut():
    video = shots(10, 4, 17)
    config = WindowConfig(num_frames=5, stride_seconds=0.2)
    clips, found, placement = clips_of("a", lambda: ArrayFrames(video, 10.0), config)
    assert found.cuts.tolist() == [10, 14]
    assert [window.start for window, _ in clips] == pytest.approx([0, 0.2, 0.4, *np.arange(1.4, 2.7, 0.2)])
    assert all(np.ptp(clip.reshape(5, -1).mean(1)) < 1 for _, clip in clips)
    assert (placement.num_shots, placement.num_short) == (3, 1)
    for window, clip in clips:
        first = round(window.start * 10)
        np.testing.assert_array_equal(clip, video[first : first + 5])


@pytest.mark.parametrize("fps", [None, 12.5, 7.0])
def test_windows_are_what_read_video_reads(tmp_path, fps):
    path = write(tmp_path / "a.mp4", noise(60), g=12, bf=2)
    config = WindowConfig(num_frames=7, fps=fps, stride_seconds=0.3)
    clips, _, _ = clips_of(path, lambda: Frames(path), config)
    assert len(clips) > 4
    for window, clip in clips:
        expected = read_video(path, num_frames=7, height=64, width=96, fps=fps, start_seconds=window.start)
        np.testing.assert_array_equal(clip, expected)


def test_frames_are_picked_by_time(tmp_path):
    path = write(tmp_path / "vfr.mkv", levels(6), milliseconds=[0, 40, 80, 500, 510, 1000])
    clips, _, _ = clips_of(path, lambda: Frames(path), WindowConfig(num_frames=5, fps=10.0))
    assert [frame_numbers(clip) for _, clip in clips] == [[0, 2, 2, 2, 2], [3, 4, 4, 4, 4]]


def test_out_of_order_timestamps(shared):
    path = shared / "clips/unordered.mov"
    clips, found, _ = clips_of(path, lambda: Frames(path), WindowConfig(num_frames=3))
    assert (np.diff(found.times) > 0).all()
    expected = read_video(path, num_frames=3, height=found.height, width=found.width)
    np.testing.assert_array_equal(clips[0][1], expected)


def test_segments_bound_the_windows():
    video, config = levels(40), WindowConfig(num_frames=5)
    segments = [Segment(0.3, 1.4), Segment(1.0, 2.0), Segment(3.8, 9.0)]
    clips, _, placement = clips_of("a", lambda: ArrayFrames(video, 10.0), config, *segments)
    assert [(window.segment, frame_numbers(clip)[0]) for window, clip in clips] == [
        (0, 3),
        (0, 8),
        (1, 10),
        (1, 15),
    ]
    assert placement.num_short == 1  # the last ends with the video


def test_what_is_left_of_a_shot_is_cut_into_shorter_windows():
    """18 frames: one window of 9, one of 5 and one of 3, and a frame that is left."""
    config = WindowConfig(num_frames=9, shorter=(3, 5))
    clips, _, placement = clips_of("a", lambda: ArrayFrames(levels(18), 10.0), config)
    assert [frame_numbers(clip) for _, clip in clips] == [list(range(9)), list(range(9, 18))]
    clips, _, placement = clips_of("a", lambda: ArrayFrames(levels(17), 10.0), config)
    assert [frame_numbers(clip) for _, clip in clips] == [[*range(9)], [*range(9, 14)], [14, 15, 16]]
    clips, _, placement = clips_of("a", lambda: ArrayFrames(levels(4), 10.0), config)
    assert [frame_numbers(clip) for _, clip in clips] == [[0, 1, 2]]
    assert (placement.num_windows, placement.num_short) == (1, 0)
    overlapping = WindowConfig(num_frames=9, shorter=(1,), stride_seconds=0.5)
    clips, _, _ = clips_of("a", lambda: ArrayFrames(levels(15), 10.0), overlapping)
    assert [frame_numbers(clip) for _, clip in clips] == [[*range(9)], [*range(5, 14)], [14]]


def test_windows_of_a_long_video_are_spread():
    config = WindowConfig(num_frames=1, max_windows_per_file=3)
    clips, _, placement = clips_of("a", lambda: ArrayFrames(levels(30), 10.0), config)
    assert [frame_numbers(clip) for _, clip in clips] == [[0], [14], [29]]
    assert placement.num_windows == 30


def test_memory_is_that_of_a_window():
    """Frames are let go of when no window needs them any more."""
    alive, most = set(), 0

    class Counted(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    import dit_jax.data.windows as windows

    real = windows.Fit.__call__

    def counting(self, frame, pixel_aspect=1.0):
        nonlocal most
        image = real(self, frame, pixel_aspect).view(Counted)
        alive.add(id(image))
        most = max(most, len(alive))
        return image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows.Fit, "__call__", counting)
        config = WindowConfig(num_frames=4, stride_seconds=0.2)
        clips, _, _ = clips_of("a", lambda: ArrayFrames(levels(39), 10.0), config)
    assert len(clips) == 18
    assert 4 <= most <= 6


@pytest.mark.parametrize(
    ("stored", "options", "kept"),
    [
        ((100, 200), {}, (100, 200)),
        ((1080, 1920), {}, (288, 512)),
        ((1920, 1080), {"max_side": 256}, (256, 144)),
        ((100, 200), {"height": 64, "width": 64}, (64, 64)),
    ],
)
def test_sizes(stored, options, kept):
    assert WindowConfig(**options).size(*stored) == kept


def test_a_turned_video_keeps_its_shape(tmp_path):
    turned = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]
    path = write(tmp_path / "a.mp4", noise(9, 32, 64), matrix=turned)
    clips, _, _ = clips_of(path, lambda: Frames(path), WindowConfig(num_frames=3, max_side=32))
    assert clips[0][1].shape == (3, 32, 16, 3)


def test_another_file_in_its_place_is_noticed():
    config = WindowConfig(num_frames=5)
    found = survey("a", ArrayFrames(levels(20), 10.0))
    windows = place(found, [Segment()], config).windows
    with pytest.raises(VideoError, match="changed while it was read"):
        list(read_windows("a", ArrayFrames(levels(12), 10.0), found, windows, (32, 48)))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "a.mp4", noise(30))
    items = read_file(str(path), [Segment()], WindowConfig(num_frames=5))
    next(items)
    path.touch()
    with pytest.raises(VideoError, match="changed while it was read"):
        list(items)


def test_too_short_says_what_is_there(tmp_path):
    path = write(tmp_path / "a.mp4", noise(10))
    with pytest.raises(VideoError, match=r"no shot of 0.8 seconds, a window, within it: .* 0.4"):
        list(read_file(str(path), [Segment()], WindowConfig(num_frames=20)))
    with pytest.raises(VideoError, match=r"there is none"):
        list(read_file(str(path), [Segment(5.0, 9.0)], WindowConfig(num_frames=2)))


def test_the_whole_file_is_checked_before_any_window(tmp_path):
    data = write(tmp_path / "a.mp4", noise(30)).read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[:-400])
    items = read_file(str(tmp_path / "a.mp4"), [Segment()], WindowConfig(num_frames=2))
    assert len(next(items)) == 64  # the digest
    with pytest.raises(VideoError):
        next(items)


def test_a_needle_is_too_small(tmp_path):
    path = write(tmp_path / "a.mov", np.zeros((3, 4, 512, 3), np.uint8), codec="png", pix_fmt="rgb24")
    with pytest.raises(VideoError, match="it is 4x512, kept as 4x512: too small"):
        list(read_file(str(path), [Segment()], WindowConfig(num_frames=2)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_frames": 0},
        {"shorter": (9, 17)},
        {"max_side": 0},
        {"max_windows_per_file": 0},
        {"fps": 0.0},
        {"fps": math.inf},
        {"stride_seconds": 0.0},
        {"height": 8},
        {"height": 4, "width": 8},
    ],
)
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; give "):
        WindowConfig(**wrong)
