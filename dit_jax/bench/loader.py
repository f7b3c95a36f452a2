# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast data comes: clips to the device, frames from a video, and what of a step is spent waiting."""

import dataclasses
import pathlib
import tempfile
import time
from typing import Any

import jax
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from ml_collections import ConfigDict

from dit_jax import prompts
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.bench.measure import measured
from dit_jax.data.clips_io import QUALITY, ClipsSource, encode_clip, shard_name, write_description
from dit_jax.data.latents_io import LatentsSource, write_latents
from dit_jax.data.loader import Loader, LoaderConfig
from dit_jax.data.transforms import ToElement
from dit_jax.data.video_decode import Frames
from dit_jax.data.video_io import write_video
from dit_jax.diffusion.objective import ObjectiveConfig
from dit_jax.evaluate.loss_grid import LossGridConfig
from dit_jax.mesh import MeshConfig, place_batch
from dit_jax.program import program
from dit_jax.prompts import ByteText
from dit_jax.text.byte import ByteTextConfig
from dit_jax.train.optimizer import Horizon, OptimizerConfig

CLIP = (16, 64, 64, 3)
LATENTS = (4, 8, 8, 16)  # of such a clip
FRAMES, HEIGHT, WIDTH = 96, 480, 854
TEXT = ByteTextConfig(max_bytes=96)
DIT_S = DiTConfig(in_channels=LATENTS[-1], text_width=TEXT.width)
WORDS = "a red ball rolls to the left"


def loader_rate(
    batch_size: int = 64, num_batches: int = 40, repeats: int = 5, num_clips: int = 512
) -> dict[str, Any]:
    """Clips a second, uint8 16x64x64, from ArrayRecord to arrays on the device.

    `per_cpu_second` says what a second of one core's time moves, which other work on the machine disturbs less.
    """
    with tempfile.TemporaryDirectory() as folder:
        _write_clips(pathlib.Path(folder), num_clips)
        settings = LoaderConfig(batch_size, prefetch_batches=4)
        batches = Loader(ClipsSource(folder), _to_element(), settings)
        timed = [_seconds(batches, num_batches) for _ in range(repeats + 1)][1:]
        batches.close()
    clips = batch_size * num_batches
    busy = float(np.median([clips / cpu for _, cpu in timed]))
    more = dict(per_cpu_second=busy, clip=list(CLIP), batch_size=batch_size)
    return measured("loader", "clips/s", [clips / wall for wall, _ in timed], **more)


def decode_rate(clip: str | None = None, repeats: int = 5) -> dict[str, Any]:
    """Frames a second of H.264 on one core, to RGB.

    Args:
      clip: a video; by default one of moving noise, 480 pixels high, is made.
      repeats: runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = clip or f"{folder}/clip.mp4"
        if clip is None:
            write_video(path, _moving_noise(), 24.0)
        rates, size = [], None
        for _ in range(repeats):
            started, count = time.process_time(), 0
            for timed in Frames(path):
                image = timed.frame.to_ndarray(format="rgb24")
                count, size = count + 1, image.shape
            rates.append(count / (time.process_time() - started))
    return measured("decode", "frames/s per core", rates, frame=list(size))


def waiting_share(model: DiTConfig = DIT_S, steps: int = 8, batch_size: int = 8) -> dict[str, Any]:
    """Share of a training step that is spent waiting for the next batch of latents.

    Args:
      model: by default DiT-S/2 of Peebles and Xie: width 384, 12 blocks, 6 heads.
      steps: timed, after one that compiles.
      batch_size: clips.
    """
    config = _config(model)
    compiled = program(config)
    with tempfile.TemporaryDirectory() as folder:
        _write_latents(pathlib.Path(folder, "set"), 256)
        source = LatentsSource(pathlib.Path(folder, "set"))
        batches = Loader(
            source, ToElement({"dense": 1.0}, prompts.text(config).reader), LoaderConfig(batch_size)
        )
        state, horizon = compiled.init(jax.random.key(0)), Horizon(1e-4, 10, 1000, 0)
        waits, seconds = [], []
        for _ in range(steps + 1):
            started = time.perf_counter()
            batch = {name: array[None] for name, array in next(batches).items()}
            waits.append(time.perf_counter() - started)
            state, _ = compiled.steps(state, place_batch(batch, compiled.mesh, leading=1), horizon)
            jax.block_until_ready(state.step)
            seconds.append(time.perf_counter() - started)
        batches.close()
    shares = [wait / whole for wait, whole in zip(waits, seconds)][1:]
    return measured("waiting", "share of a step", shares, step_seconds=float(np.median(seconds[1:])))


CASES = {"loader": loader_rate, "decode": decode_rate, "waiting": waiting_share}


def _seconds(batches: Loader, count: int) -> tuple[float, float]:
    """On the clock and of the process's cores, for some batches to be on the device."""
    started, cpu, arrays = time.perf_counter(), time.process_time(), None
    for _ in range(count):
        arrays = jax.device_put(next(batches))
    jax.block_until_ready(arrays)
    return time.perf_counter() - started, time.process_time() - cpu


def _to_element() -> ToElement:
    return ToElement({"dense": 1.0}, ByteText(TEXT).reader)


def _write_clips(folder: pathlib.Path, count: int) -> None:
    rng, num_bytes = np.random.default_rng(0), 0
    caption = {"level": "dense", "text": WORDS, "source": "bench"}
    writer = ArrayRecordWriter(str(folder / shard_name(0, 1)), "group_size:1")
    for k in range(count):
        clip = {
            "video": rng.integers(0, 256, CLIP, np.uint8),
            "fps": 8.0,
            "key": str(k),
            "file": "",
            "captions": [],
        }
        quality = dict.fromkeys(QUALITY, 0.0)
        record = encode_clip({**clip, "start_seconds": 0.0, "captions": [caption], "quality": quality})
        writer.write(record)
        num_bytes += len(record)
    writer.close()
    write_description(folder, [count], num_bytes)


def _write_latents(folder: pathlib.Path, count: int) -> None:
    rng = np.random.default_rng(0)
    elements = (
        {"latents": rng.normal(size=LATENTS), "captions": {"dense": WORDS}, "key": str(k)}
        for k in range(count)
    )
    write_latents(folder, elements, {})


def _moving_noise() -> np.ndarray:
    """Blurred noise that drifts: neither still nor incompressible, as film is."""
    coarse = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8 + FRAMES, 3), np.uint8)
    image = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([image[:, 3 * k : 3 * k + WIDTH] for k in range(FRAMES)])


def _config(model: DiTConfig) -> ConfigDict:
    sections = {
        "backbone": model,
        "text": TEXT,
        "objective": ObjectiveConfig(),
        "optimizer": OptimizerConfig(),
        "evaluate": LossGridConfig(),
        "mesh": MeshConfig(),
    }
    config = ConfigDict({name: dataclasses.asdict(value) for name, value in sections.items()})
    config.backbone.name = "dit"
    config.data = ConfigDict({"source": "latents"})
    return config
