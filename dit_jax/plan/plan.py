# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a config does on a topology: whether it fits, how fast it is, what it costs."""

from typing import Any

from ml_collections import ConfigDict

from dit_jax.plan.budget import cost
from dit_jax.plan.hlo import parse
from dit_jax.plan.jobs import JOBS
from dit_jax.plan.lower import Compiled, compile_job, planned
from dit_jax.plan.roofline import step_seconds, work
from dit_jax.plan.topology import Topology
from dit_jax.plan.work import collectives, float32_products
from dit_jax.sweep.flops import tokens_per_clip


def make_plan(
    config: ConfigDict,
    where: Topology,
    tokens: float | None = None,
    dollars_per_chip_hour: float | None = None,
    what: str = "train",
) -> dict[str, Any]:
    """The plan of a step, as `plan.json` has it; what cannot be known is None.

    Args:
      config: of a run; its section `plan` gives what is otherwise read from data.
      where: to train.
      tokens: of a budget that is to be costed.
      dollars_per_chip_hour: price.
      what: one of `JOBS`: a training step, all steps of `config.sampler` for a batch, or the decoding of a batch.

    Raises:
      ValueError: the config is not valid, or does not suit the topology.
    """
    config, shape = planned(config, len(where.devices))
    compiled = compile_job(what, config, shape, where.devices)
    peak, limit = compiled.memory["peak"], where.chip.hbm_bytes
    fits = compiled.refusal is None and (limit is None or peak <= limit)
    batch, model_flops = config.loader.batch_size, JOBS[what].flops(config, shape)
    plan = {
        "version": 1,
        "what": what,
        "topology": where.name,
        "num_chips": len(where.devices),
        "compiled_for": where.chip.platform,
        "mesh": compiled.mesh,
        "remat": config.backbone.get("remat"),
        "batch_size": batch,
        "tokens_per_step": batch * tokens_per_clip(config, shape),
        "fits": fits,
        "refusal": None if fits else compiled.refusal or _too_much(peak, limit, where.name),
        "hbm_bytes": {**compiled.memory, "limit": limit},
        "flops": model_flops,
        "compile_seconds": compiled.seconds,
    }
    plan |= _speed(compiled, where, model_flops)
    seconds = plan["step_seconds"]
    wanted = tokens is not None and seconds and fits
    spent = (seconds["estimate"], len(where.devices), plan["tokens_per_step"]) if wanted else ()
    return plan | {"cost": cost(*spent, tokens, dollars_per_chip_hour) if wanted else None}


def _too_much(peak: int, limit: float, name: str) -> str:
    return f"{peak / 2**30:.2f} GiB on a chip, and one of {name} has {limit / 2**30:.2f}: split it over more chips"


def _speed(compiled: Compiled, where: Topology, model_flops: int | None) -> dict[str, Any]:
    """What the optimised program says; None throughout where there is none."""
    if not compiled.text:
        return dict.fromkeys(
            ("collectives", "float32_products", "step_flops_per_chip", "step_seconds", "mfu")
        )
    module = parse(compiled.text)
    widened = float32_products(parse(compiled.written))
    communication, done = collectives(module), work(module)
    seconds = step_seconds(done, communication, where.chip)
    at_peak = seconds and model_flops and model_flops / (len(where.devices) * where.chip.flops)
    return {
        "collectives": communication,
        "float32_products": {place: len(names) for place, names in widened.items()},
        "step_flops_per_chip": done.flops,
        "step_seconds": seconds,
        "mfu": at_peak and at_peak / seconds["estimate"],
    }
