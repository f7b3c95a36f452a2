# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast this machine is, as JSON.

python -m experiments.bench --out=bench.json
python -m experiments.bench --out=bench.json --only=loader,decode,waiting
"""

import functools
import json
import os
import pathlib

import jax
from absl import flags
from rich.console import Console

from dit_jax.bench import loader
from dit_jax.bench.measure import run_cases
from dit_jax.files import write_whole
from experiments.cli import run

OUT = flags.DEFINE_string("out", "bench.json", "file for the result")
ONLY = flags.DEFINE_list("only", [], "cases to measure; all by default")
CLIP = flags.DEFINE_string("clip", None, "video for the case decode; by default one is made")


def main() -> None:
    console = Console(soft_wrap=True)
    cases = {**loader.CASES, "decode": functools.partial(loader.decode_rate, CLIP.value)}
    rows = run_cases(cases, ONLY.value, lambda row: console.print(_line(row), highlight=False))
    machine = {
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    out = pathlib.Path(OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps({"machine": machine, "cases": rows}, indent=2) + "\n")
    console.print(f"written: {out}")


def _line(row: dict) -> str:
    return f"{row['name']}: {row['value']:.4g} {row['unit']} ({row['min']:.4g} to {row['max']:.4g})"


if __name__ == "__main__":
    run(main)
