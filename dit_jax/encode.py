# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips to latents and text tokens, once, so that every run of a sweep reads the same ones.

A split is encoded in parts of a fixed size, each written whole or not at all: any number of processes and hosts
share the work, an interrupted one goes on, and the result does not depend on either.
"""

import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from dit_jax import build, prompts
from dit_jax.autoencoder.files import load_autoencoder
from dit_jax.data.captions import caption_at
from dit_jax.data.clip import Clip, ClipSource
from dit_jax.data.latents_io import read_metadata, write_latents
from dit_jax.data.transforms import MICRO
from dit_jax.program import make_encoder
from dit_jax.prompts import FrozenText
from dit_jax.sweep.display import Display
from dit_jax.sweep.engine import Task

BATCH = 32  # clips and captions
BATCH_PIXELS = 2**24  # in all frames of a batch
PART = 1024  # clips
SPLITS = ("train", "validation")

Progress = Callable[[int, int], None]  # clips done, clips in the part
Tokens = Float[np.ndarray, "_ E"]


def num_parts(config: ConfigDict, split: str, folder: str | pathlib.Path = ".") -> int:
    """Parts that a split of `config.data` is encoded in."""
    return math.ceil(len(build.encoded_clips(config, split, folder)) / PART)


def encode(config: ConfigDict, folder: str | pathlib.Path, splits: Sequence[str] = SPLITS) -> None:
    """Writes whatever is missing of the latents of some splits of `config.data`; several hosts each begin with
    a share of their own."""
    parts = [(split, part) for split in splits for part in range(num_parts(config, split, folder))]
    host, hosts = jax.process_index(), jax.process_count()
    for number in sorted(range(len(parts)), key=lambda number: (number % hosts != host, number)):
        encode_part(config, folder, *parts[number])


def encode_watched(
    config: ConfigDict, folder: str | pathlib.Path, process: int = 0, num_processes: int = 1
) -> None:
    """One process's share of the latents of both splits, under a progress bar.

    Args:
      config: see `encode_part`.
      folder: of all processes, on any hosts.
      process: this one, from 0.
      num_processes: that share the work.

    Raises:
      ValueError: the data are endless, or do not suit the autoencoder; or see `encode_part`.
    """
    if not 0 <= process < num_processes:
        raise ValueError(f"--process={process}; give one from 0, below --num_processes={num_processes}")
    if build.is_endless(config):
        raise ValueError("config.data.num_clips=0 is endless: give the number of clips to encode")
    build.latent_shape(config, folder)
    build.warn_of_cut_captions(config, folder)
    parts = [(split, part) for split in SPLITS for part in range(num_parts(config, split, folder))]
    tasks = [Task(f"{split} {part}", "", {}) for split, part in parts[process::num_processes]]
    with Display("latents", tasks) as display:
        for task, (split, part) in zip(tasks, parts[process::num_processes]):

            def progress(done: int, total: int, task: Task = task) -> None:
                display.update(task, {"event": "progress", "done": done / total, "detail": float(done)})

            encode_part(config, folder, split, part, progress)
            display.update(task, {"event": "done"})


def encode_part(
    config: ConfigDict,
    folder: str | pathlib.Path,
    split: str,
    part: int,
    progress: Progress = lambda done, total: None,
) -> None:
    """Writes one part of the latents of a split, unless it is there already.

    Args:
      config: `data`, `loader`, `autoencoder`, `text` and `frozen_text` are read.
      folder: of the run; the latents go to `build.latents_folder(config, folder, split)`.
      split: `train` or `validation`.
      part: from 0.
      progress: told of (clips done, clips in this part).

    Raises:
      ValueError: what is there was made of other data or by another autoencoder or text encoder.
    """
    source = build.encoded_clips(config, split, folder)
    name = f"{part:05d}-of-{math.ceil(len(source) / PART):05d}"
    path = build.latents_folder(config, folder, split) / name
    weights, text = build.autoencoder_path(config, folder), prompts.text(config)
    levels = build.caption_levels(config) if isinstance(text, FrozenText) else ()
    metadata = {
        "autoencoder_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "source": json.loads(json.dumps(config.data.to_dict())),
        "sizes": build.sizes_identity(config),
        "split": split,
        "text": text.identity(levels) if levels else None,
    }
    if path.exists():
        _check_same(path, metadata)
        return
    clips = range(part * PART, min((part + 1) * PART, len(source)))
    null_text = text.tokens([""])[0] if levels else None
    elements = _elements(source, clips, _encoder(str(weights)), text, levels, progress)
    try:
        write_latents(path, elements, metadata, null_text=null_text)
    except OSError:
        if not path.exists():  # else another process was faster, with the same result
            raise


def _check_same(path: pathlib.Path, metadata: Mapping[str, Any]) -> None:
    there = read_metadata(path)
    for name, mine in metadata.items():
        if there.get(name) != mine:
            raise ValueError(f"{path} was encoded with another {name}: use another --workdir")


@functools.lru_cache(maxsize=1)
def _encoder(weights: str) -> Callable:
    return jax.jit(make_encoder(*load_autoencoder(weights)))


def _elements(
    source: ClipSource,
    indices: range,
    encoder: Callable,
    text: Any,
    levels: Sequence[str],
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    for first in range(0, len(indices), BATCH):
        clips = [source[i] for i in indices[first : first + BATCH]]
        texts = {level: _text_tokens(clips, level, text) for level in levels}
        for k, (clip, latents) in enumerate(zip(clips, _latents(clips, encoder))):
            tokens = {level: texts[level][k] for level in levels}
            micro = {name: float(measure(clip)) for name, measure in MICRO.items()}
            about = {"captions": clip.captions, "key": clip.key, "micro": micro}
            yield {"latents": latents, "text": tokens, **about}
        progress(first + len(clips), len(indices))


def _latents(clips: Sequence[Clip], encoder: Callable) -> list[np.ndarray]:
    """Of each clip; those of one size are encoded together."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for k, clip in enumerate(clips):
        by_size.setdefault(clip.video.shape, []).append(k)
    latents: list[Any] = [None] * len(clips)
    for size, numbers in by_size.items():
        most = max(1, min(BATCH, BATCH_PIXELS // math.prod(size[:3])))
        for first in range(0, len(numbers), most):
            some = numbers[first : first + most]
            # One shape, one compile; among other sizes, whose batches are small, a few shapes.
            room = most if len(by_size) == 1 else min(most, 1 << (len(some) - 1).bit_length())
            video = np.stack([clips[k].video for k in some])
            padded = np.pad(video, [(0, room - len(some)), *[(0, 0)] * 4])
            for k, encoded in zip(some, np.asarray(encoder(padded))):
                latents[k] = encoded
    return latents


def _text_tokens(clips: Sequence[Clip], level: str, text: FrozenText) -> list[Tokens]:
    """Of each clip's caption of a level; captions that are the same are encoded once."""
    captions = [caption_at(clip.captions, level) for clip in clips]
    distinct = sorted(set(captions))
    padded = distinct + [""] * (BATCH - len(distinct))  # one shape, one compile
    tokens = dict(zip(distinct, text.tokens(padded)))
    return [tokens[caption] for caption in captions]
