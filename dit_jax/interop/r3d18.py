# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""R3D-18 from the weights of torchvision's `r3d_18`, in a safetensors file."""

import jax.numpy as jnp
import numpy as np

from dit_jax.evaluate.r3d18 import R3D18, Layer, layers
from dit_jax.interop.safetensors import Path, TensorFiles, check_shapes, open_tensors

EPSILON = 1e-5  # of the batch norms
NORM = ("weight", "bias", "running_mean", "running_var")


def load_r3d18(path: Path) -> R3D18:
    """Reads the network, its batch norms folded into its convolutions; the classifier, if any, is left out.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, or tensors missing or of another shape.
    """
    with open_tensors(path) as tensors:
        expected = {}
        for name, width_in, width, kernel, _ in layers():
            expected[f"{name}.weight"] = (width, width_in, *kernel)
            expected |= {f"{_norm(name)}.{part}": (width,) for part in NORM}
        check_shapes({name: tensors.shapes[name] for name in expected if name in tensors.shapes}, expected)
        return R3D18({name: _folded(tensors, name) for name, *_ in layers()})


def _norm(name: str) -> str:
    """The norm behind a convolution: torchvision numbers them 0 and 1."""
    return f"{name[:-1]}1"


def _folded(tensors: TensorFiles, name: str) -> Layer:
    gain, offset, mean, variance = (tensors.read(f"{_norm(name)}.{part}") for part in NORM)
    scale = gain / np.sqrt(variance + EPSILON)
    kernel = np.transpose(tensors.read(f"{name}.weight"), (2, 3, 4, 1, 0)) * scale
    return jnp.asarray(kernel), jnp.asarray(offset - mean * scale)
