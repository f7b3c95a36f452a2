# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Claim: with a base width, the learning rate that is best at one width is best at all; without, it moves.

Loss over learning rate at several widths on the known world (Yang et al. 2022, arXiv 2203.03466, figure 1).

python -m experiments.studies.lr_transfer --out=runs/lr_transfer
"""

import json
import pathlib

import numpy as np
from absl import flags
from ml_collections import ConfigDict
from rich.progress import track

from configs import known_world
from dit_jax.encode import encode
from dit_jax.run import run as train_one
from experiments.cli import run

WIDTHS = flags.DEFINE_list("widths", ["16", "32", "64", "128"], "multiples of 8; the first is the base")
EXPONENTS = flags.DEFINE_list(
    "exponents", ["-9", "-8", "-7", "-6", "-5", "-4", "-3"], "powers of two: learning rates"
)
OPTIMIZER = flags.DEFINE_string("optimizer", "adamw", "one of OptimizerConfig's names")
STEPS = flags.DEFINE_integer("steps", 200, "of each run; a multiple of 20", lower_bound=20)
SEEDS = flags.DEFINE_integer("seeds", 1, "runs of each", lower_bound=1)
OUT = flags.DEFINE_string(
    "out", "runs/lr_transfer", "directory for lr_transfer.json, lr_transfer.png and runs"
)
HEAD_DIM = 8  # at every width


def config_at(width: int, latents: pathlib.Path, **optimizer) -> ConfigDict:
    """The known world's config at a width, on latents that are there."""
    config = known_world.get_config()
    config.data.update(source="latents", path=str(latents))
    config.backbone.update(width=width, text_width=width, num_heads=width // HEAD_DIM)
    config.text.update(width=width, num_heads=width // HEAD_DIM)
    config.train.update(total_steps=STEPS.value, save_every_steps=STEPS.value)
    schedule = "constant" if OPTIMIZER.value == "schedule_free" else "cosine"
    config.optimizer.update(name=OPTIMIZER.value, schedule=schedule, **optimizer)
    return config


def measure(folder: pathlib.Path, widths: list[int], rates: list[float]) -> list[dict]:
    """A row for every run: width, base width, learning rate, seed and validation loss (None: diverged)."""
    encode(known_world.get_config(), folder)
    cases = [(width, base) for base in (widths[0], 0) for width in widths[(not base) :]]
    grid = [(*case, lr, seed) for case in cases for lr in rates for seed in range(SEEDS.value)]
    rows = []
    for width, base, lr, seed in track(grid, "runs"):
        config = config_at(width, (folder / "latents").absolute(), lr=lr, base_width=base)
        config.seed = seed
        row = train_one(config, folder / "trials" / f"{width}-{base}-{lr:.6f}-{seed}")
        rows.append({"width": width, "base_width": base, "lr": lr, "seed": seed, "loss": row["loss"]})
    return rows


def curves(rows: list[dict], widths: list[int], rates: list[float]) -> dict[str, dict[int, list[float]]]:
    """Mean loss over seeds at each rate, by width, with transfer and without; the base's is one."""

    def loss(width: int, base: int, lr: float) -> float:
        key = (width, widths[0] if width == widths[0] else base, lr)
        found = [row["loss"] for row in rows if (row["width"], row["base_width"], row["lr"]) == key]
        return float(np.mean([np.nan if one is None else one for one in found]))

    titles = {"with transfer": widths[0], "without": 0}
    return {title: {w: [loss(w, base, lr) for lr in rates] for w in widths} for title, base in titles.items()}


def plot(found: dict[str, dict[int, list[float]]], rates: list[float], path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    for axis, (title, by_width) in zip(axes, found.items(), strict=True):
        for i, (width, losses) in enumerate(by_width.items()):
            color, best = plt.cm.viridis(i / max(len(by_width) - 1, 1)), int(np.nanargmin(losses))
            axis.plot(rates, losses, color=color, marker=".", label=f"width {width}")
            axis.plot(rates[best], losses[best], color=color, marker="o", markersize=9)
        axis.set(xscale="log", xlabel="learning rate", title=title)
        axis.set_xscale("log", base=2)
    axes[0].set_ylabel("validation loss")
    axes[0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    widths, rates = [int(width) for width in WIDTHS.value], [2.0 ** int(e) for e in EXPONENTS.value]
    folder = pathlib.Path(OUT.value)
    rows = measure(folder, widths, rates)
    found = curves(rows, widths, rates)
    best = {title: {w: rates[int(np.nanargmin(v))] for w, v in one.items()} for title, one in found.items()}
    written = {"steps": STEPS.value, "optimizer": OPTIMIZER.value, "rows": rows, "best_lr": best}
    (folder / "lr_transfer.json").write_text(json.dumps(written, indent=1) + "\n")
    plot(found, rates, folder / "lr_transfer.png")
    for title, by_width in best.items():
        print(f"{title}: best learning rate " + ", ".join(f"{lr:.4f} at {w}" for w, lr in by_width.items()))
    print(f"written: {folder}")


if __name__ == "__main__":
    run(main)
