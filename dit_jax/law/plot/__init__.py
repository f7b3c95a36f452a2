# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a law, in one style. A refused law still shows its runs."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl

from dit_jax.law.plot.compute import plot_allocation, plot_isoflop, plot_loss_compute
from dit_jax.law.plot.contours import plot_contours
from dit_jax.law.plot.holdout import plot_holdout
from dit_jax.law.plot.scene import Scene
from dit_jax.law.plot.settings import plot_settings
from dit_jax.law.plot.style import STYLE
from dit_jax.law.plot.surface import plot_floor, plot_predicted, plot_residuals
from dit_jax.law.predict import Law
from dit_jax.law.table import Table

PLOTS = {
    "isoflop": plot_isoflop,
    "loss_compute": plot_loss_compute,
    "allocation": plot_allocation,
    "contours": plot_contours,
    "predicted": plot_predicted,
    "residuals": plot_residuals,
    "floor": plot_floor,
    "settings": plot_settings,
    "holdout": plot_holdout,
}


def plot_all(
    law: Law, document: Mapping[str, Any], folder: str | os.PathLike[str], others: Table | None = None
) -> None:
    """Writes a PNG for each of `PLOTS` that has something to show, and removes old ones of those that have not.

    Args:
      law: as fitted; nothing is fitted here.
      document: what `dit_jax.law.document.describe` says of it.
      folder: gets the files, and is made.
      others: more runs of the same source, numbered alike: held out, left out as diverged, or at another lr or
        batch. Those that were fitted may be among them, so that the whole table can be given.
    """
    folder, scene = pathlib.Path(folder), Scene(law, document, others)
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in PLOTS.items():
        path = folder / f"{name}.png"
        with mpl.rc_context(STYLE):
            figure = plot(scene)
            if figure is None:
                path.unlink(missing_ok=True)
            else:
                figure.savefig(path)
