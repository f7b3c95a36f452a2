# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The main job: a sweep, its law, the held-out budget predicted and then run, samples and plots.

Every stage leaves files and starts from what is there, so that the same command goes on wherever an earlier
one was stopped.
"""

import dataclasses
import json
import math
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.encode import num_parts
from dit_jax.files import claim, write_whole
from dit_jax.law.document import LawRefused, write_law
from dit_jax.law.document import describe as describe_law
from dit_jax.law.predict import Law, fit_law
from dit_jax.law.table import Table, read_table
from dit_jax.record import append_record, numbered_records, read_records
from dit_jax.run import describe
from dit_jax.sweep.display import Display
from dit_jax.sweep.engine import Engine, Task
from dit_jax.sweep.grid import SweepConfig, isoflop_grid, trial
from dit_jax.sweep.lock import FolderLock

RECORD = "records.jsonl"
LAW = "law.json"


class Sweep:
    """A sweep in a folder.

    Args:
      config: of the sweep.
      folder: gets everything (the README lists the files).

    Raises:
      ValueError: a config that cannot run, or the folder of another sweep.
    """

    def __init__(self, config: ConfigDict, folder: str | pathlib.Path):
        self.config = config
        self.folder = pathlib.Path(folder).absolute()
        if "sweep" not in config:
            raise ValueError("the config has no section `sweep`: start from configs/quickstart.py")
        self.settings = build.construct(SweepConfig, config.sweep, "sweep")
        self.latent_shape = build.latent_shape(config, self.folder)
        self.trials = self._grid()
        for run in self.trials:
            build.check(run, self.latent_shape)
        self._parts = self._count_parts()

    def _grid(self) -> list[ConfigDict]:
        return isoflop_grid(self._trial_base(), self.settings, self.latent_shape)

    def _count_parts(self) -> dict[str, int]:
        """Parts of each split to encode: none where `config.data` is latents already."""
        if self.config.data.source == "latents":
            return {}
        if build.is_endless(self.config):
            raise ValueError("config.data.num_clips=0: the runs of a sweep share their clips, give a number")
        sized = self._sized()
        build.warn_of_cut_captions(sized, self.folder)
        return {split: num_parts(sized, split, self.folder) for split in ("train", "validation")}

    def _sized(self) -> ConfigDict:
        """The sweep's config with the text and backbone of a trial, for what reads of them no width."""
        sized = ConfigDict(self.config.to_dict())
        sized.text, sized.backbone = self.trials[0].text, self.trials[0].backbone
        return sized

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the record so far."""
        path = self.folder / RECORD
        return read_records(path)[0] if path.exists() else []

    def run(self) -> dict[str, Any]:
        """Does whatever of the sweep is not done yet.

        Returns:
          `law` (the document), `heldout_row` (of the record) and `scores` (of the samples).

        Raises:
          LawRefused: no law could be fitted; the trials and `law.json` are there all the same.
          ValueError: the folder is another sweep's, or in use.
          RuntimeError: no trial of a budget finished.
        """
        with FolderLock(self.folder) as lock:
            claim(self.config, self.folder)
            with Engine(self.settings.workers, self.folder / "workers", (lock.descriptor,)) as engine:
                self._prepare(engine)
                self._run_trials(engine, "trials", self.trials, "fit")
                law = fit_law(self._tables()[0])
                heldout = self._heldout_trials(self._write(law))
                self._run_trials(engine, "held-out budget", heldout, "heldout")
                document = self._write(law, self._tables()[1])
                scores = self._samples(engine, heldout)
        self._plot(law, document)
        return {"law": document, "heldout_row": self._best(heldout), "scores": scores}

    def _trial_base(self) -> ConfigDict:
        """A trial's config, but for what its place in the grid sets."""
        base = ConfigDict(self.config.to_dict())
        given = self.config.data.source == "latents"
        base.data.path = str(self.folder / self.config.data.path) if given else "../../latents"
        base.data.source = "latents"
        base.autoencoder.update(train=False, path=f"../../{build.TRAINED}")
        return base

    def _prepare(self, engine: Engine) -> None:
        """The autoencoder and the latents."""
        config, folder = self.config.to_dict(), str(self.folder)
        weights = self.folder / build.TRAINED
        if self.config.autoencoder.train and not weights.exists():
            task = Task("autoencoder", "autoencoder", {"config": config, "folder": folder})
            score = self._do(engine, "autoencoder", [task])[0]
            write_whole(self.folder / "autoencoder.json", json.dumps(score, indent=1) + "\n")
        elif not weights.exists():
            write_whole(weights, build.autoencoder_path(self.config, self.folder).read_bytes())
        for partial in (self.folder / "latents").glob("*/.*"):
            shutil.rmtree(partial)  # of a writer that was killed: the lock says that none is at work
        encoding = self._sized()
        encoding.autoencoder.update(train=False, path=build.TRAINED)  # one autoencoder, whatever comes later
        arguments = dict(config=encoding.to_dict(), folder=folder)
        tasks = [
            Task(f"{split} {part}", "encode", dict(arguments, split=split, part=part))
            for split, parts in self._parts.items()
            for part in range(parts)
        ]
        self._do(engine, "latents", tasks)

    def _do(
        self,
        engine: Engine,
        title: str,
        tasks: Sequence[Task],
        done_before: float = 0.0,
        on_failure: Callable[[Task, str], None] | None = None,
    ) -> list[Any]:
        """Results of tasks; what a user can mend ends the sweep, and a failure does unless it is handled."""
        results: dict[str, Any] = {}
        with Display(title, tasks, done_before) as display:

            def on_event(task: Task, event: dict[str, Any]) -> None:
                display.update(task, event)
                if event["event"] == "refused":
                    raise ValueError(event["error"])
                if event["event"] == "failed" and on_failure is None:
                    raise RuntimeError(f"{task.name}: {event['error']}; see {self.folder / 'workers'}")
                if event["event"] == "failed":
                    on_failure(task, event["error"])
                results[task.name] = event.get("result")

            engine.run(tasks, on_event)
        return [results[task.name] for task in tasks]

    def _run_trials(self, engine: Engine, title: str, trials: Sequence[ConfigDict], role: str) -> None:
        done = {row["trial"] for row in self.rows if row["status"] in ("finished", "diverged")}
        record = str(self.folder / RECORD)
        tasks = [
            Task(
                run.trial,
                "trial",
                dict(config=run.to_dict(), folder=str(self._trial_folder(run)), record=record, role=role),
                group=(run.backbone.name, run.backbone.width),
                weight=run.budget_flops,
            )
            for run in trials
        ]
        before = sum(task.weight for task in tasks if task.name in done)
        waiting = [task for task in tasks if task.name not in done]
        self._do(engine, title, waiting, before, lambda task, error: self._record_failure(task, error))

    def _trial_folder(self, run: ConfigDict) -> pathlib.Path:
        return self.folder / "trials" / run.trial

    def _record_failure(self, task: Task, error: str) -> None:
        """A row for a trial that could not write its own, so that the sweep goes on and the table tells."""
        logging.warning("trial %s failed: %s; see %s", task.name, error, self.folder / "workers")
        config, role = ConfigDict(task.arguments["config"]), task.arguments["role"]
        failure = dict(status="failed", loss=None, loss_se=None, seconds=None, error=error)
        row = describe(config, task.arguments["folder"]) | failure
        append_record(self.folder / RECORD, row | dict(role=role, budget_flops=config.budget_flops))

    @property
    def heldout_flops(self) -> float:
        """The budget that the fit does not see."""
        return self.settings.budgets[-1] * self.settings.heldout_factor

    def _tables(self) -> tuple[Table, Table]:
        """Runs to fit, and runs held out."""
        table, (rows, _) = read_table(self.folder / RECORD), numbered_records(self.folder / RECORD)
        fitted = np.array([rows[line]["role"] == "fit" for line in table.row], bool)
        return table.select(fitted), table.select(~fitted)

    def _write(self, law: Law, heldout: Table | None = None) -> dict[str, Any]:
        """The law's document, whose file is there even where no law could be fitted."""
        document = describe_law(law, [self.heldout_flops], heldout)
        write_law(self.folder / LAW, document)
        if document["status"] == "refused":
            raise LawRefused(
                f"no law can be fitted to {len(law.table)} trials: {', '.join(document['flags'])}"
            )
        return document

    def _heldout_trials(self, document: dict[str, Any]) -> list[ConfigDict]:
        """Runs of the held-out budget, of the rungs nearest to the predicted best size."""
        sizes = {row["width"]: row["params_active"] for row in self.rows}
        best = document["predictions"][0]["params"] or self._best_of_largest_budget()["params_active"]
        widths = sorted(sizes, key=lambda width: abs(math.log(sizes[width] / best)))
        longer = math.ceil(self.settings.max_steps * self.settings.heldout_factor)
        bounds = dataclasses.replace(self.settings, max_steps=longer)
        runs = [
            trial(self._trial_base(), bounds, self.latent_shape, self.heldout_flops, width, self.config.seed)
            for width in widths
        ]
        return [run for run in runs if run is not None][: self.settings.heldout_widths]

    def _samples(self, engine: Engine, heldout: Sequence[ConfigDict]) -> dict[str, Any]:
        path = self.folder / "samples" / "scores.json"
        if path.exists():
            return json.loads(path.read_text())
        best = self._best(heldout)["trial"]
        arguments = {
            "config": self.config.to_dict(),
            "folder": str(self.folder),
            "run_folder": str(self.folder / "trials" / best),
        }
        return self._do(engine, "samples", [Task("samples", "samples", arguments)])[0]

    def _best_of_largest_budget(self) -> dict[str, Any]:
        largest = self.settings.budgets[-1]
        return self._best([run for run in self.trials if run.budget_flops == largest])

    def _best(self, trials: Sequence[ConfigDict]) -> dict[str, Any]:
        """The row of the finished trial of least loss."""
        names = {run.trial for run in trials}
        rows = [row for row in self.rows if row["trial"] in names and row["status"] == "finished"]
        if not rows:
            raise RuntimeError(
                f"no trial of {', '.join(sorted(names))} finished: see {self.folder / 'workers'}"
            )
        return min(rows, key=lambda row: row["loss"])

    def _plot(self, law: Law, document: dict[str, Any]) -> None:
        from dit_jax.law.plot import plot_all  # matplotlib takes a second to import

        plot_all(law, document, self.folder / "plots", others=read_table(self.folder / RECORD))
