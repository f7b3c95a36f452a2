# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is worth on held-out clips, as JSON.

python -m experiments.evaluate --run=runs/quickstart/trials/TRIAL

gives the paired validation loss of a run's newest checkpoint;

python -m experiments.evaluate --config=configs/video_autoencoder.py --config.data.path=DIR --workdir=DIR

the fidelity of the config's autoencoder (PSNR, SSIM, flicker), beside codecs that learn nothing.
"""

import json
import pathlib
from typing import Any

from absl import flags

from dit_jax import build
from dit_jax.evaluate_autoencoder import evaluate_autoencoder
from dit_jax.files import write_whole
from dit_jax.generate import load
from dit_jax.interop.r3d18 import load_r3d18
from dit_jax.program import program
from dit_jax.run import evaluate
from experiments.cli import define_config, run

CONFIG = define_config("known_world.py")
RUN = flags.DEFINE_string("run", None, "folder of a run whose backbone to evaluate")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run whose autoencoder to evaluate")
R3D18 = flags.DEFINE_string(
    "r3d18", None, "weights of torchvision's r3d_18, for a Fréchet distance: fvd_r3d18"
)
OUT = flags.DEFINE_string("out", None, "file for the JSON as well")


def main() -> None:
    if (RUN.value is None) == (WORKDIR.value is None):
        raise ValueError("give either --run, for a backbone, or --workdir with --config, for an autoencoder")
    text = json.dumps(_backbone(RUN.value) if RUN.value else _autoencoder(), indent=1)
    print(text)
    if OUT.value:
        write_whole(OUT.value, text + "\n")


def _backbone(folder: str) -> dict[str, Any]:
    model = load(folder)
    source = build.latents_source(build.latents_folder(model.config, folder, "validation"))
    return evaluate(program(model.config, folder), model.params, build.held_out(model.config, source))


def _autoencoder() -> dict[str, Any]:
    networks = {"r3d18": load_r3d18(R3D18.value)} if R3D18.value else {}
    return evaluate_autoencoder(CONFIG.value, pathlib.Path(WORKDIR.value), networks)


if __name__ == "__main__":
    run(main)
