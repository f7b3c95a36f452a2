# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A data set's clips into latents, once, for runs with --config.data.source=latents. Resumable.

python -m experiments.encode --config=configs/known_world.py --workdir=runs/latents
"""

import pathlib

from absl import flags
from rich.console import Console

from dit_jax import build
from dit_jax.encode import encode_part, num_parts
from dit_jax.sweep.display import Display
from dit_jax.sweep.engine import Task
from experiments.cli import define_config, run

CONFIG = define_config("known_world.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/latents", "folder; the latents go to latents/ in it")


def main() -> None:
    config, folder = CONFIG.value, pathlib.Path(WORKDIR.value)
    if build.is_endless(config):
        raise ValueError("config.data.num_clips=0 is endless: give the number of clips to encode")
    build.latent_shape(config, folder)
    parts = [(split, i) for split in ("train", "validation") for i in range(num_parts(config, split))]
    tasks = [Task(f"{split} {part}", "", {}) for split, part in parts]
    with Display("latents", tasks) as display:
        for task, (split, part) in zip(tasks, parts):
            encode_part(config, folder, split, part)
            display.update(task, {"event": "done"})
    Console().print(f"written: {folder / 'latents'}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
