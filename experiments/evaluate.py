# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The paired validation loss of a run's newest checkpoint, as JSON.

python -m experiments.evaluate --run=runs/quickstart/trials/TRIAL
"""

import json

from absl import flags

from dit_jax import build
from dit_jax.generate import load
from dit_jax.program import program
from dit_jax.run import evaluate, whole
from experiments.cli import run

RUN = flags.DEFINE_string("run", None, "folder of a run", required=True)


def main() -> None:
    model = load(RUN.value)
    source = build.latents_source(build.latents_folder(model.config, RUN.value, "validation"))
    compiled = program(model.config, RUN.value)
    print(json.dumps(evaluate(compiled, model.params, whole(model.config, source)), indent=1))


if __name__ == "__main__":
    run(main)
