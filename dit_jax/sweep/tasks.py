# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a sweep's workers can be asked to do. Arguments and results are JSON."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from dit_jax.encode import encode_part
from dit_jax.record import append_record
from dit_jax.run import run
from dit_jax.sweep.samples import make_samples
from dit_jax.train_autoencoder import train_autoencoder

Progress = Callable[[float, float], None]  # (share done, a detail such as the loss)


def _trial(config: dict[str, Any], folder: str, record: str, role: str, progress: Progress) -> dict:
    """Trains one trial and appends its row to the record."""
    config = ConfigDict(config)
    total = config.train.total_steps
    row = run(config, folder, lambda step, loss: progress(step / total, loss))
    row |= {"role": role, "budget_flops": config.budget_flops}
    append_record(record, row)
    return row


def _encode(config: dict[str, Any], folder: str, split: str, part: int, progress: Progress) -> None:
    encode_part(ConfigDict(config), folder, split, part, lambda done, total: progress(done / total, done))


def _autoencoder(config: dict[str, Any], folder: str, progress: Progress) -> dict[str, float]:
    config = ConfigDict(config)
    total = config.autoencoder.steps
    return train_autoencoder(config, folder, lambda step, loss: progress(step / total, loss))


def _samples(config: dict[str, Any], folder: str, run_folder: str, progress: Progress) -> dict[str, Any]:
    return make_samples(ConfigDict(config), folder, run_folder, lambda share: progress(share, 0.0))


TASKS: dict[str, Callable[..., Any]] = {
    "autoencoder": _autoencoder,
    "encode": _encode,
    "samples": _samples,
    "trial": _trial,
}
