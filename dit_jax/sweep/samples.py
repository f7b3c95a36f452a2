# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Clips drawn for held-out captions: written beside the real ones, and scored where the world is known."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.data.captions import caption_at
from dit_jax.data.clip import Clip
from dit_jax.data.known_world_captions import PALETTE, colours_in
from dit_jax.data.video_io import write_film_strip, write_video
from dit_jax.evaluate.world_score import colour_set, exact_match
from dit_jax.files import write_whole
from dit_jax.generate import Generator, Videos, load
from dit_jax.sweep.grid import SweepConfig

BATCH = 32
SHOWN_PIXELS = 128  # least height of a clip in a file made to be looked at


def make_samples(
    config: ConfigDict,
    folder: str | pathlib.Path,
    run_folder: str | pathlib.Path,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Draws clips for the captions of validation clips, and scores them.

    Args:
      config: of the sweep.
      folder: of the sweep; `samples/` in it gets an mp4 for each shown clip (drawn left, real right), a film
        strip of all shown, and `scores.json`.
      run_folder: of the run whose checkpoint draws.
      progress: told of the share done.

    Returns:
      The scores; empty but for known worlds. Where the data are latents nothing is drawn.
    """
    sweep = build.construct(SweepConfig, config.sweep, "sweep")
    if config.data.source == "latents":
        return {}  # there is nothing real to draw beside
    source = build.clip_source(config, "validation")
    clips = [source[i] for i in range(min(len(source), sweep.num_samples))]
    captions = [caption_at(clip.captions, build.caption_level(config)) for clip in clips]
    model = load(run_folder)
    drawn = _in_batches(lambda part, first: model(captions[part], seed=first), len(clips), progress)
    output = pathlib.Path(folder) / "samples"
    output.mkdir(exist_ok=True)
    _show(output, clips[: sweep.num_shown], drawn, captions)
    scores = _scores(model, clips, drawn, captions) if config.data.source == "known_world" else {}
    write_whole(output / "scores.json", json.dumps(scores, indent=1) + "\n")
    return scores


def _in_batches(draw: Callable[[slice, int], Videos], count: int, progress: Callable) -> Videos:
    """Results of `draw` for `count` items, in batches of one size so that it compiles once."""
    size, parts = min(BATCH, count), []
    for first in range(0, count, size):
        start = min(first, count - size)
        parts.append(draw(slice(start, start + size), start)[first - start :])
        progress(min(first + size, count) / count)
    return np.concatenate(parts)


def _show(output: pathlib.Path, clips: list[Clip], drawn: Videos, captions: list[str]) -> None:
    rows, labels = [], []
    for index, clip in enumerate(clips):
        scale = max(1, SHOWN_PIXELS // clip.video.shape[1])
        rows += [drawn[index], clip.video]
        labels += [f"drawn: {captions[index] or '(no caption)'}", "real"]
        pair = np.concatenate([drawn[index], clip.video], 2).repeat(scale, 1).repeat(scale, 2)
        write_video(output / f"{index:02d}.mp4", pair, clip.fps)
    write_film_strip(output / "strip.png", rows, labels, max(1, SHOWN_PIXELS // 2 // clips[0].video.shape[1]))


def _scores(model: Generator, clips: list[Clip], drawn: Videos, captions: list[str]) -> dict[str, Any]:
    """Exact colour sets of what was drawn, of the real clips, and of these through the autoencoder."""
    wanted = [colours_in(caption) for caption in captions]
    real = np.stack([clip.video for clip in clips])
    decoded = _in_batches(lambda part, _: model.reconstruct(real[part]), len(clips), lambda share: None)
    score = lambda videos: exact_match([colour_set(v, PALETTE) for v in videos], wanted)  # noqa: E731
    return {
        "clips": len(clips),
        "colours_exact": score(drawn),
        "colours_exact_real": score(real),
        "colours_exact_reconstructed": score(decoded),
    }
