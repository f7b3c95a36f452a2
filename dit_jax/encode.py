# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips to latents, once, so that every run of a sweep reads the same ones.

A split is encoded in parts of a fixed size, each written whole or not at all: any number of processes share
the work, an interrupted one goes on, and the result does not depend on either.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.data.clip import ClipSource
from dit_jax.data.latents_io import read_metadata, write_latents
from dit_jax.program import make_encoder

BATCH = 32
PART = 1024  # clips


def num_parts(config: ConfigDict, split: str) -> int:
    """Parts that a split of `config.data` is encoded in."""
    return math.ceil(len(build.clip_source(config, split)) / PART)


def encode(
    config: ConfigDict, folder: str | pathlib.Path, splits: Sequence[str] = ("train", "validation")
) -> None:
    """Writes whatever is missing of the latents of some splits of `config.data`."""
    for split in splits:
        for part in range(num_parts(config, split)):
            encode_part(config, folder, split, part)


def encode_part(
    config: ConfigDict,
    folder: str | pathlib.Path,
    split: str,
    part: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes one part of the latents of a split, unless it is there already.

    Args:
      config: `data` and `autoencoder` are read.
      folder: of the run; the latents go to `build.latents_folder(config, folder, split)`.
      split: `train` or `validation`.
      part: from 0.
      progress: told of (clips done, clips in this part).

    Raises:
      ValueError: what is there was made of other data or by another autoencoder.
    """
    path = build.latents_folder(config, folder, split) / f"{part:05d}-of-{num_parts(config, split):05d}"
    source = build.clip_source(config, split)
    weights = build.autoencoder_path(config, folder)
    metadata = {
        "autoencoder_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "source": json.loads(json.dumps(config.data.to_dict())),
        "split": split,
    }
    if path.exists():
        _check_same(path, metadata)
        return
    clips = range(part * PART, min((part + 1) * PART, len(source)))
    encoder = _encoder(str(weights))
    try:
        write_latents(path, _elements(source, clips, encoder, progress), metadata)
    except OSError:
        if not path.exists():  # else another process was faster, with the same result
            raise


def _check_same(path: pathlib.Path, metadata: Mapping[str, Any]) -> None:
    there = read_metadata(path)
    for name, mine in metadata.items():
        if there.get(name) != mine:
            raise ValueError(f"{path} was encoded with another {name}: use another --workdir")


def _encoder(weights: str) -> Callable:
    model, stats = build.load_autoencoder(weights)
    return jax.jit(make_encoder(model, stats))


def _elements(
    source: ClipSource, indices: range, encoder: Callable, progress: Callable
) -> Iterator[dict[str, Any]]:
    for first in range(0, len(indices), BATCH):
        clips = [source[i] for i in indices[first : first + BATCH]]
        video = np.stack([clip.video for clip in clips])
        padded = np.pad(video, [(0, BATCH - len(clips)), *[(0, 0)] * 4])  # one shape, one compile
        for clip, latents in zip(clips, np.asarray(encoder(padded))):
            yield {"latents": latents, "captions": clip.captions, "key": clip.key}
        progress(first + len(clips), len(indices))
