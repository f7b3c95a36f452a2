# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Work of ours, and the peers' in turn with it."""

import contextlib
import dataclasses
import functools
import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
Step = Callable[[], float]  # makes those of a turn, and tells the seconds of one


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How a case is measured.

    Attributes:
      rounds: turns of each, ours and the peers', one after the other.
      seconds: after which no further round begins, past the first few.
      threads: of a peer.
      with_peers: whether there are any.
    """

    rounds: int = 7
    seconds: float = 300.0
    threads: int = 1
    with_peers: bool = True


def our_step(work: str, size: Size, config: ConfigDict) -> tuple[Step, dict[str, float]]:
    """Work of ours, one of `WORKS`, compiled and warm; its FLOPs, steps of a turn and seconds until the first."""
    started = time.perf_counter()
    ours = WORKS[work].prepare(size, config)
    ours.run()
    about = {"flops": ours.flops, "steps": ours.steps, "compile_seconds": time.perf_counter() - started}
    for _ in range(WARM_UP):
        ours.run()
    return functools.partial(_timed, ours.run, ours.steps), about


def our_matmul(dtype: str) -> Step:
    """A square product in XLA."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(MATMUL, MATMUL)), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return functools.partial(_timed, lambda: jax.block_until_ready(product(a, a)))


def _timed(run: Callable[[], Any], steps: int = 1) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / steps


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
            except PeerLost as error:
                answer = {"error": str(error)}
            if "error" in answer:
                missing[name] = answer["error"]
            else:
                steps[name] = functools.partial(_ask, process)
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
      A row as `measured` gives it, in seconds: lower is better. `ratio` is the median over rounds of the fastest
      peer's time over ours, above 1 where we are faster; `share_of_matmul_peak` the FLOPs of the model over those of
      a square product, on this machine in the same rounds.
    """
    ours, about = our_step(work, size, config)
    fixed, rounds, missing = {"ours": ours, "matmul": our_matmul(size.dtype)}, [], {}
    for wanted in _groups(work, size, about["steps"]) if told.with_peers else [{}]:
        with peers(wanted, told.threads) as (steps, absent):
            rounds.append(in_turn(fixed | steps, told, absent))
            missing |= absent
    return step_row(f"{work}_{name}", about.pop("flops"), rounds) | about | {"missing": missing}


def _groups(work: str, size: Size, steps: int) -> list[dict[str, dict[str, Any]]]:
    """What runs side by side: each peer twice, as more would not find room in memory, and PyTorch's product."""
    told = {"work": work, "size": dataclasses.asdict(size)}
    ways = {"eager": False, "compiled": True}
    return [
        {"matmul, torch": {"peer": "matmul", "compiled": False, "steps": 1, **told}}
        | {
            f"{peer}, {way}": {"peer": peer, "compiled": compiled, "steps": steps, **told}
            for way, compiled in ways.items()
        }
        for peer in WORKS[work].peers
    ]


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


def step_row(title: str, flops: float, groups: Sequence[Mapping[str, list[float]]]) -> dict[str, Any]:
    """What `step_case` returns, of the seconds of each step in each group: `ours`, `matmul...`, and peers by name."""
    medians = [{name: statistics.median(runs) for name, runs in group.items()} for group in groups]
    products = [value for group in medians for name, value in group.items() if name.startswith("matmul")]
    found = {}
    for group, runs in zip(medians, groups, strict=True):
        for name in group:
            if name != "ours" and not name.startswith("matmul"):
                # By round: a machine that is slower for some of them is so for both.
                ratios = [theirs / ours for theirs, ours in zip(runs[name], runs["ours"], strict=True)]
                told = {"median": group[name], "ratio": statistics.median(ratios), "runs": runs[name]}
                found[name] = told
    ours = [seconds for group in groups for seconds in group["ours"]]
    speed, peak = flops / statistics.median(ours), 2 * MATMUL**3 / min(products)
    fastest = min(found, key=lambda name: found[name]["ratio"]) if found else None
    return measured(
        title,
        "s",
        ours,
        flops=flops,
        flops_per_second=speed,
        matmul_flops_per_second=peak,
        share_of_matmul_peak=speed / peak,
        peers=found,
        fastest_peer=fastest,
        ratio=found[fastest]["ratio"] if fastest else None,
    )
