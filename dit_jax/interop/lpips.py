# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS from the weights of PyTorch's packages, in one safetensors file."""

import jax.numpy as jnp
import numpy as np

from dit_jax.autoencoder.perceptual import VGG16, Lpips
from dit_jax.interop.safetensors import Path, TensorFiles, check_shapes, open_tensors

# Places of the convolutions in torchvision's `vgg16().features`, by blocks.
PLACES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def load_lpips(path: Path) -> Lpips:
    """Reads the distance.

    The file holds either the state of `lpips.LPIPS(net="vgg")`, or the `features.*` of torchvision's `vgg16` beside
    the `lin0.model.1.weight` to `lin4.model.1.weight` that lpips keeps apart; what else it holds is ignored.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, or tensors missing or of another shape.
    """
    with open_tensors(path) as tensors:
        whole = "net.slice1.0.weight" in tensors.shapes
        expected = _expected(whole)
        check_shapes({name: tensors.shapes[name] for name in expected if name in tensors.shapes}, expected)
        blocks = tuple(
            tuple(_conv(tensors, _name(whole, block, place)) for place in places)
            for block, places in enumerate(PLACES)
        )
        return Lpips(
            blocks, tuple(jnp.asarray(tensors.read(_head(block)).ravel()) for block in range(len(VGG16)))
        )


def _name(whole: bool, block: int, place: int) -> str:
    return f"net.slice{block + 1}.{place}" if whole else f"features.{place}"


def _head(block: int) -> str:
    return f"lin{block}.model.1.weight"


def _expected(whole: bool) -> dict[str, tuple[int, ...]]:
    shapes, width_in = {}, 3
    for block, (widths, places) in enumerate(zip(VGG16, PLACES)):
        for width, place in zip(widths, places):
            name = _name(whole, block, place)
            shapes |= {f"{name}.weight": (width, width_in, 3, 3), f"{name}.bias": (width,)}
            width_in = width
        shapes[_head(block)] = (1, width_in, 1, 1)
    return shapes


def _conv(tensors: TensorFiles, name: str) -> tuple[jnp.ndarray, jnp.ndarray]:
    kernel = np.transpose(tensors.read(f"{name}.weight"), (2, 3, 1, 0))
    return jnp.asarray(kernel), jnp.asarray(tensors.read(f"{name}.bias"))
