# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS against PyTorch: the network built anew from the layout of the weights, at random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dit_jax.interop.lpips import load_lpips

CONVS = {  # place in torchvision's features: widths in and out
    0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
POOLS, TAPS = (4, 9, 16, 23), (3, 8, 15, 22, 29)  # places of poolings, and of the outputs that count
SLICES = {place: 1 + sum(place > pool for pool in POOLS) for place in CONVS}


@pytest.fixture(scope="module")
def weights():
    rng, state = np.random.default_rng(0), {}
    for place, (width_in, width) in CONVS.items():
        kernel = rng.normal(0, (2 / (9 * width_in)) ** 0.5, (width, width_in, 3, 3))
        state[f"features.{place}.weight"] = kernel.astype(np.float32)
        state[f"features.{place}.bias"] = rng.normal(0, 0.1, width).astype(np.float32)
    for number, width in enumerate((64, 128, 256, 512, 512)):
        state[f"lin{number}.model.1.weight"] = rng.uniform(0, 1, (1, width, 1, 1)).astype(np.float32)
    return state


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(weights | {"classifier.0.bias": np.zeros(3, np.float32)}, path)
    return path


def videos():
    rng = np.random.default_rng(1)
    return [rng.uniform(-1, 1, (1, 2, 20, 16, 3)).astype(np.float32) for _ in range(2)]


def by_torch(weights, a, b):
    """As the paper has it, in PyTorch."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    state = {name: torch.from_numpy(value) for name, value in weights.items()}

    def features(video):
        x = torch.from_numpy(video.reshape(-1, *video.shape[2:])).permute(0, 3, 1, 2)
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        found = []
        for place in range(30):
            if place in CONVS:
                x = functional.conv2d(
                    x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1
                )
            elif place in POOLS:
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.relu(x)
            if place in TAPS:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    pairs = zip(features(a), features(b))
    total = sum(
        functional.conv2d((x - y).square(), state[f"lin{i}.model.1.weight"]).mean((1, 2, 3))
        for i, (x, y) in enumerate(pairs)
    )
    return total.reshape(a.shape[:2]).numpy()


def test_it_is_pytorchs(weights, file):
    a, b = videos()
    got = jax.jit(lambda network, a, b: network(a, b))(load_lpips(file), a, b)
    np.testing.assert_allclose(got, by_torch(weights, a, b), rtol=1e-4)


def test_the_state_of_the_lpips_package_is_read_too(weights, file, tmp_path):
    renamed = {
        (
            f"net.slice{SLICES[int(name.split('.')[1])]}.{name.split('.', 1)[1]}" if name[0] == "f" else name
        ): value
        for name, value in weights.items()
    }
    save_file(renamed, tmp_path / "whole.safetensors")
    for one, other in zip(
        jax.tree.leaves(load_lpips(tmp_path / "whole.safetensors")),
        jax.tree.leaves(load_lpips(file)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_equal_frames_are_at_zero_with_a_finite_gradient(file):
    a, network = jnp.asarray(videos()[0]), load_lpips(file)
    distance = lambda x, y, network: network(x, y).sum()  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(distance))(a, a, network)
    assert value == pytest.approx(0, abs=1e-8)
    assert np.isfinite(gradient).all()


def test_weights_that_are_missing_are_named(weights, tmp_path):
    path = tmp_path / "vgg.safetensors"
    save_file({name: value for name, value in weights.items() if not name.startswith("lin3")}, path)
    with pytest.raises(ValueError, match=r"vgg\.safetensors: .*missing 1: lin3\.model\.1\.weight"):
        load_lpips(path)


def test_frames_too_small_are_refused(file):
    with pytest.raises(ValueError, match="LPIPS needs 16 x 16"):
        load_lpips(file)(jnp.zeros((1, 1, 8, 32, 3)), jnp.zeros((1, 1, 8, 32, 3)))
