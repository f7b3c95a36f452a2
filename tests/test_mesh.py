# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where arrays lie; and, on eight virtual devices in a process of their own, that it changes no number."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec
from test_architecture import ROOT

from dit_jax.mesh import MeshConfig, batch_spec, make_mesh, parameter_spec


def mesh_of(**axes):
    shape = {"data": 1, "fsdp": 1, "model": 1, "seq": 1} | axes
    return AbstractMesh(tuple(shape.values()), tuple(shape))


def test_parameters_are_sharded_along_dims_that_divide():
    mesh = mesh_of(fsdp=4, model=2)
    assert parameter_spec((6, 512, 384), mesh) == PartitionSpec(None, "fsdp", "model")
    assert parameter_spec((3, 514, 384), mesh) == PartitionSpec(None, "model", "fsdp")
    assert parameter_spec((513, 515), mesh) == PartitionSpec(None, None)
    assert parameter_spec((64,), mesh) == PartitionSpec()


def test_batches_are_sharded_over_data_and_fsdp():
    mesh = mesh_of(data=2, fsdp=2, seq=2)
    assert batch_spec((8, 32), mesh) == PartitionSpec(("data", "fsdp"))
    assert batch_spec((8, 3, 4, 4, 16), mesh) == PartitionSpec(("data", "fsdp"), None, "seq")
    assert batch_spec((10, 8, 32), mesh, leading=1) == PartitionSpec(None, ("data", "fsdp"))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((6, 32), "batch_size=6 does not divide over .* 4 devices"), ((8, 3, 5, 4, 16), "5 rows .* seq=2")],
)
def test_what_does_not_divide_is_named(shape, message):
    with pytest.raises(ValueError, match=message):
        batch_spec(shape, mesh_of(data=2, fsdp=2, seq=2))


def test_a_mesh_must_have_the_devices():
    with pytest.raises(ValueError, match="needs 6 devices and 1 are there"):
        make_mesh(MeshConfig(data=3, fsdp=2))
    with pytest.raises(ValueError, match="must be positive"):
        MeshConfig(fsdp=0)
    assert dict(make_mesh(MeshConfig()).shape) == {"data": 1, "fsdp": 1, "model": 1, "seq": 1}


SCRIPT = """
import json, sys
import jax, numpy as np
from flax import nnx
import dit_jax.mesh
from dit_jax.autoencoder.model import Autoencoder
from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.diffusion.objective import ObjectiveConfig, draw, flow_matching_loss
from dit_jax.diffusion.path import as_velocity
from dit_jax.denoiser import Denoiser
from dit_jax.mesh import MeshConfig, make_mesh, place_batch
from dit_jax.text.byte import ByteTextConfig, ByteTextEncoder
from dit_jax.train.optimizer import Horizon, OptimizerConfig, make_optimizer
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import make_train_steps

dit_jax.mesh.MIN_SHARDED_SIZE = 1
dit_jax.mesh.parameter_spec.__defaults__ = (1,)
dit_jax.mesh.parameter_shardings.__defaults__ = (1,)
text = ByteTextConfig(max_bytes=16, width=16, num_heads=2)
dit = DiTConfig(in_channels=4, width=16, depth=1, num_heads=2, text_width=16, patch=(1, 1, 1))
make = lambda rngs: Denoiser(ByteTextEncoder(text, rngs=rngs), DiT(dit, rngs=rngs))
graph, _ = abstract_module(make)
rng = np.random.default_rng(0)
batches = {
    "latents": rng.normal(size=(6, 8, 2, 4, 4, 4)).astype(np.float32),
    "text_ids": rng.integers(2, 100, (6, 8, 16)).astype(np.int32),
}
null = {"text_ids": jax.numpy.ones((1, 16), "int32")}


def loss(params, batch, key):
    velocity = as_velocity(merge_module(graph, params), "residual")
    cond = {"text_ids": batch["text_ids"]}
    draws = draw(key, batch["latents"], cond, ObjectiveConfig())
    return flow_matching_loss(velocity, batch["latents"], cond, null, draws), {}


curves, sharded = {}, {}
for name, axes in json.loads(sys.argv[1]).items():
    count = int(np.prod(list(axes.values()) or [1]))
    mesh = make_mesh(MeshConfig(**{"data": 1} | axes), jax.devices()[:count])
    init, abstract = make_init(make, make_optimizer(OptimizerConfig()), mesh)
    state = init(jax.random.key(0))
    kernel = state.params["backbone"]["blocks"]["blocks"][0]["mlp"]["up"]["kernel"]
    sharded[name] = kernel.size // kernel.addressable_shards[0].data.size
    steps = make_train_steps(loss, OptimizerConfig(), abstract)
    state, metrics = steps(state, place_batch(batches, mesh, 1), Horizon(1e-2, 1, 6, 0))
    where = jax.tree.map(lambda leaf, shape: leaf.sharding == shape.sharding, state, abstract)
    assert all(jax.tree.leaves(where)), where
    curves[name] = np.asarray(metrics["loss"]).tolist()
print(json.dumps([curves, sharded]))
"""


def test_every_mesh_trains_alike():
    meshes = {
        "one": {},
        "fsdp": {"fsdp": 4},
        "seq": {"data": 2, "seq": 2},
        "all": {"fsdp": 2, "model": 2, "seq": 2},
    }
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", SCRIPT, json.dumps(meshes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    curves, sharded = json.loads(done.stdout.splitlines()[-1])
    for name in meshes:
        np.testing.assert_allclose(curves[name], curves["one"], rtol=1e-5)
    assert len(set(curves["one"])) == 6
    assert sharded == {"one": 1, "fsdp": 4, "seq": 1, "all": 4}
