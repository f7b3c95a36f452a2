# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One training run, from a config to a row of the record."""

import hashlib
import importlib.metadata
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.backbone.patchify import token_grid
from dit_jax.data.loader import Loader
from dit_jax.encode import encode, latents_folder
from dit_jax.evaluate.loss_grid import summarise_loss_grid
from dit_jax.program import Program, program
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.loop import Diverged, Progress, train
from dit_jax.train.metrics import MetricWriter
from dit_jax.train.optimizer import Horizon
from dit_jax.train.state import TrainState

CHECKPOINTS = "checkpoints"
TRAIN_FACTOR = 3  # FLOPs of a training step over those of its forward pass


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
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder)
    compiled = program(config, folder)
    loader, validation = _data(config, folder)
    latent_shape = validation["latents"].shape[1:]
    row = _describe(config, compiled, latent_shape)
    checkpointer = Checkpointer(folder / CHECKPOINTS)
    try:
        state = _train(config, compiled, loader, checkpointer, folder, progress)
        row |= evaluate(compiled, state.ema, validation)
        row["status"] = "finished" if np.isfinite(row["loss"]) else "diverged"
    except Diverged:
        row |= {"status": "diverged", "loss": None, "loss_se": None}
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


def evaluate(compiled: Program, params: Any, validation: dict[str, np.ndarray]) -> dict[str, float]:
    """The paired validation loss of `params`, see `summarise_loss_grid`."""
    errors = compiled.loss_grid(params, validation["latents"], validation["text_ids"])
    return summarise_loss_grid(np.asarray(errors))


def _data(config: ConfigDict, folder: pathlib.Path) -> tuple[Loader, dict[str, np.ndarray]]:
    """The loader of training batches, and the validation set whole."""
    hosts = dict(process_index=jax.process_index(), process_count=jax.process_count())
    if config.data.source == "latents":
        folder = (folder / config.data.path).resolve()
    else:
        encode(config, folder, "validation")
    if config.data.source == "known_world" and config.data.num_clips is None:
        source = build.clip_source(config, "train")  # fresh clips for ever, encoded in the step
    else:
        if config.data.source != "latents":
            encode(config, folder, "train")
        source = build.latents_source(latents_folder(folder, "train"))
    held_out = build.latents_source(latents_folder(folder, "validation"))
    return build.loader(config, source, config.seed, **hosts), whole(config, held_out)


def whole(config: ConfigDict, source: Any) -> dict[str, np.ndarray]:
    """The elements of a small source as arrays: `latents`, and `text_ids` of the densest captions."""
    tokenize = build.tokenizer(config)
    elements = [source[i] for i in range(min(len(source), config.evaluate.num_clips))]
    return {
        "latents": np.stack([element["latents"] for element in elements]),
        "text_ids": np.stack([tokenize(element["captions"].get("dense", "")) for element in elements]),
    }


def _describe(config: ConfigDict, compiled: Program, latent_shape: tuple[int, ...]) -> dict[str, Any]:
    """What is known of a run before it starts."""
    forward = build.forward_flops(config, latent_shape)
    samples = config.train.total_steps * config.loader.batch_size
    num_tokens = num_tokens_per_clip(config, latent_shape)
    return {
        "trial": config.get("trial", "run"),
        "seed": config.seed,
        "config_sha256": hashlib.sha256(config.to_json(sort_keys=True).encode()).hexdigest()[:16],
        "code_version": importlib.metadata.version("dit_jax"),
        "backbone": config.backbone.name,
        "width": config.backbone.width,
        "depth": config.backbone.depth,
        "params_total": compiled.params_total,
        "params_active": compiled.params_active,
        "latent_shape": list(latent_shape),
        "tokens_per_clip": num_tokens,
        "tokens_seen": samples * num_tokens,
        "steps": config.train.total_steps,
        "flops": TRAIN_FACTOR * samples * sum(forward.values()),
        "flops_by_part": {part: TRAIN_FACTOR * samples * value for part, value in forward.items()},
        "lr": config.optimizer.lr,
        "batch": config.loader.batch_size,
        "warmup": config.optimizer.warmup_steps,
        "schedule": config.optimizer.schedule,
        "data": config.data.source,
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
    }


def num_tokens_per_clip(config: ConfigDict, latent_shape: tuple[int, ...]) -> int:
    """Video tokens of a clip."""
    return int(np.prod(token_grid(latent_shape, tuple(config.backbone.patch))))


def write_config(config: ConfigDict, folder: pathlib.Path) -> None:
    """Writes `config.json`."""
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n")


def read_config(folder: str | pathlib.Path) -> ConfigDict:
    """The config of a run's folder.

    Raises:
      FileNotFoundError: the folder is not a run's.
    """
    path = pathlib.Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json: give the folder of a run")
    return ConfigDict(json.loads(path.read_text()))
