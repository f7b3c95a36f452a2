# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a video autoencoder, with the trainer that trains everything else."""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.autoencoder.files import save_autoencoder
from dit_jax.autoencoder.latents import measure_latents
from dit_jax.autoencoder.model import Autoencoder
from dit_jax.autoencoder.stages import StageConfig
from dit_jax.data.clip import ClipSource
from dit_jax.data.loader import Loader
from dit_jax.evaluate.fidelity import psnr
from dit_jax.hosts import is_first, wait, whole
from dit_jax.pixels import as_pixels
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.loop import LoopConfig, Progress, train
from dit_jax.train.metrics import MetricWriter
from dit_jax.train.optimizer import Horizon
from dit_jax.train.state import TrainState, merge_module
from dit_jax.trainee import Trainee, trainee

BATCH = 16
CHECKPOINTS = pathlib.Path("autoencoder", "checkpoints")


def train_autoencoder(
    config: ConfigDict, folder: str | pathlib.Path, progress: Progress = lambda step, loss: None
) -> dict[str, float]:
    """Trains the autoencoder of `config.autoencoder` on `config.data`, or goes on with it.

    Args:
      config: its `autoencoder`, `autoencoder_loss`, `autoencoder_optimizer`, `discriminator`, `data` and `mesh`.
      folder: gets `autoencoder.safetensors` (the moving average and the latents' statistics), and the run in
        `autoencoder/`.
      progress: told of (steps done, latest loss).

    Returns:
      `psnr` in dB on held-out clips, with its standard error `psnr_se` as of clips that share no frame, and
      `clips` and `steps`. (`evaluate_autoencoder` says more.)
    """
    folder = pathlib.Path(folder)
    trained = trainee(config)
    state = _train(config, folder, trained, progress)
    model = merge_module(trained.graphs["autoencoder"], whole(state.ema["autoencoder"]))
    stats = measure_latents(_encoded(model, build.clip_source(config, "train")))
    scores = _score(model, build.clip_source(config, "validation"))
    if is_first():
        save_autoencoder(build.autoencoder_path(config, folder), model, stats, np.float16)
    wait("autoencoder written")
    return {**scores, "steps": config.autoencoder.steps}


def _train(config: ConfigDict, folder: pathlib.Path, trained: Trainee, progress: Progress) -> TrainState:
    optimizer, total = build.section(config, "autoencoder_optimizer"), config.autoencoder.steps
    horizon = Horizon(optimizer.lr, optimizer.warmup_steps, total, config.seed)
    checkpointer, writer = Checkpointer(folder / CHECKPOINTS), None
    try:
        if checkpointer.latest_step is None:
            state, position = trained.init(jax.random.key(config.seed)), None
        else:
            state, position = checkpointer.restore(trained.abstract)
        writer = MetricWriter(folder / CHECKPOINTS.parent, int(state.step))
        tools = dict(mesh=trained.mesh, checkpointer=checkpointer, writer=writer, progress=progress)
        for stop, stage, steps in trained.stages:
            if state.step >= stop:
                continue
            loader = _loader(config, stage)
            if position:
                loader.restore(position)
            try:
                state = train(steps, state, loader, horizon, _loop(stop, total), **tools)
            finally:
                position = loader.state()
                loader.close()
        return state
    finally:
        for resource in (checkpointer, writer):
            if resource is not None:
                resource.close()


def _loop(stop: int, total: int) -> LoopConfig:
    # One step at a time: convolutions inside a loop are fifteen times slower on XLA's CPU backend.
    return LoopConfig(total_steps=stop, chunk_steps=1, save_every_steps=max(1, total // 8))


def _loader(config: ConfigDict, stage: StageConfig) -> Loader:
    hosts = dict(process_index=jax.process_index(), process_count=jax.process_count())
    return build.loader(config, build.clip_source(config, "train"), config.seed, stage, **hosts)


def _batches(source: ClipSource, num_clips: int = 512) -> Iterator[UInt8[Array, "B T H W C"]]:
    """Whole batches of up to `num_clips` clips; one batch, of what there is, where there are fewer."""
    count = min(len(source), num_clips)
    size = min(BATCH, count)
    for first in range(0, count - size + 1, size):
        yield jnp.asarray(np.stack([source[first + i].video for i in range(size)]))


def _encoded(model: Autoencoder, source: ClipSource) -> Iterator[jax.Array]:
    graph, params = nnx.split(model)
    encode = jax.jit(lambda params, video: nnx.merge(graph, params).encode(as_pixels(video)))
    return (encode(params, video) for video in _batches(source))


def _score(model: Autoencoder, source: ClipSource) -> dict[str, float]:
    reconstruct = jax.jit(lambda video: psnr(jnp.clip(model(as_pixels(video)), -1, 1), as_pixels(video)))
    values = np.concatenate([np.asarray(reconstruct(video)) for video in _batches(source)])
    error = values.std(ddof=1) / np.sqrt(len(values))
    return {"psnr": float(values.mean()), "psnr_se": float(error), "clips": len(values)}
