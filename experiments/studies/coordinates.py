# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How much training steps change what each layer of a backbone puts out, at any width and depth."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from configs import known_world
from dit_jax import build
from dit_jax.backbone.patchify import patchify
from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.diffusion.path import add_noise, velocity_target
from dit_jax.mesh import MeshConfig, make_mesh
from dit_jax.pixels import as_pixels
from dit_jax.scales import scales
from dit_jax.text.byte import encode_bytes
from dit_jax.train.optimizer import Horizon, make_optimizer
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import make_train_steps
from experiments.studies.layer_outputs import layer_outputs

HEAD_DIM = 8  # at every width
# So few places that what a step adds up over them outweighs the rest at any width.
LATENTS = (2, 2, 2, 2, 8)  # B t h w c
PIXELS = 4  # along each side of a latent cell
SIZES = {  # of those backbones that have them
    "patch": (1, 1, 1),
    "time_features": 32,
    "head_dim": HEAD_DIM,
    "num_groups": 4,
    "channel_multipliers": (1, 1),
    "attention_levels": (1,),
}


def config_at(backbone: str, width: int, depth: int = 2, **optimizer) -> ConfigDict:
    """The known world's config with a backbone of a width on small latents, its text encoder as wide."""
    config, fields = known_world.get_config(), build.BACKBONES[backbone].config.__dataclass_fields__
    heads, channels = width // HEAD_DIM, LATENTS[-1]
    sizes = {"width": width, "depth": depth, "text_width": width, "in_channels": channels, "num_heads": heads}
    sizes |= SIZES
    config.backbone = ConfigDict({"name": backbone} | {k: v for k, v in sizes.items() if k in fields})
    config.text.update(width=width, num_heads=heads, max_bytes=16)
    config.optimizer.update(schedule="constant", **optimizer)
    return config


def changes(config: ConfigDict, num_steps: int, num_seeds: int) -> dict[str, float]:
    """Root mean square, by layer, of how `num_steps` on one batch change what it puts out for that batch.

    The mean is over entries and seeds; layers are named by their kernels, see `layer_outputs`.
    """
    make, optimizer, factors = build.denoiser(config), build.section(config, "optimizer"), scales(config)
    graph = abstract_module(make)[0]
    inputs, target = _batch(config)

    def predict(params: PyTree) -> Float[Array, "B t h w c"]:
        return merge_module(graph, params)(*inputs)

    def loss(params, _, key):
        return jnp.square(predict(params) - target).mean(), {}

    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    init, abstract = make_init(make, make_optimizer(optimizer, factors), mesh, factors)
    steps = make_train_steps(jax.value_and_grad(loss, has_aux=True), optimizer, abstract, scales=factors)
    outputs = jax.jit(lambda params: layer_outputs(predict, params))
    squares = []
    for seed in range(num_seeds):
        state = init(jax.random.key(seed))
        before = outputs(state.params)
        for _ in range(num_steps):  # not in a loop of XLA's, which has no fast convolution in one on a CPU
            state, _ = steps(state, {"step": jnp.zeros(1)}, Horizon(optimizer.lr, 0, num_steps, seed))
        after = outputs(state.params)
        squares.append({name: np.square(after[name] - before[name]).mean() for name in before})
    return {name: float(np.sqrt(np.mean([one[name] for one in squares]))) for name in squares[0]}


def _batch(config: ConfigDict) -> tuple[tuple, Float[Array, "B t h w c"]]:
    """What the denoiser reads of noisy clips of the known world, and what it is to predict.

    Not white noise: the updates of a layer that is to fit noise hardly add up over its inputs, and less the fewer
    these are, which is a law of its own.
    """
    count, t, h, w, channels = LATENTS
    world = KnownWorld(KnownWorldConfig(level=1, num_frames=t, height=PIXELS * h, width=PIXELS * w))
    clips = [world[i] for i in range(count)]
    keys = jax.random.split(jax.random.key(0), 2)
    video = jnp.asarray(np.stack([clip.video for clip in clips]))
    cells = patchify(as_pixels(video), (1, PIXELS, PIXELS))
    x0 = (cells @ jax.random.orthogonal(keys[0], cells.shape[-1])[:, :channels]).reshape(LATENTS)
    x0 = jax.nn.standardize(x0, axis=(0, 1, 2, 3))
    noise, times = jax.random.normal(keys[1], LATENTS), jnp.linspace(0.1, 0.9, count)
    texts = np.stack([encode_bytes(clip.captions["short"], config.text.max_bytes) for clip in clips])
    cond = {"text_ids": jnp.asarray(texts)}
    return (add_noise(x0, noise, times, cond), times, cond), velocity_target(x0, noise)
