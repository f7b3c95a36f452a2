# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One training run, from a config to a row of the record."""

import hashlib
import importlib.metadata
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.data.loader import Loader
from dit_jax.encode import encode
from dit_jax.evaluate.loss_grid import summarise_loss_grid
from dit_jax.files import claim
from dit_jax.interop.own import trained_parameters
from dit_jax.program import Program, program
from dit_jax.remat import device_bytes, with_remat
from dit_jax.sweep.flops import workload
from dit_jax.train.checkpoint import CHECKPOINTS, Checkpointer
from dit_jax.train.loop import Diverged, Progress, train
from dit_jax.train.metrics import MetricWriter
from dit_jax.train.optimizer import Horizon
from dit_jax.train.state import TrainState, inherit


def run(
    config: ConfigDict, folder: str | pathlib.Path, progress: Progress = lambda step, loss: None
) -> dict[str, Any]:
    """Trains and evaluates one model in `folder`, or goes on where an earlier process stopped.

    Args:
      config: of the run.
      folder: gets `config.json`, `checkpoints/` and TensorBoard's event file.
      progress: told of (steps done, latest loss).

    Returns:
      A row for the record (see `record`), with status `finished` or `diverged`.
    """
    started = time.monotonic()
    folder = pathlib.Path(folder)
    claim(config, folder)
    compiled = program(with_remat(config, build.latent_shape(config, folder), device_bytes()), folder)
    loader, validation, num_clips = _data(config, folder)
    row = describe(config, folder)
    if num_clips is not None:
        row["unique_tokens"] = min(row["tokens_seen"], round(num_clips * row["tokens_per_clip"]))
    checkpointer = Checkpointer(folder / CHECKPOINTS)
    try:
        state = _train(config, compiled, loader, checkpointer, folder, progress)
        row |= evaluate(compiled, state.ema, validation)
        row |= loader.counts()
        row["status"] = "finished" if np.isfinite(row["loss"]) else "diverged"
    except Diverged as error:
        row |= {"status": "diverged", "loss": None, "loss_se": None, "error": str(error)}
    finally:
        checkpointer.close()
        loader.close()
    row["seconds"] = time.monotonic() - started
    return row


def _train(
    config: ConfigDict,
    compiled: Program,
    loader: Loader,
    checkpointer: Checkpointer,
    folder: pathlib.Path,
    progress: Progress,
) -> TrainState:
    if checkpointer.latest_step is None:
        state = compiled.init(jax.random.key(config.seed))
        if config.get("init"):
            state = compiled.begin(inherit(state.params, trained_parameters(config.init)))
    else:
        state, position = checkpointer.restore(compiled.abstract)
        loader.restore(position)
    writer = MetricWriter(folder, int(state.step))
    optimizer = build.section(config, "optimizer")
    loop = build.section(config, "train")
    horizon = Horizon(optimizer.lr, optimizer.warmup_steps, loop.total_steps, config.seed)
    try:
        return train(
            compiled.steps,
            state,
            loader,
            horizon,
            loop,
            mesh=compiled.mesh,
            checkpointer=checkpointer,
            writer=writer,
            progress=progress,
        )
    finally:
        writer.close()


def evaluate(
    compiled: Program, params: Any, validation: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, float]:
    """The paired validation loss of `params`, see `summarise_loss_grid`.

    Args:
      compiled: the program.
      params: of the denoiser.
      validation: batches of `latents` and what conditions them, each of one size.
    """
    errors = []
    for batch in validation:
        cond = jax.device_put(dict(batch), NamedSharding(compiled.mesh, PartitionSpec()))
        errors.append(np.asarray(compiled.loss_grid(params, cond.pop("latents"), cond)))
    return summarise_loss_grid(np.concatenate(errors, 1))


def _data(config: ConfigDict, folder: pathlib.Path) -> tuple[Loader, list[dict[str, np.ndarray]], int | None]:
    """The loader of training batches, the validation set whole, and the number of distinct clips."""
    hosts = dict(process_index=jax.process_index(), process_count=jax.process_count())
    endless = build.is_endless(config)
    if config.data.source != "latents":
        encode(config, folder, ("validation",) if endless else ("train", "validation"))
    if endless:
        source = build.clip_source(config, "train")  # fresh clips for ever, encoded in the step
    else:
        source = build.latents_source(build.latents_folder(config, folder, "train"))
    held_out = build.latents_source(build.latents_folder(config, folder, "validation"))
    loader = build.loader(config, source, config.seed, **hosts)
    return loader, build.held_out(config, held_out), None if endless else len(source)


def describe(config: ConfigDict, folder: str | pathlib.Path) -> dict[str, Any]:
    """What a run's row says before it starts."""
    compiled, work = program(config, folder), workload(config, folder)
    return {
        "trial": config.get("trial", "run"),
        "seed": config.seed,
        "config_sha256": hashlib.sha256(config.to_json(sort_keys=True).encode()).hexdigest()[:16],
        "code_version": importlib.metadata.version("dit_jax"),
        "backbone": config.backbone.name,
        **{name: config[name] for name in ("architecture", "init") if config.get(name)},
        "width": config.backbone.width,
        "depth": config.backbone.depth,
        "params_total": compiled.params_total,
        "params_active": compiled.params_active,
        "latent_shape": list(build.latent_shape(config, folder)),
        "tokens_per_clip": work.tokens_per_clip,
        "tokens_seen": round(work.clips * work.tokens_per_clip),
        "steps": config.train.total_steps,
        "flops": sum(work.flops_by_part.values()),
        "flops_by_part": work.flops_by_part,
        "lr": config.optimizer.lr,
        "batch": config.loader.batch_size,
        "warmup": config.optimizer.warmup_steps,
        "schedule": config.optimizer.schedule,
        "data": config.data.source,
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
    }
