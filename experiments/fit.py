# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fits a scaling law to runs: records of a sweep, or any CSV with params,tokens,flops,loss.

python -m experiments.fit --runs=runs/quickstart/records.jsonl --out=law --target_flops=1e13,1e14

Writes law.json and plots/. Exit code 3: no law can be had from these runs; law.json says why.
"""

import pathlib

from absl import flags

from dit_jax.law import LawRefused, Questions, describe, fit_law, read_table, write_law
from dit_jax.law.page import show
from dit_jax.law.predict import LAWS
from dit_jax.law.slices import ESTIMATORS
from experiments.cli import run

RUNS = flags.DEFINE_string("runs", None, "records.jsonl or a CSV", required=True)
OUT = flags.DEFINE_string("out", None, "directory for law.json and plots/", required=True)
TARGETS = flags.DEFINE_list("target_flops", [], "budgets; without it ten times the largest run")
LAW = flags.DEFINE_enum("law", None, LAWS, "predict by this one alone, not by those that apply")
DELTA = flags.DEFINE_float("huber_delta", None, "in log loss, to redo a published fit", lower_bound=1e-9)
ISOFLOP = flags.DEFINE_enum("isoflop", None, ESTIMATORS, "how vertices are found; parabola: as published")
DRAWS = flags.DEFINE_integer("draws", 1000, "of the bootstrap", lower_bound=100)
SEED = flags.DEFINE_integer("seed", 0, "of the bootstrap")
SIZES = flags.DEFINE_list("params", [], "sizes that are given: how far to train each")
SERVED = flags.DEFINE_float("inference_tokens", None, "to be served: the cheapest size then")
PRECISION = flags.DEFINE_float("precision", None, "sd of log loss wanted: the runs it needs")


def main() -> None:
    table = read_table(RUNS.value)
    targets = _numbers(TARGETS) or [10 * float(table.flops.max(initial=0.1))]
    asked = Questions(_numbers(SIZES), SERVED.value, PRECISION.value)
    law = fit_law(table, DRAWS.value, SEED.value, LAW.value, DELTA.value, ISOFLOP.value)
    document = describe(law, targets, asked=asked, measured=table)
    out = pathlib.Path(OUT.value)
    write_law(out / "law.json", document)
    from dit_jax.law.plot import plot_all  # once the law is safe: drawing takes longer to load than to fit

    plot_all(law, document, out / "plots", others=table)
    show(document, out)
    if document["status"] == "refused":
        raise LawRefused(f"no law: {', '.join(document['flags'])}; see {out / 'law.json'}")


def _numbers(flag: flags.FlagHolder) -> list[float]:
    try:
        return [float(text) for text in flag.value]
    except ValueError:
        raise ValueError(f"--{flag.name} has {flag.value}: give numbers such as 1e24,1e25") from None


if __name__ == "__main__":
    run(main, {LawRefused: 3})
