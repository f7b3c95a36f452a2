# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What may be planned: a training step, samples, and their decoding to pixels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dit_jax import build, prompts
from dit_jax.autoencoder.files import abstract_autoencoder
from dit_jax.mesh import batch_spec
from dit_jax.program import Program
from dit_jax.prompts import ByteText
from dit_jax.sweep.flops import step_flops
from dit_jax.train.optimizer import Horizon

Shape = tuple[int, ...]


class Job(NamedTuple):
    """Something that is compiled ahead of time.

    Attributes:
      lower: a config, the shape of a clip's latents and a mesh to the program that the compiler is given.
      flops: what the model does of it by formula; None where there is none.
    """

    lower: Callable[[ConfigDict, Shape, Mesh], jax.stages.Lowered]
    flops: Callable[[ConfigDict, Shape], int | None]


def abstract_batch(config: ConfigDict, latent_shape: Shape, mesh: Mesh, leading: Shape = ()) -> PyTree:
    """Shapes and shardings of a batch of latents and what conditions them, under `leading` dims."""
    size = config.loader.batch_size
    arrays = {"latents": ((size, *latent_shape), jnp.float32)}
    for name, row in _null(config).items():
        arrays[name] = ((size, *row.shape[1:]), row.dtype)
    return {
        name: _placed((*leading, *shape), dtype, mesh, len(leading))
        for name, (shape, dtype) in arrays.items()
    }


def _placed(shape: Shape, dtype: jnp.dtype, mesh: Mesh, leading: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, batch_spec(shape, mesh, leading)))


def _null(config: ConfigDict) -> dict[str, np.ndarray]:
    """Text of the empty prompt; of a frozen encoder its shape alone, for which no weights are needed."""
    text = prompts.text(config)
    if isinstance(text, ByteText):
        return text([""])
    shape = (1, text.num_tokens, config.backbone.text_width)
    return {"text_tokens": np.zeros(shape, np.float32), "text_mask": np.zeros(shape[:2], bool)}


def _train(config: ConfigDict, shape: Shape, mesh: Mesh) -> jax.stages.Lowered:
    program = Program(config, mesh=mesh, null=_null(config))
    batches = abstract_batch(config, shape, mesh, (1,))
    return program.steps.lower(program.abstract, batches, Horizon(1e-4, 100, 1000, 0))


def _sample(config: ConfigDict, shape: Shape, mesh: Mesh) -> jax.stages.Lowered:
    """All steps of `config.sampler`."""
    program, cond = Program(config, mesh=mesh, null=_null(config)), abstract_batch(config, shape, mesh)
    noise = cond.pop("latents")
    return program.sampler(build.section(config, "sampler")).lower(program.abstract.ema, noise, cond)


def _sample_flops(config: ConfigDict, shape: Shape) -> int:
    """A training step is three times forward."""
    sampler = build.section(config, "sampler")
    return (
        step_flops(config, shape) // 3 * sampler.num_evaluations * (1 if sampler.guidance_scale == 1 else 2)
    )


def _decode(config: ConfigDict, shape: Shape, mesh: Mesh) -> jax.stages.Lowered:
    """By the autoencoder that the config names, whose parameters every chip has."""
    sizes = build.autoencoder_sizes(config)
    if sizes.latent_channels != shape[-1]:
        raise ValueError(
            f"the autoencoder has latents of {sizes.latent_channels} channels, and the plan's have {shape[-1]}: set "
            "config.autoencoder.path, or config.autoencoder.train=True and config.autoencoder.model"
        )
    graph, params = nnx.split(abstract_autoencoder(sizes))
    whole = NamedSharding(mesh, PartitionSpec())
    params = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=whole), params)
    latents = abstract_batch(config, shape, mesh)["latents"]
    return jax.jit(lambda params, latents: nnx.merge(graph, params).decode(latents)).lower(params, latents)


JOBS = {
    "train": Job(_train, step_flops),
    "sample": Job(_sample, _sample_flops),
    "decode": Job(_decode, lambda config, shape: None),
}
