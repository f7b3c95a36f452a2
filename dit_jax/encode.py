# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips to latents, once, so that every run of a sweep reads the same ones."""

import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.data.clip import ClipSource
from dit_jax.data.latents_io import write_latents
from dit_jax.program import make_encoder

BATCH = 32
SPLITS = ("train", "validation")


def latents_folder(folder: str | pathlib.Path, split: str) -> pathlib.Path:
    """Where the latents of a split lie in a run's or sweep's folder."""
    return pathlib.Path(folder) / "latents" / split


def encode(
    config: ConfigDict,
    folder: str | pathlib.Path,
    split: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pathlib.Path:
    """Writes the latents of a split of `config.data`, unless they are there already.

    Args:
      config: `data` and `autoencoder` are read.
      folder: of the run; the latents go to `latents_folder(folder, split)`.
      split: `train` or `validation`.
      progress: told of (clips done, clips in all).

    Raises:
      ValueError: the source is endless: nothing to encode once and for all.
    """
    path = latents_folder(folder, split)
    if path.exists():
        return path
    source = build.clip_source(config, split)
    weights = build.autoencoder_path(config, folder)
    model, stats = build.autoencoder(config, folder)
    metadata = {
        "autoencoder_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "source": config.data.to_dict(),
        "split": split,
    }
    elements = _elements(source, jax.jit(make_encoder(model, stats)), progress)
    write_latents(path, elements, metadata)
    return path


def _elements(source: ClipSource, encoder: Callable, progress: Callable) -> Iterator[dict[str, Any]]:
    for first in range(0, len(source), BATCH):
        clips = [source[i] for i in range(first, min(first + BATCH, len(source)))]
        video = np.stack([clip.video for clip in clips])
        padded = np.pad(video, [(0, BATCH - len(clips)), *[(0, 0)] * 4])  # one shape, one compile
        for clip, latents in zip(clips, np.asarray(encoder(padded))):
            yield {"latents": latents, "captions": clip.captions, "key": clip.key}
        progress(first + len(clips), len(source))
