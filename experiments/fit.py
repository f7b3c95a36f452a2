# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fits a scaling law to runs: records of a sweep, or any CSV with params,tokens,flops,loss.

python -m experiments.fit --runs=runs/quickstart/records.jsonl --out=law --target_flops=1e13,1e14
"""

import pathlib

from absl import flags
from rich.console import Console
from rich.table import Table

from dit_jax.law import LawRefused, law_json, read_table, write_law
from experiments.cli import run

RUNS = flags.DEFINE_string("runs", None, "records.jsonl or a CSV", required=True)
OUT = flags.DEFINE_string("out", None, "directory for law.json and plots/", required=True)
TARGETS = flags.DEFINE_list("target_flops", [], "budgets to predict; without it, ten times the largest run's")


def main() -> None:
    table = read_table(RUNS.value)
    targets = [_number(text) for text in TARGETS.value] or [10 * float(table.flops.max(initial=0.1))]
    law = law_json(table, targets)
    out = pathlib.Path(OUT.value)
    write_law(out / "law.json", law)
    from dit_jax.law.plot import plot_all  # once the law is safe: drawing takes longer to load than to fit

    plot_all(table, law, out / "plots")
    _show(law, out)
    if law["status"] == "refused":
        raise LawRefused(f"no law: {', '.join(law['flags'])}; see {out / 'law.json'}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--target_flops has {text!r}: give numbers such as 1e24,1e25") from None


def _show(law: dict, out: pathlib.Path) -> None:
    console = Console(soft_wrap=True)
    rows = law["rows"]
    flags_text = f" ({', '.join(law['flags'])})" if law["flags"] else ""
    console.print(f"{rows['used']} runs, {len(rows['dropped'])} left out: {law['status']}{flags_text}")
    shown = Table("FLOPs", "parameters", "tokens", "loss", "95 % interval", box=None)
    for one in law["predictions"]:
        sizes = ["-" if one[key] is None else f"{one[key]:.3g}" for key in ("params", "tokens")]
        low, high = one["loss_pi95"]
        shown.add_row(f"{one['flops']:.3g}", *sizes, f"{one['loss']:.4g}", f"{low:.4g} to {high:.4g}")
    console.print(shown)
    console.print(f"written: {out / 'law.json'}, {out / 'plots'}")


if __name__ == "__main__":
    run(main, {LawRefused: 3})
