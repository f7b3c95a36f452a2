# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips on disk: ArrayRecord shards with a description by which TFDS reads them, without TensorFlow.

    tfds.builder_from_directory(folder).as_data_source("train")

gives dicts with `video` (uint8 [T,H,W,3], each clip at its own size), `fps`, `key`, `file`, `start_seconds`,
`captions` (every text with its level and source) and `quality` (see `quality.Quality`; `cut_score` is the
highest of `scenes.cut_scores` within the clip).
"""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Int

from dit_jax.data.clip import Clip
from dit_jax.data.quarantine import DamagedClip
from dit_jax.data.video_decode import Fit

NAME = "clips"
SPLIT = "train"
REPORT, SUMMARY = "report.jsonl", "summary.json"
READ = ("video", "fps", "key", "captions")  # what a `Clip` needs: quality would take a third of the time
QUALITY = ("motion", "sharpness", "brightness", "contrast", "cut_score")


def shard_name(index: int, num_shards: int) -> str:
    """The file of a shard, as TFDS expects it."""
    return f"{NAME}-{SPLIT}.array_record-{index:05d}-of-{num_shards:05d}"


@functools.cache
def features() -> Any:
    """TFDS's description of a clip."""
    import tensorflow_datasets as tfds  # takes a second, which those who read other sources need not wait for

    def number() -> tfds.features.Tensor:  # a Scalar is stored as float32
        return tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes")

    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "video": tfds.features.Tensor(shape=(None, None, None, 3), dtype=np.uint8, encoding="bytes"),
            "fps": number(),
            "key": text(),
            "file": text(),
            "start_seconds": number(),
            "captions": tfds.features.Sequence({"level": text(), "text": text(), "source": text()}),
            "quality": {name: number() for name in QUALITY},
        }
    )


def encode_clip(clip: Mapping[str, Any]) -> bytes:
    """A record of a clip, given as a dict of the names in `features`; text that is not UTF-8 is mended.

    The same clip gives the same bytes.
    """
    captions = [{name: _utf8(text) for name, text in caption.items()} for caption in clip["captions"]]
    names = {name: _utf8(clip[name]) for name in ("key", "file")}
    example = features().encode_example({**clip, **names, "captions": captions})
    # TFDS's own serialize_example orders the fields by chance, another way in every process.
    return _serializer().get_tf_example(example).SerializeToString(deterministic=True)


@functools.cache
def _serializer() -> Any:
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    return ExampleSerializer(features().get_serialized_info())


def write_description(folder: str | Path, counts: Sequence[int], num_bytes: int) -> None:
    """Writes what TFDS needs beside the shards; `dataset_info.json` comes last, and says that all is there.

    Args:
      folder: of the shards.
      counts: of the clips in each shard.
      num_bytes: of all records.
    """
    import tensorflow_datasets as tfds

    shards = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=NAME, split=SPLIT, filetype_suffix="array_record"
    )
    split = tfds.core.SplitInfo(
        name=SPLIT, shard_lengths=list(counts), num_bytes=num_bytes, filename_template=shards
    )
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=NAME, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features(), description="Clips that cross no cut, each at its own size."
    )
    info.set_file_format("array_record")
    info.set_splits(tfds.core.splits.SplitDict([split]))
    made = Path(tempfile.mkdtemp(prefix=".description.", dir=folder))
    try:
        info.write_to_directory(made)
        for path in sorted(made.iterdir(), reverse=True):
            os.replace(path, Path(folder, path.name))
    finally:
        shutil.rmtree(made, ignore_errors=True)


class ClipsSource:
    """A `ClipSource` of an ingested folder, in its order.

    Where a clip has several captions of a level, the first counts.

    Args:
      path: the folder.
      size: (frames, height, width) for all clips: the first frames, covered and cropped to the centre. By
        default each clip has its own.

    Attributes:
      overlap: the most clips before one that share frames with it.

    Raises:
      ValueError: the folder has no such set, or it is damaged or incomplete.
    """

    def __init__(self, path: str | Path, size: tuple[int, int, int] | None = None):
        import tensorflow_datasets as tfds

        self._path, self._size = Path(path), size
        if not (self._path / "dataset_info.json").is_file():
            raise ValueError(
                f"{path} has no ingested clips: run experiments.encode with --config.stage=clips"
            )
        try:
            builder = tfds.builder_from_directory(path)
            self._records = builder.as_data_source(SPLIT).data_source
            self._features = tfds.features.FeaturesDict({name: builder.info.features[name] for name in READ})
            summary = self._path / SUMMARY
            self.overlap = json.loads(summary.read_text())["overlap"] if summary.is_file() else 0
        except Exception as error:  # whatever TFDS's parsers raise
            raise ValueError(f"{path} is damaged ({_line(error)}); ingest it again") from error

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        try:
            example = self._features.deserialize_example_np(self._records[index])
        except (RuntimeError, ValueError) as error:
            raise DamagedClip(
                f"{self._path}: clip {index} is damaged ({_line(error)}); ingest it again"
            ) from error
        captions, key = example["captions"], example["key"].decode()
        texts = reversed(list(zip(captions["level"], captions["text"])))  # so that the first stays
        video = example["video"] if self._size is None else fitted(example["video"], self._size, key)
        return Clip(
            video, float(example["fps"]), {level.decode(): text.decode() for level, text in texts}, key
        )


def clip_sizes(folder: str | Path) -> Int[np.ndarray, "N 3"]:
    """Frames, height and width of each clip that was ingested into a folder, in their order.

    Raises:
      ValueError: the folder has no report of its clips.
    """
    path = Path(folder) / REPORT
    if not path.is_file():
        raise ValueError(f"{folder} has no {REPORT}: run experiments.encode with --config.stage=clips")
    rows = map(json.loads, path.read_text().splitlines())
    return np.array([clip["shape"][:3] for row in rows for clip in row["clips"]], np.int32).reshape(-1, 3)


def fitted(video: np.ndarray, size: tuple[int, int, int], key: str) -> np.ndarray:
    """The first frames of a clip, covered and cropped to a size.

    Args:
      video: uint8 [T,H,W,3].
      size: (frames, height, width).
      key: for the error.

    Raises:
      ValueError: it has fewer frames.
    """
    num_frames, *shape = size
    if len(video) < num_frames:
        raise ValueError(
            f"{key} has {len(video)} frames of {num_frames}: ask for fewer, or ingest longer ones"
        )
    if video.shape[1:3] == tuple(shape):
        return video[:num_frames]
    fit = Fit(key, *shape)
    return np.stack([fit(av.VideoFrame.from_ndarray(image)) for image in video[:num_frames]])


def _utf8(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
