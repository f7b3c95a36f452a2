# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Prepares a data set, once: videos into clips, or clips into latents. Resumable.

python -m experiments.encode --config.stage=clips --config.ingest.path=DIR --workdir=runs/clips
python -m experiments.encode --config=configs/known_world.py --workdir=runs/latents

The first cuts a folder, CSV or JSONL manifest or TFDS data set of videos into clips, for runs with
--config.data.source=clips --config.data.path=runs/clips/clips (see docs/data.md); the second is for
--config.data.source=latents.
"""

import pathlib

from absl import flags
from rich.console import Console

from dit_jax import build
from dit_jax.encode import encode_watched
from dit_jax.ingest import Ingest, IngestConfig, run_watched
from experiments.cli import define_config, run

CONFIG = define_config("known_world.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/latents", "folder; the latents or clips go to one in it")
PROCESS = flags.DEFINE_integer("process", 0, "which process this is, from 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "how many share the work, on any hosts")


def main() -> None:
    stages = {"latents": latents, "clips": clips}
    if (stage := CONFIG.value.stage) not in stages:
        raise ValueError(f"config.stage={stage!r} is unknown; {build.nearest(stage, list(stages))}")
    stages[stage](pathlib.Path(WORKDIR.value))


def clips(folder: pathlib.Path) -> None:
    config = build.construct(IngestConfig, CONFIG.value.ingest, "ingest")
    run_watched(Ingest(config, folder / "clips"), PROCESS.value, NUM_PROCESSES.value)
    Console().print(f"written: {folder / 'clips'}; why: report.jsonl in it", soft_wrap=True)


def latents(folder: pathlib.Path) -> None:
    encode_watched(CONFIG.value, folder, PROCESS.value, NUM_PROCESSES.value)
    Console().print(f"written: {folder / 'latents'}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
