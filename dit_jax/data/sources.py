# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips from a folder of video files, and from a TFDS data set."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, Int, UInt8

from dit_jax.data.captions import read_captions
from dit_jax.data.clip import Clip
from dit_jax.data.video_decode import Decoded, decode
from dit_jax.data.video_header import EXTENSIONS, VideoError
from dit_jax.data.video_io import read_video


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """A folder of videos, cut into windows of one size.

    Attributes:
      path: the folder; videos in folders below it count.
      num_frames: of a window.
      height, width: in pixels, of a window.
      fps: frames per second of the windows; by default each file keeps its own.
      stride_seconds: between the starts of windows of a file; by default a window's length.
      max_windows_per_file: where a file has more, this many are spread evenly over it.
      cache_bytes: memory for decoded windows; files are kept in it, in their order, while they fit, and the
        windows of the others are decoded each time. Every process that reads has as much.
    """

    path: str
    num_frames: int
    height: int
    width: int
    fps: float | None = None
    stride_seconds: float | None = None
    max_windows_per_file: int = 1000
    cache_bytes: int = 2**31

    def __post_init__(self):
        for name in ("num_frames", "height", "width", "max_windows_per_file"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.fps is not None and not 0 < self.fps < np.inf:
            raise ValueError(f"fps is {self.fps}; give a rate above 0, or None for that of each file")
        if self.stride_seconds is not None and not 1e-3 <= self.stride_seconds < np.inf:
            raise ValueError(f"stride_seconds is {self.stride_seconds}; give 0.001 or more, or None")
        if self.cache_bytes < 0:
            raise ValueError(f"cache_bytes is {self.cache_bytes}; give 0 or more")


@dataclasses.dataclass(frozen=True)
class _File:
    name: str
    fps: float
    starts: Float[np.ndarray, " N"]
    captions: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class _Windows:
    """The decoded windows of a file: window i is `images[indices[i]]`."""

    images: UInt8[np.ndarray, "U H W 3"]
    indices: Int[np.ndarray, "N T"]


class FolderSource:
    """A `ClipSource` of the videos in a folder; a clip's key is `file.mp4#start` in seconds.

    Captions are those of `read_captions`. Construction decodes every file once, whole; those that are
    damaged, too short or without video are left out and named in a warning.

    Attributes:
      skipped: (file name, reason) of each file left out.
      ends: of each file's windows in the source.
      overlap: the most windows before one that share frames with it.

    Raises:
      ValueError: if no window can be read, or the captions are malformed.
    """

    def __init__(self, config: FolderConfig):
        self._config = config
        self.skipped: list[tuple[str, str]] = []
        self._files: list[_File] = []
        self._cache: dict[int, _Windows] = {}
        self._scan()
        self._cached = frozenset(self._cache)
        self._ends = np.cumsum([len(file.starts) for file in self._files])
        self._check()

    @property
    def ends(self) -> list[int]:
        return self._ends.tolist()

    @property
    def overlap(self) -> int:
        stride, slowest = self._config.stride_seconds, min(file.fps for file in self._files)
        return max(0, math.ceil(self._config.num_frames / slowest / stride - 1e-6) - 1) if stride else 0

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        file = self._files[number]
        window = index - int(self._ends[number]) + len(file.starts)
        key = f"{file.name}#{file.starts[window]:.3f}"
        return Clip(self._video(number, window), file.fps, file.captions, key)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": {}}  # a worker process decodes for itself what it reads

    def _video(self, number: int, window: int) -> UInt8[np.ndarray, "T H W 3"]:
        config, file = self._config, self._files[number]
        path = Path(config.path, file.name)
        if number in self._cached:
            if number not in self._cache:
                decoded = decode(path, height=config.height, width=config.width)
                self._cache[number] = _windows(decoded, config.num_frames, file)
            cached = self._cache[number]
            return cached.images[cached.indices[window]]
        size = {"num_frames": config.num_frames, "height": config.height, "width": config.width}
        return read_video(path, **size, fps=file.fps, start_seconds=file.starts[window])

    def _scan(self) -> None:
        folder = Path(self._config.path)
        names = sorted(
            p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS
        )
        captions = read_captions(folder, names)
        for name in names:
            try:
                self._add(name, captions[name])
            except VideoError as error:
                self.skipped.append((name, error.reason))
                logging.warning("skipped %s: %s", folder / name, error.reason)
        if self.skipped:
            logging.warning("%d of %d files in %s skipped", len(self.skipped), len(names), folder)

    def _add(self, name: str, captions: Mapping[str, str]) -> None:
        config, path = self._config, Path(self._config.path, name)
        room = config.cache_bytes - sum(windows.images.nbytes for windows in self._cache.values())
        decoded = decode(path, height=config.height, width=config.width, max_bytes=float(room))
        file = _File(name, config.fps or decoded.fps, _starts(path, decoded, config), captions)
        if decoded.images:
            self._cache[len(self._files)] = _windows(decoded, config.num_frames, file)
        self._files.append(file)

    def _check(self) -> None:
        config = self._config
        if self._files:
            return
        what = f"no window of {config.num_frames} frames can be read in {config.path}"
        if self.skipped:
            name, reason = self.skipped[0]
            raise ValueError(f"{what}: {len(self.skipped)} files skipped, such as {name}: {reason}")
        raise ValueError(
            f"{what}: put videos ({', '.join(sorted(EXTENSIONS))}) in it, or name another folder"
        )


def _starts(path: Path, decoded: Decoded, config: FolderConfig) -> Float[np.ndarray, " N"]:
    fps = config.fps or decoded.fps
    seconds, room = config.num_frames / fps, decoded.room(config.num_frames, fps)
    if room <= 0:
        raise VideoError(
            path, f"it lasts {decoded.end:.3g} seconds, a window {seconds:.3g}; ask for fewer frames"
        )
    stride = config.stride_seconds or seconds
    count = math.ceil(room / stride)
    return np.linspace(0, count - 1, min(count, config.max_windows_per_file)).round() * stride


def _windows(decoded: Decoded, num_frames: int, file: _File) -> _Windows:
    indices = np.stack([decoded.indices(num_frames, file.fps, start) for start in file.starts])
    used, indices = np.unique(indices, return_inverse=True)
    images = np.stack([decoded.images[index] for index in used])
    return _Windows(images, indices.reshape(-1, num_frames))


@dataclasses.dataclass(frozen=True)
class TFDSConfig:
    """A TFDS data set of videos, prepared in ArrayRecord.

    Attributes:
      name: as TFDS knows it, with a config: `known_world/level0`.
      split: such as `train` or `train[:10%]`.
      data_dir: where it was prepared; TFDS's own folder by default.
      fps: frames per second of a set whose examples do not say.
    """

    name: str
    split: str
    data_dir: str | None = None
    fps: float | None = None


class TFDSSource:
    """A `ClipSource` of a TFDS data set, read without TensorFlow.

    An example has `video` (uint8 `[T,H,W,C]`, C of 1 for gray or 3), and may have `fps` and, as text or as
    text by level, `captions`, `caption` or `text`; lone text counts as "dense". Known worlds have it all.

    Raises:
      ValueError: if the set is not known or not prepared, or has no such `video` or no frame rate.
    """

    def __init__(self, config: TFDSConfig):
        # TFDS takes a second to import, which those who read a folder need not wait for.
        import tensorflow_datasets as tfds

        self._config = config
        self._to_clip = self._generic_clip
        if config.name.startswith("known_world"):
            from dit_jax.data import known_world_tfds  # registers the set with TFDS

            self._to_clip = known_world_tfds.to_clip
        try:
            builder = tfds.builder(config.name, data_dir=config.data_dir)
            self._examples = builder.as_data_source(config.split)
        except (ValueError, LookupError, NotImplementedError) as error:
            reason = str(error.args[0]).partition("\n")[0]
            raise ValueError(
                f"cannot read {config.name}, split {config.split}: {reason} "
                "(prepare it with tfds.builder(..., file_format='array_record').download_and_prepare())"
            ) from error
        self[0]  # so that a set without video is refused now

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Clip:
        clip = self._to_clip(self._examples[index])
        return dataclasses.replace(clip, key=clip.key or f"{self._config.name}/{self._config.split}/{index}")

    def _generic_clip(self, example: Mapping[str, Any]) -> Clip:
        video, fps = example.get("video"), example.get("fps", self._config.fps)
        if getattr(video, "dtype", None) != np.uint8 or video.ndim != 4 or video.shape[-1] not in (1, 3):
            raise ValueError(f"{self._config.name} has no uint8 [T,H,W,C] video, but {', '.join(example)}")
        if fps is None:
            raise ValueError(f"{self._config.name} does not say its frame rate; give fps")
        text = next((example[name] for name in ("captions", "caption", "text") if name in example), {})
        levels = text if isinstance(text, Mapping) else {"dense": text}
        captions = {level: caption.decode() for level, caption in levels.items()}
        rgb = np.broadcast_to(video, (*video.shape[:-1], 3))
        return Clip(rgb, float(fps), captions, example.get("key", b"").decode())
