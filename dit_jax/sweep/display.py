# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a sweep: a live bar on a terminal, plain lines in a log, a table at the end."""

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from dit_jax.sweep.engine import Task

T = TypeVar("T")

LINE_SECONDS = 10.0  # between two lines of progress in a log


class Display:
    """Progress over the tasks of a stage, by weight, with the time left.

    Use it as a context manager around an engine's run, and give it the engine's events.

    Args:
      title: of the stage.
      tasks: to be done now.
      done_before: weight that an earlier process has done.
      console: where to print.
    """

    def __init__(
        self, title: str, tasks: Sequence[Task], done_before: float = 0.0, console: Console | None = None
    ):
        self._title, self._console = title, console or Console()
        self._shares = {task.name: 0.0 for task in tasks}
        self._weights = {task.name: task.weight for task in tasks}
        self._details: dict[str, str] = {}
        self._before, self._total = done_before, done_before + sum(self._weights.values())
        self._finished, self._count = 0, len(tasks)
        self._started = self._printed = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._id = self._bar.add_task(title, total=self._total, completed=done_before, left="")

    def __enter__(self) -> "Display":
        self._bar.start()
        if not self._console.is_terminal and self._count:
            self._console.print(f"{self._title}: {self._count} to do")
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, task: Task, event: dict[str, Any]) -> None:
        """Takes in an event of the engine."""
        progress = event["event"] == "progress"
        self._shares[task.name] = event["done"] if progress else 1.0
        self._details.pop(task.name, None)
        if progress:
            self._details[task.name] = f"{task.name} {event['detail']:.3g}"
        else:
            self._finished += 1
        self._draw(line=not progress)

    def _draw(self, line: bool) -> None:
        new = sum(self._weights[name] * share for name, share in self._shares.items())
        left = self._left(new)
        running = ", ".join(list(self._details.values())[:4])
        description = f"{self._title} {self._finished}/{self._count}"
        self._bar.update(
            self._id,
            completed=self._before + new,
            left=left,
            description=f"{description} [dim]{running}[/dim]",
        )
        now = time.monotonic()
        if not self._console.is_terminal and (line or now - self._printed > LINE_SECONDS):
            self._printed = now
            percent = 100 * (self._before + new) / max(self._total, 1e-9)
            self._console.print(f"{description} {percent:3.0f} % {left} {running}".rstrip(), highlight=False)

    def _left(self, new: float) -> str:
        """Time left, at the pace of this process so far."""
        if new <= 0:
            return ""
        seconds = (time.monotonic() - self._started) * (self._total - self._before - new) / new
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


def watched(title: str, total_steps: int, work: Callable[[Callable[[int, float], None]], T]) -> T:
    """The result of `work(progress)`, which tells of (steps done, latest loss), under a progress bar."""
    task = Task(title, "", {}, weight=total_steps)
    with Display(title, [task]) as display:
        result = work(
            lambda step, loss: display.update(
                task, dict(event="progress", done=step / total_steps, detail=loss)
            )
        )
        display.update(task, {"event": "done"})
    return result


def trial_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Runs by budget and size: what each cost and reached, the best of a budget marked."""
    table = Table(title="trials", title_justify="left")
    for name in ("budget", "width", "params", "steps", "loss", "± se", "text gap", "seconds", ""):
        table.add_column(name, justify="right", no_wrap=True)
    best: dict[float, float] = {}
    for row in rows:
        if row["status"] == "finished":
            best[row["budget_flops"]] = min(best.get(row["budget_flops"], float("inf")), row["loss"])
    for row in sorted(rows, key=lambda row: (row["budget_flops"], row["width"], row["seed"])):
        table.add_row(*_cells(row, best.get(row["budget_flops"])))
    return table


def _cells(row: dict[str, Any], best: float | None) -> list[str]:
    size = [
        f"{row['budget_flops']:.2g}".replace("e+", "e"),
        str(row["width"]),
        f"{row['params_active']:,}",
        str(row["steps"]),
    ]
    if row["status"] != "finished":
        return [*size, "", "", "", "", row["status"]]
    mark = "best" if row["loss"] == best else ""
    mark = "held out" if row["role"] == "heldout" else mark
    numbers = [
        f"{row['loss']:.4f}",
        f"{row['loss_se']:.4f}",
        f"{row['text_gap']:.4f}",
        f"{row['seconds']:.0f}",
    ]
    return [*size, *numbers, mark]


def verdict(result: dict[str, Any]) -> list[str]:
    """What came of a sweep, in words; `result` is from `Sweep.run`."""
    law, row = result["law"], result["heldout_row"]
    held = law["heldout"]
    low, high = held["loss_pi95"]
    where = "inside" if low <= held["loss_measured"] <= high else "OUTSIDE"
    lines = [
        f"held-out budget {held['flops']:.3g} FLOPs: predicted loss {held['loss_predicted']:.4f} "
        f"(95 % {low:.4f} to {high:.4f}), measured {held['loss_measured']:.4f}: {where} the interval",
        _text_verdict(row["text_gap"], row["text_gap_se"]),
    ]
    if colours := result["scores"].get("colours_exact"):
        real = result["scores"]["colours_exact_real"]["score"]
        lines.append(
            f"samples show exactly their captions' colours in {colours['score']:.0%} "
            f"± {colours['score_se']:.0%} (se) of clips; under shuffled captions in {colours['floor']:.0%}, "
            f"real clips in {real:.0%}"
        )
    return [*lines, f"law: {law['status']}" + (f" ({', '.join(law['flags'])})" if law["flags"] else "")]


def _text_verdict(gap: float, error: float) -> str:
    if not error:
        return "text: the clips have no captions, so what text does was not measured"
    return f"text: without it the loss is higher by {gap:.4f} ± {error:.4f} (se), {gap / error:.0f} standard errors"


def paths(folder: pathlib.Path, result: dict[str, Any]) -> list[str]:
    """Where everything is."""
    shown = {"law": "law.json", "record": "records.jsonl", "plots": "plots", "samples": "samples"}
    shown["checkpoint"] = f"trials/{result['heldout_row']['trial']}/checkpoints"
    return [f"{name:<10} {folder / path}" for name, path in shown.items()]
