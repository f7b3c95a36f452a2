# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a video autoencoder, with the trainer that trains everything else."""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree, UInt8
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.arrays import Key, Scalar
from dit_jax.autoencoder.files import save_autoencoder
from dit_jax.autoencoder.latents import measure_latents
from dit_jax.autoencoder.losses import autoencoder_loss
from dit_jax.autoencoder.model import Autoencoder
from dit_jax.data.clip import ClipSource
from dit_jax.evaluate.fidelity import psnr
from dit_jax.mesh import make_mesh
from dit_jax.pixels import as_pixels
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.loop import LoopConfig, Progress, train
from dit_jax.train.metrics import MetricWriter
from dit_jax.train.optimizer import Horizon, make_optimizer
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import Metrics, make_train_steps

BATCH = 16


def train_autoencoder(
    config: ConfigDict, folder: str | pathlib.Path, progress: Progress = lambda step, loss: None
) -> dict[str, float]:
    """Trains the autoencoder of `config.autoencoder` on `config.data`, or goes on with it.

    Args:
      config: its `autoencoder`, `autoencoder_loss`, `autoencoder_optimizer`, `data` and `mesh`.
      folder: gets `autoencoder.safetensors` (the moving average and the latents' statistics), and the run in
        `autoencoder/`.
      progress: told of (steps done, latest loss).

    Returns:
      `psnr` in dB on held-out clips, with its standard error `psnr_se`, and `clips` and `steps`.
    """
    folder = pathlib.Path(folder)
    sizes, weights = build.autoencoder_config(config), build.section(config, "autoencoder_loss")
    optimizer = build.section(config, "autoencoder_optimizer")
    make = lambda rngs: Autoencoder(sizes, rngs=rngs)  # noqa: E731
    graph, _ = abstract_module(make)

    def loss(params: PyTree, batch: dict[str, jax.Array], key: Key) -> tuple[Scalar, Metrics]:
        return autoencoder_loss(merge_module(graph, params), as_pixels(batch["video"]), key, weights)

    params = _train(config, folder / "autoencoder", make, loss, optimizer, progress)
    model = merge_module(graph, params)
    stats = measure_latents(_encoded(model, build.clip_source(config, "train")))
    scores = _score(model, build.clip_source(config, "validation"))
    save_autoencoder(build.autoencoder_path(config, folder), model, stats, np.float16)
    return {**scores, "steps": config.autoencoder.steps}


def _train(config, folder, make, loss, optimizer, progress) -> PyTree:
    total = config.autoencoder.steps
    # One step at a time: convolutions inside a loop are fifteen times slower on XLA's CPU backend.
    loop = LoopConfig(total_steps=total, chunk_steps=1, save_every_steps=max(1, total // 8))
    mesh = make_mesh(build.section(config, "mesh"))
    init, abstract = make_init(make, make_optimizer(optimizer), mesh)
    loader_config = ConfigDict(config.to_dict())
    loader_config.loader.batch_size = config.autoencoder.batch_size
    hosts = dict(process_index=jax.process_index(), process_count=jax.process_count())
    loader = build.loader(loader_config, build.clip_source(config, "train"), config.seed, **hosts)
    checkpointer, writer = Checkpointer(folder / "checkpoints"), None
    try:
        state = init(jax.random.key(config.seed))
        if checkpointer.latest_step is not None:
            state, position = checkpointer.restore(abstract)
            loader.restore(position)
        writer = MetricWriter(folder, int(state.step))
        horizon = Horizon(optimizer.lr, optimizer.warmup_steps, total, config.seed)
        return train(
            make_train_steps(loss, optimizer, abstract),
            state,
            loader,
            horizon,
            loop,
            mesh=mesh,
            checkpointer=checkpointer,
            writer=writer,
            progress=progress,
        ).ema
    finally:
        for resource in (checkpointer, loader, writer):
            if resource is not None:
                resource.close()


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
