# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from configs import known_world
from dit_jax import build, ingest
from dit_jax.data import extract
from dit_jax.data.clips_io import ClipsSource
from dit_jax.data.manifest import file_digest
from dit_jax.ingest import Ingest, IngestConfig
from tests import faulty_readers
from tests.data.video_files import levels, noise, write, write_sound


def two_shots(num_frames, height=32, width=48):
    texture = noise(1, height, width)[0] // 4
    return np.stack([texture + 180 * (2 * k >= num_frames) for k in range(num_frames)]).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sound videos of several kinds, and files that are none."""
    path = tmp_path_factory.mktemp("videos")
    write(path / "cut.mp4", two_shots(20), crf=10)
    write(path / "deep.mp4", noise(12), pix_fmt="yuv420p10le")
    write(path / "odd.mkv", noise(12, 33, 47), codec="ffv1", pix_fmt="yuv444p")
    write(path / "vfr.mkv", levels(6), milliseconds=[0, 40, 80, 500, 510, 1000])
    (path / "cut.txt").write_text("dark, then bright")
    write(path / "one.mp4", levels(1))
    write_sound(path / "sound.mp4")
    data = write(path / "torn.mp4", noise(30)).read_bytes()
    (path / "torn.mp4").write_bytes(data[: len(data) * 7 // 10])
    (path / "text.mp4").write_text("not a video\n" * 100)
    (path / "list.mp4").write_text("ffconcat version 1.0\nfile cut.mp4\n")
    (path / "empty.mp4").write_bytes(b"")
    (path / "folder.mp4").mkdir()
    os.mkfifo(path / "pipe.mp4")
    huge = [Image.new("P", (5000, 4000), k) for k in range(2)]
    huge[0].save(path / "huge.gif", save_all=True, append_images=huge[1:])
    return path


KEPT = {"cut.mp4": 4, "deep.mp4": 2, "odd.mkv": 2, "vfr.mkv": 5}


def config(path, **changes):
    return IngestConfig(**{"path": str(path), "num_frames": 5, "num_shards": 4, "num_workers": 2, **changes})


def ingested(made, folder, process=0, num_processes=1):
    work = Ingest(made, folder)
    work.run(process, num_processes)
    return work.finish()


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "clips"
    total = ingested(config(folder), out)
    return out, total


def rows(out):
    return {row["file"]: row for row in map(json.loads, (out / "report.jsonl").read_text().splitlines())}


def contents(out):
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_every_file_has_its_reason(folder, undisturbed):
    out, total = undisturbed
    report = rows(out)
    assert sorted(report) == sorted(p.name for p in folder.iterdir() if p.suffix != ".txt")
    assert {name: row["kept"] for name, row in report.items() if row["kept"]} == KEPT
    reasons = {
        "one.mp4": "no shot of 0.2 seconds",
        "sound.mp4": "no video stream",
        "torn.mp4": "",
        "text.mp4": "Invalid data",
        "list.mp4": "Format not on whitelist",
        "empty.mp4": "Invalid data",
        "folder.mp4": "it is not a file",
        "pipe.mp4": "it is not a file",
        "huge.gif": "5000x4000 exceeds",
    }
    for name, reason in reasons.items():
        assert report[name]["kept"] == 0
        assert report[name]["reason"]
        assert reason in report[name]["reason"]
    for name, row in report.items():
        is_file = (folder / name).is_file()
        assert row["sha256"] == (file_digest(folder / name) if is_file else None)
    assert report["cut.mp4"]["cuts"] == [0.4]
    assert (total["files"], total["files_kept"], total["clips"]) == (len(report), 4, sum(KEPT.values()))
    assert sum(total["dropped"].values()) == 9


def test_the_clips_are_those_of_the_report(undisturbed):
    out, _ = undisturbed
    source, clips = ClipsSource(out), [clip for row in rows(out).values() for clip in row["clips"]]
    assert [source[index].key for index in range(len(source))] == [clip["key"] for clip in clips]
    for index, clip in enumerate(clips):
        video = source[index].video
        assert list(video.shape) == clip["shape"]
        if clip["key"].startswith("cut.mp4"):
            assert np.ptp(video.mean((1, 2, 3))) < 3  # within a shot
            assert clip["cut_score"] < 0.05
            assert source[index].captions == {"dense": "dark, then bright"}
    assert {tuple(clip["shape"]) for clip in clips} == {(5, 32, 48, 3), (5, 64, 96, 3), (5, 33, 47, 3)}
    assert {"motion", "sharpness", "brightness", "contrast"} < set(clips[0])


def test_tfds_reads_it(undisturbed):
    out, total = undisturbed
    source = tfds.builder_from_directory(out).as_data_source("train")
    assert len(source) == total["clips"]
    assert source[0]["captions"]["source"] == [b"cut.txt"]
    assert source[0]["file"] == b"cut.mp4"


def test_processes_and_workers_change_nothing(folder, undisturbed, tmp_path):
    made = config(folder, num_workers=1)
    for process in (1, 0):
        total = ingested(made, tmp_path / "clips", process, 2)
        assert (total is None) == (process == 1)
    assert contents(tmp_path / "clips") == contents(undisturbed[0])


def test_a_changed_file_is_noticed(folder, undisturbed, tmp_path):
    """One bit, also where the decoder would not see it, and whether or not the file was kept."""
    out, _ = undisturbed
    before = contents(out)
    for name in ("odd.mkv", "torn.mp4"):
        path, data = folder / name, (folder / name).read_bytes()
        try:
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            with pytest.raises(ValueError, match=f"{name} changed since it was ingested"):
                ingested(config(folder), out)
        finally:
            path.write_bytes(data)
    ingested(config(folder), out)
    assert contents(out) == before


def test_a_folder_belongs_to_one_config_and_listing(folder, undisturbed, tmp_path):
    out, _ = undisturbed
    with pytest.raises(ValueError, match="made with another config: ingest to another folder"):
        Ingest(config(folder, num_frames=6), out)
    (folder / "new.mp4").write_bytes(b"")
    try:
        with pytest.raises(ValueError, match="made with another listing"):
            Ingest(config(folder), out)
    finally:
        (folder / "new.mp4").unlink()


def test_one_process_at_a_time(folder, undisturbed):
    out, _ = undisturbed
    with (
        ingest.FolderLock(out / ".process-00000"),
        pytest.raises(ValueError, match=f"in use by process {os.getpid()}"),
    ):
        ingested(config(folder), out)


@pytest.mark.parametrize(
    ("reader", "dropped", "reason"),
    [
        (faulty_readers.crash_at_deep, "deep.mp4", "the process that read it died by SIGSEGV"),
        (faulty_readers.refuse_odd, "odd.mkv", "it turns out to be unsound"),
    ],
)
def test_a_video_fails_alone_and_whole(folder, undisturbed, tmp_path, monkeypatch, reader, dropped, reason):
    monkeypatch.setattr(extract, "read_file", reader)
    ingested(config(folder), tmp_path)
    report, expected = rows(tmp_path), rows(undisturbed[0])
    assert report.pop(dropped)["reason"] == reason
    assert expected.pop(dropped)["kept"]
    assert report == expected
    keys = [clip.key for clip in (ClipsSource(tmp_path)[k] for k in range(sum(KEPT.values()) - 2))]
    assert not any(key.startswith(dropped) for key in keys)


def test_segments_and_captions_of_a_manifest(folder, tmp_path):
    lines = [
        {"path": str(folder / "odd.mkv"), "caption": "one", "short": "1", "end": 0.2, "source": "model"},
        {"path": str(folder / "odd.mkv"), "caption": "uno", "end": 0.2, "source": "somebody"},
        {"path": str(folder / "odd.mkv"), "caption": "two", "start": 0.24},
        {"path": "gone.mp4", "caption": "lost"},
    ]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, lines)))
    total = ingested(config(tmp_path / "set.jsonl", height=16, width=16), tmp_path / "clips")
    assert (total["clips"], total["dropped"]) == (2, {"it is not a file": 1})
    source, name = ClipsSource(tmp_path / "clips"), folder / "odd.mkv"
    assert [source[k].key for k in (0, 1)] == [f"{name}#0-0.2#0.000", f"{name}#0.24-inf#0.240"]
    assert source[0].captions == {"short": "1", "dense": "one"}
    stored = tfds.builder_from_directory(tmp_path / "clips").as_data_source("train")[0]["captions"]
    assert stored["text"] == [b"1", b"one", b"uno"]
    assert stored["source"] == [b"model", b"model", b"somebody"]
    assert source[0].video.shape == (5, 16, 16, 3)


class GrayShots(tfds.core.GeneratorBasedBuilder):
    """Somebody's data set: gray videos of two shots, of several lengths."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        video = tfds.features.Tensor(shape=(None, 16, 16, 1), dtype=np.uint8)
        features = tfds.features.FeaturesDict({"video": video, "text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for k, frames in enumerate((20, 4, 30)):
            yield k, {"video": two_shots(frames, 16, 16)[..., :1], "text": f"video {k}"}


# A worker process knows a data set only by the folder it lies in.
def test_any_video_set_of_tfds(tmp_path):
    GrayShots(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    made = config("gray_shots:1.0.0", tfds_dir=str(tmp_path), source_fps=10.0, num_shards=1)
    total = ingested(made, tmp_path / "clips")
    assert (total["files"], total["files_kept"], total["clips"]) == (3, 2, 4 + 6)
    source = ClipsSource(tmp_path / "clips")
    np.testing.assert_array_equal(source[2].video, np.repeat(two_shots(20, 16, 16)[10:15, ..., :1], 3, -1))
    assert source[2].captions == {"dense": "video 0"}
    assert (source[2].fps, source[2].key) == (10, "gray_shots:1.0.0/train/0#1.000")


def test_training_reads_it(undisturbed):
    made = known_world.get_config()
    made.data.update(source="clips", path=str(undisturbed[0]), num_frames=4, height=16, width=16)
    train, validation = (build.clip_source(made, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (10, 3)
    assert train[0].video.shape == (4, 16, 16, 3)
    assert {train[k].key for k in range(10)}.isdisjoint({validation[k].key for k in range(3)})


def test_overlapping_windows_are_counted(folder, tmp_path):
    total = ingested(config(folder, stride_seconds=0.08), tmp_path)
    assert total["overlap"] == 2
    assert ClipsSource(tmp_path).overlap == 2


def test_nothing_to_keep_is_an_error_with_its_report(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_text("not a video")
    with pytest.raises(ValueError, match=r"none of 1 videos gives a clip, such as a\.mp4: Invalid data"):
        ingested(config(tmp_path / "videos"), tmp_path / "clips")
    assert list(rows(tmp_path / "clips")) == ["a.mp4"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ""}, "path is empty"),
        ({"num_shards": -1}, "num_shards is -1; give 0"),
        ({"num_workers": -1}, "num_workers is -1; give 0"),
        ({"seconds_per_file": 0.0}, "seconds is 0"),
        ({"num_frames": 0}, "num_frames is 0"),
    ],
)
def test_config_is_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        IngestConfig(**{"path": "x", **changes})


def test_a_path_that_is_nothing(tmp_path):
    with pytest.raises(
        ValueError, match=r"no_such_set is no folder and no \.csv or \.jsonl file, and cannot"
    ):
        Ingest(config("no_such_set"), tmp_path)
    with pytest.raises(ValueError, match="process is 2 of 2"):
        Ingest(config(_one_video(tmp_path)), tmp_path / "clips").parts(2, 2)


def _one_video(folder):
    (folder / "a.mp4").write_bytes(b"")
    return folder
