# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Claim: with a base width, steps change what every layer puts out as much at any width; without, they do not.

The coordinate check of Yang et al. 2022, arXiv 2203.03466, appendix D.1.

python -m experiments.studies.coordinate_check --out=runs/coordinate_check
"""

import json
import pathlib

import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table as Shown

from dit_jax import build
from experiments.cli import run
from experiments.studies.coordinates import changes, config_at

BACKBONES = flags.DEFINE_list("backbones", sorted(build.BACKBONES), "which")
OPTIMIZER = flags.DEFINE_string("optimizer", "adamw", "one of OptimizerConfig's names")
WIDTHS = flags.DEFINE_list("widths", ["32", "128", "512"], "multiples of 8; the first is the base")
DEPTH = flags.DEFINE_integer("depth", 2, "blocks, or those of each level", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 4, "of training", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 2, "how many", lower_bound=1)
LR = flags.DEFINE_float("lr", 1e-3, "learning rate", lower_bound=0.0)
EPS = flags.DEFINE_float(
    "eps", 1e-12, "Adam's; less than the gradients of any layer at any width", lower_bound=0.0
)
OUT = flags.DEFINE_string("out", "runs/coordinate_check", "directory for BACKBONE.json and BACKBONE.png")


def measure(backbone: str, widths: list[int]) -> dict[str, dict[str, list[float]]]:
    """Changes of each layer at each width, with transfer and without."""
    found = {}
    for title, base in (("with transfer", widths[0]), ("without", 0)):
        optimizer = dict(name=OPTIMIZER.value, lr=LR.value, eps=EPS.value, base_width=base)
        configs = [config_at(backbone, width, DEPTH.value, **optimizer) for width in widths]
        told = [changes(one, STEPS.value, SEEDS.value) for one in track(configs, f"{backbone} {title}")]
        found[title] = {layer: [one[layer] for one in told] for layer in told[0]}
    return found


def spread(layers: dict[str, list[float]]) -> tuple[float, str]:
    """The largest ratio of a layer's changes between two widths, and the layer."""
    return max((max(values) / min(values), layer) for layer, values in layers.items())


def plot(found: dict[str, dict[str, list[float]]], widths: list[int], path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    for axis, (title, layers) in zip(axes, found.items(), strict=True):
        for layer, values in layers.items():
            bold = layer == "prediction"
            style = (
                dict(color="black", linewidth=2, label=layer)
                if bold
                else dict(color="tab:blue", alpha=0.5, linewidth=1)
            )
            axis.plot(widths, np.asarray(values) / values[0], zorder=2 + bold, **style)
        axis.axhspan(0.5, 2, color="grey", alpha=0.15, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="width", title=title)
        axis.set_xticks(widths, widths)
        ticks = [0.25, 0.5, 1, 2, 4, 8]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axes[0].set_ylabel(f"change of a layer's output\nin {STEPS.value} steps, over that at the base")
    axes[0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    widths, folder = [int(width) for width in WIDTHS.value], pathlib.Path(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    shown = Shown("backbone", "", "largest ratio between widths", "of", box=None)
    for backbone in BACKBONES.value:
        if backbone not in build.BACKBONES:
            raise ValueError(f"--backbones={backbone} is not one of {', '.join(sorted(build.BACKBONES))}")
        found = measure(backbone, widths)
        written = {
            "widths": widths,
            "steps": STEPS.value,
            "lr": LR.value,
            "depth": DEPTH.value,
            "change": found,
        }
        (folder / f"{backbone}.json").write_text(json.dumps(written, indent=1) + "\n")
        plot(found, widths, folder / f"{backbone}.png")
        for title, layers in found.items():
            shown.add_row(
                backbone, title, *(f"{one:.2f}" if i == 0 else one for i, one in enumerate(spread(layers)))
            )
    Console(width=120).print(shown)
    print(f"written: {folder}")


if __name__ == "__main__":
    run(main)
