# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast this machine is, as JSON and a picture: steps, growth, checkpoints, loader.

python -m experiments.bench --out=bench.json
python -m experiments.bench --out=bench.json --only=train_S,sample_S,loader

Steps are measured in turn with those of PyTorch and diffusers, where they are installed (make parity).
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterator

import jax
from absl import flags
from rich.console import Console

from configs import known_world
from dit_jax.bench import loader
from dit_jax.bench.checkpoint import checkpoint_case
from dit_jax.bench.growth import growth_case
from dit_jax.bench.measure import run_cases
from dit_jax.bench.plot import plot_bench
from dit_jax.bench.sizes import SIZES
from dit_jax.bench.steps import Rounds, step_case
from dit_jax.bench.works import WORKS
from dit_jax.files import write_whole
from experiments.cli import run

OUT = flags.DEFINE_string("out", "bench.json", "file for the result; a plot is written beside it")
ONLY = flags.DEFINE_list("only", [], "cases to measure; all by default")
CLIP = flags.DEFINE_string("clip", None, "video for the case decode; by default one is made")
ROUNDS = flags.DEFINE_integer("rounds", 7, "turns of each, ours and the peers'", lower_bound=1)
SECONDS = flags.DEFINE_float(
    "seconds", 300.0, "of a case, after which no further round begins", lower_bound=0.0
)
DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "bfloat16"],
    "of the computation; by default float32 on a CPU, bfloat16 elsewhere",
)
PEERS = flags.DEFINE_bool("peers", True, "measure PyTorch and diffusers beside ours")
# An autoencoder does at S as many FLOPs as ten networks at L.
SIZES_OF = {work: ("S",) if work == "autoencoder" else tuple(SIZES) for work in WORKS}


def main() -> None:
    console = Console(soft_wrap=True)
    out, told = pathlib.Path(OUT.value), []
    out.parent.mkdir(parents=True, exist_ok=True)

    def report(row: dict) -> None:
        """Written as it comes, so that what was measured outlives an interruption."""
        told.append(row)
        console.print(_line(row), highlight=False)
        write_whole(out, json.dumps({"version": 1, "machine": machine(), "cases": told}, indent=2) + "\n")

    rows = run_cases(cases(), ONLY.value, report)
    plot_bench(rows, out.with_suffix(".png"))
    console.print(f"written: {out}, {out.with_suffix('.png')}")


def cases() -> dict:
    config, rounds = known_world.get_config(), ROUNDS.value
    told = Rounds(rounds, SECONDS.value, _cpus(), PEERS.value)
    made = {**loader.CASES, "decode": functools.partial(loader.decode_rate, CLIP.value)}
    made["checkpoint"] = functools.partial(checkpoint_case, config, rounds)
    for dial in ("tokens", "width", "depth", "batch"):
        made[f"growth_{dial}"] = functools.partial(growth_case, dial, config, told)
    for work, names in SIZES_OF.items():
        for name in names:
            size = dataclasses.replace(SIZES[name], dtype=_dtype())
            made[f"{work}_{name}"] = functools.partial(step_case, work, name, size, config, told)
    return made


def _dtype() -> str:
    return DTYPE.value or ("float32" if jax.default_backend() == "cpu" else "bfloat16")


def machine() -> dict:
    """What the figures are of."""
    device = jax.devices()[0]
    return {
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "cpus": _cpus(),
        "processor": _processor(),
        "versions": dict(sorted(_versions())),
    }


def _processor() -> str:
    found = pathlib.Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _versions() -> Iterator[tuple[str, str]]:
    for name in ("dit_jax", "jax", "jaxlib", "torch", "diffusers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _line(row: dict) -> str:
    line = f"{row['name']}: {row['value']:.4g} {row['unit']} ({row['min']:.4g} to {row['max']:.4g})"
    if row.get("ratio"):
        line += f", {row['ratio']:.2f} x the speed of {row['fastest_peer']}"
    if "share_of_matmul_peak" in row:
        line += f", {row['share_of_matmul_peak']:.0%} of a matmul's"
    if "exponent" in row:
        line += (
            f", time ~ FLOPs^{row['exponent']:.2f} ({row['exponent_low']:.2f} to {row['exponent_high']:.2f})"
        )
    return line


if __name__ == "__main__":
    run(main)
