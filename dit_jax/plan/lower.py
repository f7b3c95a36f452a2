# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a config does, compiled for devices that need not be there."""

import copy
import dataclasses
import pathlib
import re
import tempfile
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.backbone.patchify import token_grid
from dit_jax.mesh import make_mesh
from dit_jax.plan.jobs import JOBS
from dit_jax.sections import construct

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# The compiler's ways to say that memory is out: of all that it holds, or of temporaries alone.
OUT_OF_MEMORY = {
    "peak": re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"),
    "temporaries": re.compile(
        r"temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)"
    ),
}


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """What is planned that a run reads from its data.

    Attributes:
      latent_shape: `(t, h, w, c)` of a clip; the data's where it is empty.
      batch_per_chip: clips, which may be a fraction where chips share one; 0: `loader.batch_size` in all.
    """

    latent_shape: tuple[int, ...] = ()
    batch_per_chip: float = 0.0

    def __post_init__(self):
        if self.latent_shape and (len(self.latent_shape) != 4 or min(self.latent_shape) < 1):
            raise ValueError(
                f"plan.latent_shape={self.latent_shape} must be (frames, rows, columns, channels)"
            )
        if self.batch_per_chip < 0:
            raise ValueError(f"plan.batch_per_chip={self.batch_per_chip} must not be negative")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of a step.

    Attributes:
      mesh: sizes of its axes.
      seconds: that compiling took.
      memory: bytes on a chip: `peak`, `arguments`, `temporaries`; the peak alone where it is too much.
      text: of the optimised program; empty where it does not fit.
      written: text of the program as JAX wrote it, on all chips together, before the compiler.
      refusal: why it does not fit, in the compiler's words; None where it does.
    """

    mesh: dict[str, int]
    seconds: float
    memory: dict[str, int | None]
    text: str = ""
    written: str = ""
    refusal: str | None = None


def planned(config: ConfigDict, num_chips: int) -> tuple[ConfigDict, tuple[int, ...]]:
    """The config with the batch that `num_chips` train on, and the shape of a clip's latents.

    Raises:
      ValueError: the batch is no whole number of clips, or the config is not valid.
    """
    config, settings = copy.deepcopy(config), construct(PlanConfig, config.get("plan", {}), "plan")
    if settings.batch_per_chip:
        batch = settings.batch_per_chip * num_chips
        if batch != round(batch):
            raise ValueError(
                f"plan.batch_per_chip={settings.batch_per_chip} on {num_chips} chips is {batch} clips: choose a "
                "whole number of them"
            )
        config.loader.batch_size = round(batch)
    shape = tuple(settings.latent_shape) or build.latent_shape(config)
    token_grid(shape, build.patch(config))
    if (channels := build.backbone_config(config).in_channels) != shape[-1]:
        raise ValueError(
            f"config.backbone.in_channels={channels} differs from the latents' {shape[-1]}: match them"
        )
    return config, shape


def compile_job(
    what: str, config: ConfigDict, latent_shape: tuple[int, ...], devices: tuple[jax.Device, ...]
) -> Compiled:
    """Compiles one of `JOBS` for `config`, as `planned`, ahead of time.

    Raises:
      ValueError: the mesh does not suit the devices, or the batch the mesh, or the compiler fails.
    """
    mesh = make_mesh(build.section(config, "mesh"), list(devices))
    started = time.monotonic()
    try:
        lowered = JOBS[what].lower(config, latent_shape, mesh)
        compiled, text = _compiled(lowered, devices[0].platform)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            first = str(error).splitlines()[0]
            raise ValueError(f"the compiler failed ({first}): choose another mesh or remat policy") from error
        return _refused(dict(mesh.shape), time.monotonic() - started, str(error))
    seconds, memory = time.monotonic() - started, _memory(compiled.memory_analysis())
    written = lowered.as_text(dialect="hlo")
    return Compiled(dict(mesh.shape), seconds, memory, text, written)


def _compiled(lowered: jax.stages.Lowered, platform: str) -> tuple[jax.stages.Compiled, str]:
    """With the text of the optimised program; on a TPU as dumped, for libtpu can write neither large programs for v6e
    nor those whose SparseCores work."""
    if platform != "tpu":
        compiled = lowered.compile()
        return compiled, compiled.as_text()
    with tempfile.TemporaryDirectory() as folder:
        compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        texts = pathlib.Path(folder).glob("*after_codegen.txt")
        return compiled, max((path.read_text() for path in texts), key=len)


def _memory(stats: Any) -> dict[str, int | None]:
    arguments, temporaries = stats.argument_size_in_bytes, stats.temp_size_in_bytes
    held = arguments + temporaries + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return {
        "peak": held + stats.generated_code_size_in_bytes,
        "arguments": arguments,
        "temporaries": temporaries,
    }


def _refused(mesh: dict[str, int], seconds: float, message: str) -> Compiled:
    return Compiled(mesh, seconds, needed(message), refusal=" ".join(refusal(message).split()))


def needed(message: str) -> dict[str, int | None]:
    """Bytes that the compiler says it lacks room for, as `memory`; None for what it does not say."""
    found = {name: pattern.search(message) for name, pattern in OUT_OF_MEMORY.items()}
    memory: dict[str, int | None] = {"peak": None, "arguments": None, "temporaries": None}
    return memory | {name: round(float(one[1]) * UNITS[one[2]]) for name, one in found.items() if one}


def refusal(message: str) -> str:
    """The line with the numbers, or the first."""
    lines = message.splitlines()
    told = (line for line in lines if any(pattern.search(line) for pattern in OUT_OF_MEMORY.values()))
    return next(told, lines[0])
