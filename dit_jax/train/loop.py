# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loop: batches to steps, with metrics, progress and checkpoints."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from dit_jax.mesh import place_batch
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.metrics import MetricWriter
from dit_jax.train.optimizer import Horizon
from dit_jax.train.state import TrainState

Progress = Callable[[int, float], None]  # steps done, latest loss


@runtime_checkable
class Batches(Protocol):
    """A loader: an endless iterator of batches whose position can be saved, and what it has to tell."""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def __next__(self) -> dict[str, np.ndarray]: ...
    def state(self) -> dict[str, Any]: ...
    def counts(self) -> dict[str, int]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to look up.

    Attributes:
      total_steps: of the run.
      chunk_steps: steps that run as one program, between two looks at the host; divides `total_steps`.
      save_every_steps: a multiple of `chunk_steps`; the last step is always saved.
      max_skipped_steps: more steps than this without a finite loss or gradient end the run.
    """

    total_steps: int = 1000
    chunk_steps: int = 10
    save_every_steps: int = 1000
    max_skipped_steps: int = 10

    def __post_init__(self):
        if self.total_steps < 1 or self.chunk_steps < 1 or self.save_every_steps < 1:
            raise ValueError(f"steps must be positive: {dataclasses.asdict(self)}")
        for name in ("total_steps", "save_every_steps"):
            if getattr(self, name) % self.chunk_steps:
                raise ValueError(
                    f"{name}={getattr(self, name)} is not a multiple of chunk_steps={self.chunk_steps}: "
                    "choose one that is"
                )


class Diverged(RuntimeError):
    """Too many steps had no finite loss or gradient."""


def train(
    steps: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    state: TrainState,
    batches: Batches,
    horizon: Horizon,
    config: LoopConfig,
    *,
    mesh: Mesh,
    checkpointer: Checkpointer,
    writer: MetricWriter,
    progress: Progress = lambda step, loss: None,
) -> TrainState:
    """Trains `state` to `config.total_steps`, saving as it goes.

    Args:
      steps: from `make_train_steps`.
      state: where to begin; donated.
      batches: positioned at the state's step.
      horizon: what the schedule and the keys depend on.
      config: of the loop.
      mesh: where batches are placed.
      checkpointer: told at every `save_every_steps` and at the end.
      writer: told every step's metrics.
      progress: told of every chunk.

    Raises:
      Diverged: more than `config.max_skipped_steps` steps were not finite; nothing of it is saved.
    """
    pending = None  # metrics are read one chunk late, so that the device never waits for the host
    for first in range(int(state.step), config.total_steps, config.chunk_steps):
        chunk = _stack([next(batches) for _ in range(config.chunk_steps)])
        state, metrics = steps(state, place_batch(chunk, mesh, leading=1), horizon)
        if pending is not None:
            _report(*pending, writer, progress)
        pending = (first, metrics)
        done = first + config.chunk_steps
        if done % config.save_every_steps == 0 or done == config.total_steps:
            _check_finite(state, config)
            checkpointer.save(state, batches.state())
            writer.write(done - 1, {name: np.asarray([count]) for name, count in batches.counts().items()})
    if pending is not None:
        _report(*pending, writer, progress)
    return state


def _stack(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len({tuple(array.shape for array in batch.values()) for batch in batches}) > 1:
        raise ValueError(
            f"chunk_steps={len(batches)} takes batches of one shape, and these are of several: set "
            "config.train.chunk_steps=1, or pack the clips"
        )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


def _report(first: int, metrics: dict[str, jax.Array], writer: MetricWriter, progress: Progress) -> None:
    values = {name: np.asarray(value) for name, value in metrics.items()}
    writer.write(first, values)
    progress(first + len(values["loss"]), float(values["loss"][-1]))


def _check_finite(state: TrainState, config: LoopConfig) -> None:
    if int(state.skipped) > config.max_skipped_steps:
        raise Diverged(
            f"{int(state.skipped)} of {int(state.step)} steps had no finite loss or gradient, more than "
            f"max_skipped_steps={config.max_skipped_steps}: lower the learning rate"
        )
