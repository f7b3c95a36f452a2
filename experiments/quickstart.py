# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The main job, small: a sweep, its law, a held-out budget predicted and then measured, samples, plots.

python -m experiments.quickstart
python -m experiments.quickstart --config=configs/clips.py --config.data.path=DIR --workdir=runs/mine
"""

from experiments import sweep
from experiments.cli import run

if __name__ == "__main__":
    sweep.FLAGS.set_default("workdir", "runs/quickstart")
    run(sweep.main, sweep.EXIT_CODES)
