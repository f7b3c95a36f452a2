# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is measured of ours at a size, and against whom."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from dit_jax.autoencoder.wan import WanAutoencoder, WanAutoencoderConfig
from dit_jax.bench.sizes import AUTOENCODER_WIDTH, PATCH, TEXT_TOKENS, TIME_FEATURES, Size
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.layers.attend import attend
from dit_jax.program import Program
from dit_jax.sweep.flops import step_flops
from dit_jax.train.loop import LoopConfig
from dit_jax.train.optimizer import Horizon

UNROLLED = 12  # blocks, which take less time than in a loop, see docs/performance.md
MOST_STEPS = LoopConfig.chunk_steps  # of a turn
TURN_FLOPS = 2e11  # a second or two of two cores


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Work of a size, ready to be done.

    Attributes:
      run: makes the steps of a turn, and waits for them.
      flops: of a step.
      steps: of a turn.
    """

    run: Callable[[], None]
    flops: float
    steps: int


@dataclasses.dataclass(frozen=True)
class Work:
    """Something that is measured.

    Attributes:
      prepare: a size and any run's config to what does it.
      peers: who do the same, of those that `dit_jax.bench.peer` knows.
    """

    prepare: Callable[[Size, ConfigDict], Prepared]
    peers: tuple[str, ...]


def steps_of(flops: float) -> int:
    """How many steps a turn has, whose FLOPs these are.

    Some seconds' worth, as they are made in training: the step after another's turn finds nothing of its own in the
    caches, and takes up to a tenth longer.
    """
    return max(1, min(MOST_STEPS, round(TURN_FLOPS / flops)))


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
        unroll=size.depth if size.depth <= UNROLLED else 1,
        qkv_bias=True,
        dtype=size.dtype,
        attention=size.attention,
    )
    return config


def flops_of(size: Size, config: ConfigDict) -> int:
    """Of a training step."""
    return step_flops(config_of(size, config), size.latent_shape)


def _program(size: Size, config: ConfigDict) -> tuple[Program, Any, dict[str, Array]]:
    """A run's program, its state and a batch."""
    text = (1, TEXT_TOKENS, size.width)
    null = {"text_tokens": jnp.zeros(text), "text_mask": jnp.ones(text[:2], bool)}
    program = Program(config_of(size, config), null=null)
    batch = {"latents": _normal(size.batch, *size.latent_shape)}
    batch |= {name: jnp.broadcast_to(row, (size.batch, *row.shape[1:])) for name, row in null.items()}
    return program, program.init(jax.random.key(0)), jax.tree.map(jnp.array, batch)


def _train(size: Size, config: ConfigDict) -> Prepared:
    """A chunk of steps is one program, as in training."""
    flops = float(flops_of(size, config))
    program, state, batch = _program(size, config)
    batches = jax.tree.map(lambda a: jnp.stack([a] * steps_of(flops)), batch)
    held = [state]

    def run() -> None:
        held[0], metrics = program.steps(held[0], batches, Horizon(1e-4, 0, 1000, 0))
        jax.block_until_ready((held[0], metrics))

    return Prepared(run, flops, steps_of(flops))


def _sample(size: Size, config: ConfigDict) -> Prepared:
    """Euler's method under guidance: forward twice a step, where a training step is three times that."""
    flops = flops_of(size, config) * 2 / 3
    program, state, batch = _program(size, config)
    noise = batch.pop("latents")
    sampler = program.sampler(SamplerConfig(method="euler", num_steps=steps_of(flops)))
    return Prepared(lambda: jax.block_until_ready(sampler(state.ema, noise, batch)), flops, steps_of(flops))


def _alternating(prepare: Callable) -> Callable[[Size, ConfigDict], Prepared]:
    """With attention within frames and over time by turns, as Latte has it."""
    return lambda size, config: prepare(dataclasses.replace(size, attention="alternating"), config)


def _attention(size: Size, config: ConfigDict) -> Prepared:
    """Of all tokens to all, forward and backward."""
    shape = (size.batch, size.heads, size.num_tokens, size.width // size.heads)
    q, k, v, weight = (_normal(*shape, seed=seed).astype(size.dtype) for seed in range(4))

    def loss(q, k, v):
        return (attend(q / math.sqrt(q.shape[-1]), k, v) * weight).sum(dtype=jnp.float32)

    step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    return _repeated(lambda: step(q, k, v), 3.0 * 4 * size.num_tokens * math.prod(shape))


def _autoencoder(size: Size, config: ConfigDict) -> Prepared:
    """Clips to latents and back, in float32; the FLOPs are the compiler's."""
    sizes = WanAutoencoderConfig(width=AUTOENCODER_WIDTH, latent_channels=size.channels)
    graph, params = nnx.split(WanAutoencoder(sizes, rngs=nnx.Rngs(0)))
    clips = _normal(size.batch, *size.clip_shape)

    def reconstruct(params, clips):
        model = nnx.merge(graph, params)
        return model.decode(model.encode(clips))

    compiled = jax.jit(reconstruct).lower(params, clips).compile()
    return _repeated(lambda: compiled(params, clips), compiled.cost_analysis()["flops"])


def _repeated(step: Callable[[], Any], flops: float) -> Prepared:
    def run() -> None:
        for _ in range(steps_of(flops)):
            jax.block_until_ready(step())

    return Prepared(run, flops, steps_of(flops))


def _normal(*shape: int, seed: int = 0) -> Float[Array, "..."]:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


WORKS = {
    "train": Work(_train, ("torch", "wan")),
    "sample": Work(_sample, ("torch", "wan")),
    "train_alternating": Work(_alternating(_train), ("latte",)),
    "sample_alternating": Work(_alternating(_sample), ("latte",)),
    "attention": Work(_attention, ("sdpa",)),
    "autoencoder": Work(_autoencoder, ("wan_autoencoder",)),
}
