# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Training and sampling steps: ours, and the peers' in turn with them."""

import contextlib
import dataclasses
import functools
import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dit_jax.bench.measure import measured
from dit_jax.bench.peer import MATMUL, WARM_UP
from dit_jax.bench.sizes import Size
from dit_jax.bench.works import WORKS

READY_SECONDS = 1200.0  # PyTorch's compiler takes minutes
STEP_SECONDS = 600.0
MIN_ROUNDS = 3
Step = Callable[[], float]  # seconds that it took


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How a case is measured.

    Attributes:
      rounds: steps of each, ours and the peers' in turn.
      seconds: after which no further round begins, past the first few.
      threads: of a peer.
      with_peers: whether there are any.
    """

    rounds: int = 7
    seconds: float = 300.0
    threads: int = 1
    with_peers: bool = True


def our_step(work: str, size: Size, config: ConfigDict) -> tuple[Step, dict[str, float]]:
    """Work of ours, one of `WORKS`, compiled and warm; its FLOPs and the seconds that compiling took."""
    started = time.perf_counter()
    run, flops = WORKS[work].prepare(size, config)
    run()
    compiling = time.perf_counter() - started
    for _ in range(WARM_UP):
        run()
    return functools.partial(_timed, run), {"flops": flops, "compile_seconds": compiling}


def our_matmul(dtype: str) -> Step:
    """A square product in XLA."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(MATMUL, MATMUL)), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return functools.partial(_timed, lambda: jax.block_until_ready(product(a, a)))


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


class PeerLost(Exception):
    """A peer ended, or did not answer in time."""


@contextlib.contextmanager
def peers(
    wanted: Mapping[str, Mapping[str, Any]], threads: int
) -> Iterator[tuple[dict[str, Step], dict[str, str]]]:
    """Steps of the peers that run here, by name, and why the others do not.

    Args:
      wanted: by name, what `dit_jax.bench.peer` is told.
      threads: of each.
    """
    steps, missing = {}, {}
    with contextlib.ExitStack() as stack:
        for name, told in wanted.items():
            command = [sys.executable, "-m", "dit_jax.bench.peer", json.dumps({**told, "threads": threads})]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            process = stack.enter_context(subprocess.Popen(command, **pipes))
            stack.callback(process.kill)
            try:
                answer = _answer(process, READY_SECONDS)
                steps[name] = functools.partial(_ask, process)
            except PeerLost as error:
                answer = {"error": str(error)}
            if "error" in answer:
                missing[name] = answer["error"]
                steps.pop(name, None)
        yield steps, missing


def _ask(process: subprocess.Popen) -> float:
    with contextlib.suppress(BrokenPipeError):  # then it has ended, and there is no answer
        print(file=process.stdin, flush=True)
    return _answer(process, STEP_SECONDS)["seconds"]


def _answer(process: subprocess.Popen, seconds: float) -> dict[str, Any]:
    """A line of its output; there is never more than one, so that none waits in a buffer."""
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise PeerLost(f"no answer in {seconds:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise PeerLost(f"it ended with status {process.wait()}")
    return json.loads(line)


def step_case(work: str, name: str, size: Size, config: ConfigDict, told: Rounds) -> dict[str, Any]:
    """Work of ours at a size, in turn with that of the peers.

    Args:
      work: one of `WORKS`.
      name: of the size.
      size: itself.
      config: of any run.
      told: how often, and beside whom.

    Returns:
      A row as `measured` gives it, in seconds: lower is better. `ratio` is the fastest peer's median over ours, above
      1 where we are faster; `share_of_matmul_peak` the FLOPs of the model over those of a square product, on this
      machine in the same rounds.
    """
    ours, about = our_step(work, size, config)
    wanted = _wanted(work, size) if told.with_peers else {}
    with peers(wanted, told.threads) as (steps, missing):
        steps = {"ours": ours, "matmul": our_matmul(size.dtype), **steps}
        runs = in_turn(steps, told, missing)
    return step_row(f"{work}_{name}", about.pop("flops"), runs) | about | {"missing": missing}


def _wanted(work: str, size: Size) -> dict[str, dict[str, Any]]:
    told = {"work": work, "size": dataclasses.asdict(size)}
    found = {
        f"{peer}, {'compiled' if compiled else 'eager'}": {"peer": peer, "compiled": compiled, **told}
        for peer in WORKS[work].peers
        for compiled in (False, True)
    }
    return found | {"matmul, torch": {"peer": "matmul", "compiled": False, **told}}


def in_turn(steps: Mapping[Any, Step], told: Rounds, missing: dict[str, str]) -> dict[Any, list[float]]:
    """Seconds of every step in each round; a peer that is lost goes to `missing` with all it did."""
    runs, started = {name: [] for name in steps}, time.perf_counter()
    for k in range(told.rounds):
        if k >= MIN_ROUNDS and time.perf_counter() - started > told.seconds:
            break
        for name in list(runs):
            try:
                runs[name].append(steps[name]())
            except PeerLost as error:
                missing[name] = str(error)
                del runs[name]
    return runs


def step_row(title: str, flops: float, runs: dict[str, list[float]]) -> dict[str, Any]:
    """What `step_case` returns, of the seconds of each step: `ours`, `matmul...`, and the peers' by name."""
    medians = {name: statistics.median(values) for name, values in runs.items()}
    products = [medians[name] for name in runs if name.startswith("matmul")]
    others = {
        name: value for name, value in medians.items() if name != "ours" and not name.startswith("matmul")
    }
    peak = 2 * MATMUL**3 / min(products)
    fastest = min(others, key=others.get) if others else None
    return measured(
        title,
        "s",
        runs["ours"],
        flops=flops,
        flops_per_second=flops / medians["ours"],
        matmul_flops_per_second=peak,
        share_of_matmul_peak=flops / medians["ours"] / peak,
        peers={name: {"median": others[name], "runs": runs[name]} for name in others},
        fastest_peer=fastest,
        ratio=others[fastest] / medians["ours"] if fastest else None,
    )
