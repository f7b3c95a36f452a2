# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is done on meshes, in a process that was started with the devices for them.

`python mesh_child.py WANTED`, JSON: the arguments of `move`, or of `turn`; or by network and name of a mesh to train
it on, its axes (and as `products_of` the device for which products are written, as `torus` the sides of one that
devices are taken to lie in). The last line of the output is JSON: what these return; or for each the losses, and into
how many parts the parameters were cut that were cut into most.
"""

import dataclasses
import functools
import json
import math
import sys

import jax
import numpy as np

import dit_jax.mesh
from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.mmdit import MMDiT
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.data.packing import Packed, PackingConfig, token_grids
from dit_jax.denoiser import Denoiser
from dit_jax.diffusion.objective import ObjectiveConfig, draw, flow_matching_loss
from dit_jax.diffusion.path import as_velocity
from dit_jax.layers import sharded, shards, turn_tpu
from dit_jax.layers import turn as turns
from dit_jax.mesh import MeshConfig, initialise_hosts, make_mesh, on_mesh, place_batch
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.optimizer import Horizon, OptimizerConfig, make_optimizer
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import make_train_steps

STEPS, CLIPS, TEXT, WIDTH = 20, 8, 4, 16
SIZES = dict(in_channels=2, width=WIDTH, num_heads=2, text_width=WIDTH, patch=(1, 1, 1), time_features=16)
DIT = DiTConfig(depth=2, **SIZES)
BACKBONES = {
    "joint": lambda rngs: DiT(DIT, rngs=rngs),
    "factorised": lambda rngs: DiT(dataclasses.replace(DIT, attention="factorised"), rngs=rngs),
    "packed": lambda rngs: DiT(DIT, rngs=rngs),
    "mmdit": lambda rngs: MMDiT(MMDiTConfig(depth=1, single_depth=1, **SIZES), rngs=rngs),
}
BACKBONES["gates"] = BACKBONES["mmdit"]
OPTIMIZER = OptimizerConfig()
STAGES = shards.scatter_stages
KNOWN = ObjectiveConfig(known={"none": 1.0, "image_to_video": 1.0})
OBJECTIVES = {"gates": ObjectiveConfig()}  # where nothing is known of a clip, all its tokens have one gate


def text_of(rng, *clips):
    tokens = rng.normal(size=(*clips, TEXT, WIDTH)).astype(np.float32)
    return {"text_tokens": tokens, "text_mask": rng.random((*clips, TEXT)) < 0.8}


def on_grid(rng):
    latents = rng.normal(size=(CLIPS, 2, 8, 2, 2)).astype(np.float32)
    return {"latents": latents, **text_of(rng, CLIPS)}


def in_rows(rng):
    """Clips of three sizes in rows of 32 tokens, not all of them full."""
    shapes = np.array([[2, 4, 2, 2], [1, 4, 2, 2], [1, 3, 2, 2]] * CLIPS)
    plan = Packed(token_grids(shapes, (1, 1, 1)), (1, 1, 1), PackingConfig(32, 3), CLIPS)
    clips = [{"latents": rng.normal(size=shape).astype(np.float32), **text_of(rng)} for shape in shapes]
    rows = [plan.assemble([clips[i % len(clips)] for i in row]) for row in plan.batch(0, 0)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def batches_of(case):
    rng = np.random.default_rng(0)
    batches = [in_rows(rng) if case == "packed" else on_grid(rng) for _ in range(STEPS)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


def loss_of(case, graph, mesh, context):
    objective = OBJECTIVES.get(case, KNOWN)
    null = {"text_tokens": np.zeros((1, TEXT, WIDTH), np.float32), "text_mask": np.ones((1, TEXT), bool)}

    def loss(params, batch, key):
        velocity, cond = as_velocity(merge_module(graph, params), "residual"), dict(batch)
        x0 = cond.pop("latents") if "latents" in cond else cond.pop("tokens")
        draws = draw(key, x0, cond, objective)
        with on_mesh(mesh, context):
            return flow_matching_loss(velocity, x0, cond, null, draws, objective), {}

    return loss


def of_this_host(batches):
    rows = CLIPS // jax.process_count()
    return jax.tree.map(lambda a: a[:, rows * jax.process_index() :][:, :rows], batches)


def mesh_of(axes):
    count = math.prod(size for size in axes.values() if isinstance(size, int))
    return make_mesh(MeshConfig(**{"data": 1} | axes), jax.devices()[:count])


def build(case, axes):
    """The mesh, the structure, and how a state begins there and what it is like."""
    make = lambda rngs: Denoiser(None, BACKBONES[case](rngs))  # noqa: E731
    mesh = mesh_of(axes)
    return mesh, abstract_module(make)[0], *make_init(make, make_optimizer(OPTIMIZER), mesh)


def train(case, axes):
    axes = dict(axes)
    device = axes.pop("products_of", "cpu")
    sharded.platform = shards.platform = lambda: device
    torus = list(np.ndindex(*axes.pop("torus", ())))
    shards.scatter_stages = lambda coords: STAGES(torus if len(torus) > 1 else coords)
    mesh, graph, init, abstract = build(case, axes)
    steps = make_train_steps(
        jax.value_and_grad(loss_of(case, graph, mesh, axes.get("context", "gather")), has_aux=True),
        OPTIMIZER,
        abstract,
    )
    batches = place_batch(of_this_host(batches_of(case)), mesh, 1)
    state, metrics = steps(init(jax.random.key(0)), batches, Horizon(1e-2, 1, STEPS, 0))
    assert placed(state, abstract)
    parts = max(leaf.size // leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params))
    return {"losses": np.asarray(metrics["loss"]).tolist(), "parts": parts}


def placed(state, abstract):
    same = jax.tree.map(lambda leaf, shape: leaf.sharding == shape.sharding, state, abstract)
    return all(jax.tree.leaves(same))


def move(folder, axes, others):
    """Saves random numbers on a mesh; by other mesh, whether they came back there bitwise and in place."""
    rng, found = np.random.default_rng(0), {}
    abstract = build("joint", axes)[-1]
    draw = lambda a: (100 * rng.normal(size=a.shape)).astype(a.dtype)  # noqa: E731
    state = jax.tree.map(lambda a: jax.device_put(draw(a), a.sharding), abstract)
    state = dataclasses.replace(state, step=abs(state.step))
    checkpointer = Checkpointer(folder)
    checkpointer.save(state, {"position": 3})
    for name, other in others.items():
        abstract = build("joint", other)[-1]
        restored, position = checkpointer.restore(abstract)
        same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), state, restored)
        found[name] = (
            all(jax.tree.leaves(same)) and placed(restored, abstract) and position == {"position": 3}
        )
    checkpointer.close()
    return found


def turn(turned_on, num_tables):
    """Queries normalised and turned by a TPU's kernel, and gradients: how far they are from those of one device."""
    rng, shape = np.random.default_rng(0), (4, 4, 512, 128)
    x, weight = rng.normal(size=(2, *shape)).astype(np.float32)
    gain = rng.normal(size=shape[-1]).astype(np.float32)
    angle = np.tile(rng.normal(size=(num_tables, shape[2], shape[3] // 2)), 2)
    tables = tuple(one.astype(np.float32) for one in (np.cos(angle), np.sin(angle)))
    interpreted = functools.partial(turn_tpu.normed_and_turned, interpret=True)

    def step(x, gain):
        return (turns.normed_and_turned(x, gain, tables) * weight).sum()

    expected = jax.grad(lambda *a: (interpreted(*a, tables) * weight).sum(), (0, 1))(x, gain)
    turns.platform, turn_tpu.normed_and_turned = lambda: "tpu", interpreted
    with on_mesh(mesh_of(turned_on), "gather"):
        found = jax.jit(jax.grad(step, (0, 1)))(x, gain)
    pairs = zip(found, expected, strict=True)
    return [float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs]


def main():
    initialise_hosts()
    dit_jax.mesh.MIN_SHARDED_SIZE = 1
    wanted = json.loads(sys.argv[1])
    if "folder" in wanted:
        done = move(**wanted)
    elif "turned_on" in wanted:
        done = turn(**wanted)
    else:
        done = {case: {n: train(case, axes) for n, axes in meshes.items()} for case, meshes in wanted.items()}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
