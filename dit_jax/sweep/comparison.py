# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep over architectures: each at its own sizes, all at the same budgets, on the same latents.

`config.architectures` has, for each, the sections of the config in which it differs: `backbone` whole, of the
others single keys.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from rich.table import Table

from dit_jax import build
from dit_jax.files import claim, write_whole
from dit_jax.law.compare import compare
from dit_jax.record import read_records
from dit_jax.sections import nearest
from dit_jax.sweep.engine import Engine
from dit_jax.sweep.grid import SweepConfig, isoflop_grid
from dit_jax.sweep.lock import FolderLock
from dit_jax.sweep.sweep import RECORD, Sweep

COMPARISON = "comparison.json"


class Comparison(Sweep):
    """A sweep over architectures in a folder; see `Sweep`.

    Raises:
      ValueError: a config that cannot run, or the folder of another sweep.
    """

    def __init__(self, config: ConfigDict, folder: str | pathlib.Path):
        names = list(config.architectures)
        if config.reference not in names:
            raise ValueError(
                f"config.reference={config.reference!r} is unknown; {nearest(config.reference, names)}"
            )
        super().__init__(config, folder)

    def _grid(self) -> list[ConfigDict]:
        trials = []
        for name, sections in self.config.architectures.items():
            base = self._architecture(name, sections)
            settings = build.construct(SweepConfig, base.sweep, f"architectures.{name}.sweep")
            grid = isoflop_grid(base, settings, self.latent_shape)
            for run in grid:
                run.trial, run.architecture = f"{name}-{run.trial}", name
            trials += grid
        return sorted(trials, key=lambda run: -run.budget_flops)

    def _architecture(self, name: str, sections: Mapping[str, Any]) -> ConfigDict:
        base = self._trial_base()
        del base.architectures, base.reference
        for section, values in sections.items():
            if section != "backbone" and section not in base:
                raise ValueError(
                    f"config.architectures.{name}.{section} is unknown; {nearest(section, list(base))}"
                )
            if section == "backbone":
                base.backbone = ConfigDict(values)
            else:
                base[section].update(values)
        return base

    def run(self) -> dict[str, Any]:
        """Does whatever of the comparison is not done yet.

        Returns:
          The document of `comparison.json`, see `law.compare`.

        Raises:
          ValueError: the folder is another sweep's, or in use, or the reference did not finish.
        """
        with FolderLock(self.folder) as lock:
            claim(self.config, self.folder)
            with Engine(self.settings.workers, self.folder / "workers", (lock.descriptor,)) as engine:
                self._prepare(engine)
                self._run_trials(engine, "trials", self.trials, "fit")
        rows = read_records(self.folder / RECORD)[0]
        document = compare(rows, self.config.reference)
        write_whole(self.folder / COMPARISON, json.dumps(document, indent=1) + "\n")
        from dit_jax.law.plot.comparison import plot_comparison  # matplotlib takes a second to import

        plot_comparison(document, rows, self.folder / "plots" / "architectures.png")
        return document


def comparison_table(document: Mapping[str, Any]) -> Table:
    """What each architecture reached at each budget, and its worth in the reference's compute."""
    table = Table(
        title=f"architectures at equal FLOPs, against {document['reference']}", title_justify="left"
    )
    for name in ("architecture", "budget", "width", "params", "loss", "± se", "worth", "95 %", "seconds", ""):
        table.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    for entry in sorted(document["entries"], key=lambda e: (e["flops"], e["loss"])):
        between = entry["compute_worth_ci95"]
        table.add_row(
            entry["architecture"],
            f"{entry['flops']:.2g}".replace("e+", "e"),
            str(entry["width"]),
            f"{entry['params']:,}",
            f"{entry['loss']:.4f}",
            "" if entry["loss_se"] is None else f"{entry['loss_se']:.4f}",
            f"{entry['compute_worth']:.2f}",
            "" if between is None else f"{between[0]:.2f} to {between[1]:.2f}",
            f"{entry['seconds']:.0f}",
            ", ".join(entry["flags"]),
        )
    return table
