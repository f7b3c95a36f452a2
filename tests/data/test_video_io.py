# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import os
import pickle

import av
import numpy as np
import pytest
from PIL import Image

from dit_jax.data.video_decode import decode
from dit_jax.data.video_header import VideoError
from dit_jax.data.video_io import probe, read_video, write_film_strip, write_video
from tests.data.video_files import frame_numbers, levels, noise, write, write_sound

SIZE = {"height": 32, "width": 48}


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("b.mov", "mjpeg", "yuvj420p"),
        ("c.mkv", "libx264", "yuv444p"),
        ("d.webm", "libvpx-vp9", "yuv420p"),
        ("e.avi", "mpeg4", "yuv420p"),
        ("f.gif", "gif", "gray"),
        ("gray.mp4", "libx264", "gray"),
        ("deep.mp4", "libx264", "yuv420p10le"),
        ("alpha.mov", "png", "rgba"),
    ],
)
def test_every_container_and_pixel_format(tmp_path, name, codec, pix_fmt):
    path = write(tmp_path / name, levels(30), codec=codec, pix_fmt=pix_fmt, b="5M")
    video = read_video(path, num_frames=30, **SIZE)
    assert video.dtype == np.uint8
    assert video.shape == (30, 32, 48, 3)
    assert frame_numbers(video) == list(range(30))
    info = probe(path)
    assert (info.num_frames, info.height, info.width, info.fps) == (30, 32, 48, 25)
    assert info.duration_seconds == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize("name", ["a.mp4", "c.mkv", "e.avi"])
def test_a_window_is_a_slice_of_the_whole(tmp_path, name):
    """Seeking lands on the frame asked for, also between keyframes and among B-frames."""
    path = write(tmp_path / name, noise(60), codec="mpeg4" if name == "e.avi" else "libx264", g=12, bf=2)
    whole = read_video(path, num_frames=60, **SIZE)
    for start in (1, 11, 12, 31, 51):
        window = read_video(path, num_frames=9, **SIZE, start_seconds=start / 25)
        np.testing.assert_array_equal(window, whole[start : start + 9])
    every_third = read_video(path, num_frames=9, **SIZE, fps=25 / 3, start_seconds=0.4)
    np.testing.assert_array_equal(every_third, whole[10:35:3])


def test_frames_are_picked_by_time(tmp_path):
    """Variable frame rate: a frame stays on screen until the next one's time."""
    path = write(tmp_path / "vfr.mkv", levels(6), milliseconds=[0, 40, 80, 500, 510, 1000])
    assert frame_numbers(read_video(path, num_frames=10, **SIZE, fps=10.0)) == [0, 2, 2, 2, 2, 3, 4, 4, 4, 4]
    assert frame_numbers(read_video(path, num_frames=3, **SIZE, fps=10.0, start_seconds=0.45)) == [2, 4, 4]
    assert frame_numbers(read_video(path, num_frames=4, **SIZE, fps=100.0, start_seconds=0.49)) == [
        2,
        3,
        4,
        4,
    ]


def test_a_lower_rate_takes_more_time(tmp_path):
    path = write(tmp_path / "a.mp4", levels(30))
    assert frame_numbers(read_video(path, num_frames=6, **SIZE, fps=5.0)) == [0, 5, 10, 15, 20, 25]
    with pytest.raises(VideoError, match=r"a.mp4: it ends at 1.2 seconds, before 7 frames at 5 fps$"):
        read_video(path, num_frames=7, **SIZE, fps=5.0)
    with pytest.raises(VideoError, match="before 2 frames"):
        read_video(path, num_frames=2, **SIZE, start_seconds=29 / 25)


# The display matrix of FFmpeg and QuickTime sends the point (x, y), y down, to (a x + c y, b x + d y), and
# is stored as a, b, 0, c, d, 0, 0, 0, 1 in fixed point. So (0, 1, -1, 0) sends right to down: clockwise.
@pytest.mark.parametrize(
    ("abcd", "shown"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_turned_and_mirrored_as_the_metadata_says(tmp_path, abcd, shown):
    a, b, c, d = (value << 16 for value in abcd)
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :16], image[16:, :16] = (250, 0, 0), (0, 250, 0)
    path = write(
        tmp_path / "turned.mp4", np.stack([image] * 3), matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30], crf=1
    )
    expected = shown(image)
    height, width = expected.shape[:2]
    video = read_video(path, num_frames=3, height=height, width=width)
    assert np.abs(video[0].astype(int) - expected).mean() < 3
    assert (probe(path).height, probe(path).width) == (height, width)


