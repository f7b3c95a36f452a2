# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One run: a backbone, or (--config.autoencoder.train=True) first the autoencoder under it.

python -m experiments.train --config=configs/known_world.py --workdir=runs/known_world
"""

import contextlib
import json
import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from dit_jax import build
from dit_jax.dry_run import dry_run
from dit_jax.hosts import is_first
from dit_jax.record import append_record
from dit_jax.run import run as train
from dit_jax.sweep.display import watched
from dit_jax.sweep.lock import FolderLock
from dit_jax.tracing import keep_compiled, traced
from dit_jax.train.loop import Progress
from dit_jax.train_autoencoder import train_autoencoder
from experiments.cli import define_config, run

CONFIG = define_config("known_world.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/train", "folder for everything that comes out")
ONLY_AUTOENCODER = flags.DEFINE_bool("autoencoder_only", False, "stop when the autoencoder is trained")

PROFILE = flags.DEFINE_bool("profile", False, "trace a few steps into WORKDIR/profile, for TensorBoard")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print how the clips fall into batches, by size, and stop")


def main() -> int:
    config, folder, console = CONFIG.value, pathlib.Path(WORKDIR.value), Console(soft_wrap=True)
    if DRY_RUN.value:
        heading, *rows = dry_run(config, folder)
        table = Table(*heading)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return 0
    build.check(config, build.latent_shape(config, folder))
    if config.data.source != "latents":
        build.warn_of_cut_captions(config, folder)
    keep_compiled(folder)
    with FolderLock(folder) if is_first() else contextlib.nullcontext():
        if config.autoencoder.train and not build.autoencoder_path(config, folder).exists():
            steps = config.autoencoder.steps
            scores = watched("autoencoder", steps, lambda told: train_autoencoder(config, folder, told))
            console.print(f"autoencoder: {json.dumps(scores)}")
            console.print(f"written: {build.autoencoder_path(config, folder)}")
        if ONLY_AUTOENCODER.value:
            return 0
        row = watched("training", config.train.total_steps, lambda told: _train(config, folder, told))
        if is_first():
            append_record(folder / "records.jsonl", row)
    console.print(f"{row['status']}: loss {row['loss']} ± {row['loss_se']} after {row['flops']:.3g} FLOPs")
    console.print(f"written: {folder / 'records.jsonl'}, {folder / 'checkpoints'}")
    return 0 if row["status"] == "finished" else 1


def _train(config: ConfigDict, folder: pathlib.Path, told: Progress) -> dict[str, Any]:
    if not PROFILE.value:
        return train(config, folder, told)
    with traced(told, folder) as progress:
        return train(config, folder, progress)


if __name__ == "__main__":
    run(main, several_processes=True)
