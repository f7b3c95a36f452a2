# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""R3D-18 against PyTorch: the network built anew from the layout of torchvision's weights, at random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dit_jax.evaluate.r3d18 import layers
from dit_jax.interop.r3d18 import load_r3d18


@pytest.fixture(scope="module")
def weights():
    rng, state = np.random.default_rng(0), {}
    for name, width_in, width, kernel, _ in layers():
        deviation = (2 / (width_in * np.prod(kernel))) ** 0.5
        state[f"{name}.weight"] = rng.normal(0, deviation, (width, width_in, *kernel)).astype(np.float32)
        norm = f"{name[:-1]}1"
        state[f"{norm}.weight"] = rng.uniform(0.5, 1, width).astype(np.float32)
        state[f"{norm}.bias"] = rng.normal(0, 0.2, width).astype(np.float32)
        state[f"{norm}.running_mean"] = rng.normal(0, 0.2, width).astype(np.float32)
        state[f"{norm}.running_var"] = rng.uniform(0.5, 2, width).astype(np.float32)
        state[f"{norm}.num_batches_tracked"] = np.array(7)
    return state


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("r3d18") / "r3d18.safetensors"
    save_file(weights | {"fc.bias": np.zeros(400, np.float32)}, path)
    return path


def by_torch(weights, video):
    """torchvision's modules by their names, in PyTorch; `video` is of the network's own size."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}

    def conv(x, name, stride, padding):
        x = functional.conv3d(x, state[f"{name}.0.weight"], stride=stride, padding=padding)
        parts = (state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, training=False, eps=1e-5)

    mean, deviation = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    x = (((torch.from_numpy(video) + 1) / 2 - mean) / deviation).permute(0, 4, 1, 2, 3)
    x = functional.relu(conv(x, "stem", (1, 2, 2), (1, 3, 3)))
    for name in (
        "layer1.0",
        "layer1.1",
        "layer2.0",
        "layer2.1",
        "layer3.0",
        "layer3.1",
        "layer4.0",
        "layer4.1",
    ):
        stride = 2 if name in ("layer2.0", "layer3.0", "layer4.0") else 1
        y = conv(functional.relu(conv(x, f"{name}.conv1", stride, 1)), f"{name}.conv2", 1, 1)
        x = functional.relu(y + (conv(x, f"{name}.downsample", stride, 0) if stride == 2 else x))
    return functional.adaptive_avg_pool3d(x, 1).flatten(1).numpy()


def test_it_is_pytorchs(weights, file):
    video = np.random.default_rng(1).uniform(-1, 1, (1, 3, 112, 112, 3)).astype(np.float32)
    got, expected = (
        jax.jit(lambda network, video: network(video))(load_r3d18(file), video),
        by_torch(weights, video),
    )
    assert got.shape == (1, 512)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_it_has_the_parameters_of_the_published_network():
    """33.4 million with the classifier of 400 classes: torchvision counts 33,371,472."""
    convolutions = sum(i * o * int(np.prod(kernel)) + 2 * o for _, i, o, kernel, _ in layers())
    assert convolutions + 512 * 400 + 400 == 33_371_472


def test_clips_of_any_size_are_resized(file):
    network = load_r3d18(file)
    shape = jax.eval_shape(network, jax.ShapeDtypeStruct((2, 5, 24, 40, 3), jnp.float32)).shape
    assert shape == (2, 512)


def test_weights_that_are_missing_are_named(weights, tmp_path):
    path = tmp_path / "part.safetensors"
    save_file({name: weights[name] for name in weights if name != "layer2.0.conv1.1.bias"}, path)
    with pytest.raises(ValueError, match=r"part\.safetensors: .*missing 1: layer2\.0\.conv1\.1\.bias"):
        load_r3d18(path)
