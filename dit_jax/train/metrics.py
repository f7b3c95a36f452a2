# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics to TensorBoard event files."""

import pathlib
from collections.abc import Mapping

import jax
import numpy as np


class MetricWriter:
    """Scalars by step, for TensorBoard; of several processes the first writes.

    Args:
      directory: of the event file.
      resumed_step: what an earlier process wrote from this step on is hidden, for it is done again.
    """

    def __init__(self, directory: str | pathlib.Path, resumed_step: int = 0):
        from tensorboardX import SummaryWriter  # takes seconds to import where PyTorch is installed

        self._writer = SummaryWriter(
            str(directory), purge_step=resumed_step, flush_secs=30, write_to_disk=jax.process_index() == 0
        )

    def write(self, first_step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Writes the metrics of consecutive steps, an array of one value per step each."""
        for name, values in metrics.items():
            for offset, value in enumerate(np.atleast_1d(values)):
                self._writer.add_scalar(name, float(value), first_step + offset)

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()