def test_an_odd_angle_is_refused(tmp_path):
    path = write(tmp_path / "a.mp4", levels(3), matrix=[46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30])
    with pytest.raises(VideoError, match="not a multiple of 90"):
        probe(path)


def test_resized_to_cover_and_cropped_to_the_centre(tmp_path):
    bars = np.repeat(np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8), 32, axis=0)
    wide = np.broadcast_to(bars, (3, 32, 96, 3))
    path = write(tmp_path / "wide.mov", wide, codec="png", pix_fmt="rgb24")
    np.testing.assert_array_equal(read_video(path, num_frames=1, height=32, width=32)[0], wide[0, :, 32:64])
    tall = read_video(path, num_frames=1, height=64, width=32)[0]
    assert tall.shape == (64, 32, 3)
    assert np.abs(tall.astype(int) - (0, 200, 0)).max() <= 1
    small = read_video(path, num_frames=1, height=8, width=24)[0]  # the bars are 8 wide, whole
    np.testing.assert_array_equal(small, wide[0, ::4, ::4])


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (1, 1)])
def test_what_is_written_is_read_back(tmp_path, height, width):
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([128 + 100 * np.sin((rows + columns + k) / 20) for k in range(12)])
    video = np.repeat(smooth[..., None].astype(np.uint8), 3, axis=-1)
    path = tmp_path / "out.mp4"
    write_video(path, video, 12.5)
    info = probe(path)
    assert (info.num_frames, info.fps) == (12, 12.5)
    assert (info.height, info.width) == (height + height % 2, width + width % 2)
    decoded = decode(path, height=info.height, width=info.width).images
    back = np.stack(decoded)[:, :height, :width]
    assert np.abs(back.astype(int) - video).mean() < 2
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is all there
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("colour", [(220, 20, 20), (20, 220, 20), (20, 20, 220), (230, 230, 30)])
def test_colours_survive(tmp_path, colour):
    write_video(tmp_path / "c.mp4", np.broadcast_to(np.array(colour, np.uint8), (3, 32, 48, 3)), 8.0)
    video = read_video(tmp_path / "c.mp4", num_frames=3, **SIZE)
    assert np.abs(video.astype(int) - colour).max() <= 4


@pytest.mark.parametrize(
    ("video", "fps", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), 8.0, "float32"),
        (np.zeros((8, 8, 3), np.uint8), 8.0, "T,H,W,3"),
        (np.zeros((0, 8, 8, 3), np.uint8), 8.0, "with frames"),
        (np.zeros((2, 8, 8, 3), np.uint8), 0.0, "above 0"),
    ],
)
def test_write_refuses(tmp_path, video, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "out.mp4", video, fps)
    assert not list(tmp_path.iterdir())


def _sound(path):
    write_sound(path)


def _truncated(path):
    data = write(path, noise(30)).read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])


def _without_its_end(path):
    data = write(path.with_suffix(".mkv"), noise(30)).read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])


def _overwritten(path):
    data = bytearray(write(path, noise(30)).read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)


def _without_frames(path):
    write(path, levels(1))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") - 4])


def _gif_without_its_end(path):
    data = write(path.with_suffix(".gif"), noise(30), codec="gif", pix_fmt="rgb8").read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _playlist(path):
    good = write(path.with_name("good.mp4"), levels(30))
    path.write_text(f"ffconcat version 1.0\nfile {good.name}\n")
    with av.open(str(path)) as container:  # the attack works where it is not refused
        assert sum(1 for _ in container.decode(video=0)) == 30


def _hls(path):
    good = write(path.with_name("good.mp4"), levels(30))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{good}\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    "make",
    [
        _sound,
        _truncated,
        _without_its_end,
        _gif_without_its_end,
        _overwritten,
        _without_frames,
        _playlist,
        _hls,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not a video\n" * 100),
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(20000)),
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: None,
    ],
    ids=lambda make: make.__name__,
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, make):
    path = tmp_path / "bad.mp4"
    make(path)
    with pytest.raises(VideoError) as caught:
        decode(path, **SIZE)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) > len(f"{path}: ") + 5
    assert str(pickle.loads(pickle.dumps(caught.value))) == message  # as from a worker process


@pytest.mark.parametrize(
    "name", ["http://localhost/a.mp4", "concat:a.mp4|a.mp4", "subfile,,start,0,end,9,,:a.mp4"]
)
def test_a_path_is_no_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4", levels(9))
    with pytest.raises(VideoError):
        probe(name)


