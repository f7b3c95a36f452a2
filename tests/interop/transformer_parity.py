# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the comparisons with public transformers share."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file

from dit_jax.interop.transformers import load_transformer
from dit_jax.interop.weights import export_weights, import_weights

WEIGHTS = "diffusion_pytorch_model.safetensors"


def randomised(module, seed=0):
    """Every parameter drawn anew, gains around one."""
    rng = np.random.default_rng(seed)
    for name, parameter in module.named_parameters():
        fan_in = np.prod(parameter.shape[1:]) if parameter.ndim > 1 and "table" not in name else 10
        centre = float("norm" in name and name.endswith("weight") and parameter.ndim == 1)
        values = centre + rng.normal(size=parameter.shape) / np.sqrt(fan_in)
        parameter.data = torch.tensor(values, dtype=torch.float32)
    return module.eval()


def tensors_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def saved(folder, tensors, name=WEIGHTS):
    folder.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / name)
    return folder


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def predict(model, *inputs):
    """Compiled, and hardly optimised: what is small compiles longer than it runs."""
    graph, params = nnx.split(model)
    arrays = [jnp.asarray(a) for a in inputs]
    run = jax.jit(lambda params, *arrays: nnx.merge(graph, params)(*arrays)).lower(params, *arrays)
    return np.asarray(run.compile({"xla_backend_optimization_level": 0})(params, *arrays))


def channels_first(latents):
    return torch.tensor(np.moveaxis(latents, -1, 1))


def channels_last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def assert_same(found, expected, rtol=0.0):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        atol = rtol * np.abs(tensor).max()
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=atol, err_msg=name)


def assert_comes_back(kind, folder, tmp_path, rtol=0.0, name=WEIGHTS):
    """In by the command's functions, through a file of ours, and out as it was."""
    ours = import_weights(kind, folder, tmp_path / "ours.safetensors")
    export_weights(kind, ours, tmp_path / "out")
    assert_same(load_file(tmp_path / "out" / name), load_file(next(folder.glob("*.safetensors"))), rtol)
    load_transformer(kind, tmp_path / "out")  # its config.json is read too
    return tmp_path / "out"
