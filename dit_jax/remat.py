# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`backbone.remat="auto"`: as little made anew as the memory of a device allows."""

import copy
import math

import jax
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.layers.stack import AUTO
from dit_jax.mesh import make_mesh
from dit_jax.sweep.activations import activation_bytes
from dit_jax.train.state import abstract_module, count_parameters

ORDER = ("none", "dots", "attention", "full")  # from most to least memory
STATE_BYTES = 20  # of a parameter: itself, its average, two moments and a gradient in float32
HEADROOM = 0.8  # of the memory: a compiler keeps more than the backward pass reads


def device_bytes() -> int | None:
    """Memory of a device; None where JAX does not say, as on CPUs."""
    stats = jax.local_devices()[0].memory_stats()
    return stats and stats.get("bytes_limit")


def with_remat(config: ConfigDict, latent_shape: tuple[int, ...], limit: int | None) -> ConfigDict:
    """The config with the first policy of `ORDER` that fits in place of `auto`; `full` where none does.

    Args:
      config: of a run.
      latent_shape: `(t, h, w, c)` of a clip.
      limit: bytes of a device; None: all fits.
    """
    if config.backbone.get("remat") != AUTO:
        return config
    mesh = make_mesh(build.section(config, "mesh")).shape
    parameters = count_parameters(abstract_module(build.denoiser(config))[1])
    state = STATE_BYTES * parameters / (mesh["fsdp"] * mesh["model"])
    clips = config.loader.batch_size / (mesh["data"] * mesh["fsdp"])
    clips /= config.optimizer.accumulation_steps * mesh["seq"]
    for policy in ORDER:
        chosen = copy.deepcopy(config)
        chosen.backbone.remat = policy
        if state + clips * activation_bytes(chosen, latent_shape) <= HEADROOM * (limit or math.inf):
            break
    return chosen