def test_a_huge_picture_is_refused(tmp_path):
    path = tmp_path / "huge.gif"
    Image.new("P", (5000, 4000)).save(path, save_all=True, append_images=[Image.new("P", (5000, 4000), 1)])
    assert path.stat().st_size < 100_000
    with pytest.raises(VideoError, match="5000x4000 exceeds"):
        probe(path)


def test_ten_hours_are_refused_from_the_header(tmp_path):
    data = write(tmp_path / "long.mkv", levels(30)).read_bytes()
    data = data.replace(b"00:00:01.200000000", b"10:00:00.000000000")
    (tmp_path / "long.mkv").write_bytes(data)
    with pytest.raises(VideoError, match="it has 900000 frames, over the limit of 131072"):
        probe(tmp_path / "long.mkv")


def test_a_needle_of_a_picture_is_refused(tmp_path):
    path = write(tmp_path / "needle.mov", np.zeros((2, 1, 4096, 3), np.uint8), codec="png", pix_fmt="rgb24")
    with pytest.raises(VideoError, match="pixels a frame"):
        read_video(path, num_frames=2, height=512, width=512)


def test_decoding_keeps_to_its_memory(tmp_path):
    path = write(tmp_path / "a.mp4", levels(30))
    assert len(decode(path, **SIZE, max_bytes=30 * 32 * 48 * 3.0).images) == 30
    checked = decode(path, **SIZE, max_bytes=30 * 32 * 48 * 3 - 1.0)
    assert checked.images == []
    assert len(checked.times) == 30


@pytest.mark.parametrize("wrong", [{"num_frames": 0}, {"height": 0}, {"fps": 0.0}, {"start_seconds": -1.0}])
def test_read_refuses_senseless_requests(tmp_path, wrong):
    path = write(tmp_path / "a.mp4", levels(3))
    with pytest.raises(ValueError, match="above 0"):
        read_video(path, **{"num_frames": 1, **SIZE, **wrong})


def test_film_strip(tmp_path):
    clips = [noise(3, 16, 24), noise(5, 20, 10, seed=1)]
    write_film_strip(tmp_path / "strip.png", clips, ["first\nclip", "a naïve Ελληνικά label"], scale=2)
    picture = np.asarray(Image.open(tmp_path / "strip.png"))
    enlarged = clips[0][1].repeat(2, 0).repeat(2, 1)
    left = 4 + 2 * 25  # a margin, and the first frame with its line
    np.testing.assert_array_equal(picture[4 : 4 + 32, left : left + 48], enlarged)
    assert (picture[4 + 32 + 4 : 4 + 32 + 22, :48] < 100).any()  # the label's ink
    with pytest.raises(ValueError, match="2 rows and 1 labels"):
        write_film_strip(tmp_path / "strip.png", clips, ["one"])


@pytest.mark.parametrize(
    ("name", "size", "rotation"),
    [
        ("bikes.mp4", (272, 640), 0),
        ("carphone_pristine.mp4", (144, 176), 0),
        ("video_0.mov", (320, 568), 0),
        ("video_90.mov", (568, 320), 270),
        ("video_270.mov", (568, 320), 90),
    ],
)
def test_real_clips(shared, name, size, rotation):
    info = probe(shared / "clips" / name)
    assert ((info.height, info.width), info.rotation) == (size, rotation)
    video = read_video(shared / "clips" / name, num_frames=3, height=40, width=40)
    assert video.std() > 20


def test_the_corrupted_clip_is_refused(shared):
    with pytest.raises(VideoError, match=r"corrupted\.mp4: "):
        decode(shared / "clips" / "corrupted.mp4", **SIZE)


def test_out_of_order_timestamps(shared):
    video = read_video(shared / "clips" / "unordered.mov", num_frames=4, height=50, width=50)
    decoded = decode(shared / "clips" / "unordered.mov", height=50, width=50)
    assert (np.diff(decoded.times) > 0).all()
    np.testing.assert_array_equal(video, np.stack(decoded.images))


def test_pixels_that_are_not_square(tmp_path):
    """Pixels twice as wide as high: a square on screen is half as wide as high in the file."""
    bars = np.repeat(np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8), 16, axis=0)
    path = write(tmp_path / "wide.mp4", np.broadcast_to(bars, (3, 32, 48, 3)), pixel_aspect=2, crf=1)
    square = read_video(path, num_frames=1, height=32, width=32)[0]
    assert np.abs(square[:, 2:-2].astype(int) - (0, 200, 0)).max() <= 4
