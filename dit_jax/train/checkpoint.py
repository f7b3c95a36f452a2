# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run on disk: parameters, their average, the optimizer, the step and the loader's position together.

Each is an item of one Orbax step, so that `orbax.checkpoint` alone reads any of them:

    from orbax.checkpoint import v1 as ocp
    params = ocp.load("RUN/checkpoints/1000", checkpointable_name="ema")
"""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from dit_jax.train.state import TrainState

CHECKPOINTS = "checkpoints"  # in the folder of a run
TREES = ("params", "ema", "opt_state")
VERSION = 1


class Checkpointer:
    """Saves and restores a run in `directory`.

    A save is complete when `save` returns; a step that was cut short is not listed.

    Args:
      directory: made where it is missing; absolute or not.
      keep: latest steps to keep.
    """

    def __init__(self, directory: str | pathlib.Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._directory = pathlib.Path(directory).absolute()
        self._manager = ocp.CheckpointManager(self._directory, options=options, item_names=(*TREES, "run"))

    @property
    def latest_step(self) -> int | None:
        """The newest complete step, None when there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, position: dict[str, Any]) -> None:
        """Writes `state` and the loader's `position`; a step that is already there is left alone."""
        step = int(state.step)
        run = {"version": VERSION, "step": step, "skipped": int(state.skipped), "data": position}
        trees = {name: ocp.args.StandardSave(getattr(state, name)) for name in TREES}
        self._manager.save(step, args=ocp.args.Composite(**trees, run=ocp.args.JsonSave(run)))

    def restore(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest state, placed as `abstract` says, and the loader's position.

        Raises:
          FileNotFoundError: nothing was saved.
          ValueError: the checkpoint is of another version or another model.
        """
        step = self._require_step()
        trees = {name: ocp.args.StandardRestore(getattr(abstract, name)) for name in TREES}
        try:
            items = self._manager.restore(step, args=ocp.args.Composite(**trees, run=ocp.args.JsonRestore()))
        except (ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self._directory}: step {step} is of another model: {reason}") from error
        run = items["run"]
        if run["version"] != VERSION:
            raise ValueError(f"{self._directory}: version {run['version']}; this code reads {VERSION}")
        place = {
            name: jax.device_put(run[name], getattr(abstract, name).sharding) for name in ("step", "skipped")
        }
        place = {name: value.astype("int32") for name, value in place.items()}
        return TrainState(**place, **{name: items[name] for name in TREES}), run["data"]

    def load(self, item: str, abstract: PyTree) -> PyTree:
        """One tree (`params`, `ema` or `opt_state`) of the newest step."""
        arguments = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)})
        return self._manager.restore(self._require_step(), args=arguments)[item]

    def _require_step(self) -> int:
        if self.latest_step is None:
            raise FileNotFoundError(f"{self._directory} holds no checkpoint: give a run that has saved one")
        return self.latest_step

    def close(self) -> None:
        """Frees the manager's threads."""
        self._manager.close()
