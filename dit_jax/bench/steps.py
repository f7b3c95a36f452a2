# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Training and sampling steps: ours, and the peers' in turn with them."""

import contextlib
import functools
import json
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
from dit_jax.bench.peer import PEERS, WARM_UP
from dit_jax.bench.sizes import PATCH, SIZES, TEXT_TOKENS, TIME_FEATURES, Size
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.program import Program
from dit_jax.sweep.flops import step_flops
from dit_jax.train.optimizer import Horizon

MATMUL = 1024
SERVED = [(peer, compiled) for peer in PEERS for compiled in (False, True)]
Step = Callable[[], float]  # seconds that it took


def config_of(size: Size, config: ConfigDict) -> ConfigDict:
    """The config of a run of this size, on stored latents and text tokens.

    Args:
      size: of the transformer and its batch.
      config: of any run, for the rest.
    """
    config = ConfigDict(config.to_dict())
    config.data.source, config.text.name, config.frozen_text.num_tokens = "latents", "t5", TEXT_TOKENS
    config.loader.batch_size = size.batch
    config.backbone.update(
        name="dit",
        width=size.width,
        depth=size.depth,
        num_heads=size.heads,
        in_channels=size.channels,
        patch=PATCH,
        text_width=size.width,
        time_features=TIME_FEATURES,
        unroll=size.depth,
        qkv_bias=True,
    )
    return config


def our_step(work: str, size: Size, config: ConfigDict) -> tuple[Step, dict[str, float]]:
    """A step of ours, `train` or `sample`, compiled and warm; and the seconds that compiling took."""
    config = config_of(size, config)
    text = (1, TEXT_TOKENS, size.width)
    null = {"text_tokens": jnp.zeros(text), "text_mask": jnp.ones(text[:2], bool)}
    program = Program(config, null=null)
    state = program.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    batch = {"latents": rng.normal(size=(size.batch, *size.latent_shape)).astype(np.float32)}
    batch |= {name: jnp.broadcast_to(row, (size.batch, *row.shape[1:])) for name, row in null.items()}
    batch = jax.tree.map(jnp.asarray, batch)
    make = _train if work == "train" else _sample
    run = make(program, state, batch)
    started = time.perf_counter()
    run()
    compiling = time.perf_counter() - started
    for _ in range(WARM_UP):
        run()
    return functools.partial(_timed, run), {"compile_seconds": compiling}


def _train(program: Program, state: Any, batch: dict[str, jax.Array]) -> Callable[[], None]:
    batches, held = jax.tree.map(lambda a: a[None], batch), [state]

    def run() -> None:
        held[0], metrics = program.steps(held[0], batches, Horizon(1e-4, 0, 1000, 0))
        jax.block_until_ready((held[0], metrics))

    return run


def _sample(program: Program, state: Any, batch: dict[str, jax.Array]) -> Callable[[], None]:
    """One step of Euler's method under guidance."""
    noise, cond = batch["latents"], {name: a for name, a in batch.items() if name != "latents"}
    sampler = program.sampler(SamplerConfig(method="euler", num_steps=1))
    return lambda: jax.block_until_ready(sampler(state.ema, noise, cond))


def our_matmul() -> Step:
    """A square product in XLA."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(MATMUL, MATMUL)), jnp.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return functools.partial(_timed, lambda: jax.block_until_ready(product(a, a)))


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


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
            answer = json.loads(process.stdout.readline() or '{"error": "it ended"}')
            if "error" in answer:
                missing[name] = answer["error"]
            else:
                steps[name] = functools.partial(_ask, process)
        yield steps, missing


def _ask(process: subprocess.Popen) -> float:
    print(file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())["seconds"]


def step_case(
    work: str, name: str, config: ConfigDict, threads: int, rounds: int, with_peers: bool = True
) -> dict[str, Any]:
    """A step of ours at a size, in turn with those of the peers.

    Returns:
      A row as `measured` gives it, in seconds: lower is better. `ratio` is the fastest peer's median over ours, above
      1 where we are faster; `share_of_matmul_peak` the FLOPs of the model over those of a square product, on this
      machine in the same rounds.
    """
    size = SIZES[name]
    ours, compiling = our_step(work, size, config)
    names = {f"{peer}, {'compiled' if c else 'eager'}": (peer, c) for peer, c in SERVED} if with_peers else {}
    wanted = {
        title: {"peer": peer, "compiled": c, "work": work, "size": name} for title, (peer, c) in names.items()
    }
    if with_peers:
        wanted["matmul, torch"] = {"peer": "matmul"}
    with peers(wanted, threads) as (steps, missing):
        steps = {"ours": ours, "matmul": our_matmul(), **steps}
        runs = {title: [] for title in steps}
        for _ in range(rounds):
            for title, step in steps.items():
                runs[title].append(step())
    return step_row(f"{work}_{name}", size, work, config, runs) | compiling | {"missing": missing}


def step_row(
    title: str, size: Size, work: str, config: ConfigDict, runs: dict[str, list[float]]
) -> dict[str, Any]:
    """What `step_case` returns, of the seconds of each step: `ours`, `matmul...`, and the peers' by name."""
    medians = {name: statistics.median(values) for name, values in runs.items()}
    products = [medians[name] for name in runs if name.startswith("matmul")]
    others = {
        name: value for name, value in medians.items() if name != "ours" and not name.startswith("matmul")
    }
    # A step forward is a third of a training step; under guidance there are two.
    flops = step_flops(config_of(size, config), size.latent_shape) * (1 if work == "train" else 2 / 3)
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
