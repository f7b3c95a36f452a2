# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An isoFLOP sweep, its law, and the held-out budget that tests it; or architectures at equal FLOPs.

The same command goes on where an earlier one was stopped.

python -m experiments.sweep --config=configs/quickstart.py --workdir=runs/sweep
python -m experiments.sweep --config=configs/architectures.py --workdir=runs/architectures
"""

from absl import flags
from rich.console import Console

from dit_jax.law import LawRefused
from dit_jax.sweep.comparison import Comparison, comparison_table
from dit_jax.sweep.display import paths, trial_table, verdict
from dit_jax.sweep.sweep import Sweep
from experiments.cli import define_config, run

FLAGS = flags.FLAGS
EXIT_CODES = {LawRefused: 3}
CONFIG = define_config("quickstart.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "folder for everything that comes out")


def main() -> None:
    if "architectures" in CONFIG.value:
        compare()
    else:
        fit()


def compare() -> None:
    sweep = Comparison(CONFIG.value, WORKDIR.value)
    document, console = sweep.run(), Console(width=max(Console().width, 140))
    console.print(comparison_table(document))
    for name in ("comparison.json", "records.jsonl", "plots/architectures.png"):
        console.print(sweep.folder / name, highlight=False, soft_wrap=True)


def fit() -> None:
    sweep = Sweep(CONFIG.value, WORKDIR.value)
    result = sweep.run()
    console = Console(width=max(Console().width, 100))  # the table needs as much, also in a log
    console.print(trial_table(sweep.rows))
    for line in (*verdict(result), *paths(sweep.folder, result)):
        console.print(line, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run(main, EXIT_CODES)
