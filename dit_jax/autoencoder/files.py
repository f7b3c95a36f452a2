# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An autoencoder in one safetensors file: weights, latent statistics, and its kind and config as JSON metadata."""

import dataclasses
import json
import os
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.model import Autoencoder, AutoencoderConfig
from dit_jax.autoencoder.streaming import CausalAutoencoder
from dit_jax.autoencoder.wan import WanAutoencoder, WanAutoencoderConfig

AnyConfig = AutoencoderConfig | WanAutoencoderConfig


class Kind(NamedTuple):
    """An architecture that files hold."""

    config: type[AnyConfig]
    module: type[CausalAutoencoder]


KINDS = {
    "autoencoder": Kind(AutoencoderConfig, Autoencoder),  # also of files that name none: the first ones
    "wan_autoencoder": Kind(WanAutoencoderConfig, WanAutoencoder),
}
_DTYPES = {"F16": np.float16, "F32": np.float32}


def save_autoencoder(
    path: str | os.PathLike, model: CausalAutoencoder, stats: LatentStats, dtype: Any = np.float32
) -> None:
    """Writes `model` and `stats` to `path`, whole or not at all.

    Args:
      path: the file; one that exists is replaced.
      model: of an architecture in `KINDS`; its parameters are written in `dtype`.
      stats: written as float32.
      dtype: float32, or float16 for half the size.

    Raises:
      ValueError: for another dtype, or a weight that is not finite in it.
    """
    if np.dtype(dtype) not in map(np.dtype, _DTYPES.values()):
        raise ValueError(f"dtype {np.dtype(dtype).name} is not kept: use float32 or float16")
    kind = {module: name for name, (_, module) in KINDS.items()}[type(model)]
    with np.errstate(over="ignore"):  # refused below, with its name
        leaves = {name: np.asarray(leaf[...], dtype) for name, leaf in _parameters(model).items()}
    leaves |= {f"latents.{name}": np.asarray(getattr(stats, name), np.float32) for name in ("mean", "std")}
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise ValueError(f"{name} is not finite as {leaf.dtype}: not saved")
    path = pathlib.Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        config = json.dumps({"kind": kind, **dataclasses.asdict(model.config)})
        save_file(leaves, partial, {"config": config})  # one entry: several would come in any order
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def abstract_autoencoder(config: AnyConfig) -> CausalAutoencoder:
    """One of these sizes, without memory for its parameters."""
    (module,) = (kind.module for kind in KINDS.values() if isinstance(config, kind.config))
    return nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0)))


def load_autoencoder(path: str | os.PathLike) -> tuple[CausalAutoencoder, LatentStats]:
    """Reads what `save_autoencoder` wrote; parameters are float32.

    Raises:
      ValueError: one line that names the file and the leaf: not safetensors, no valid kind or config, a leaf
        missing or unknown, of another shape or dtype, or not finite.
    """
    try:
        with safe_open(path, "numpy") as file:
            model = abstract_autoencoder(_read_config(file.metadata()))
            expected = _expected(model)
            _check(file, expected)
            leaves = {name: _read_leaf(file, name) for name in expected}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    for name, parameter in _parameters(model).items():
        parameter.set_value(jnp.asarray(leaves[name]))
    return model, LatentStats(leaves["latents.mean"], leaves["latents.std"])


def read_autoencoder_config(path: str | os.PathLike) -> AnyConfig:
    """The sizes of a saved autoencoder, from its header alone: no device is started.

    Raises:
      ValueError: one line that names the file: not safetensors, or no valid config.
    """
    try:
        with safe_open(path, "numpy") as file:
            return _read_config(file.metadata())
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _parameters(model: CausalAutoencoder) -> dict[str, nnx.Param]:
    """By dotted path, such as `encoder.0.project.kernel`."""
    nodes = nnx.iter_graph(model)
    return {".".join(map(str, path)): node for path, node in nodes if isinstance(node, nnx.Param)}


def _read_config(metadata: dict[str, str] | None) -> AnyConfig:
    if "config" not in (metadata or {}):
        raise ValueError(
            "no config in its metadata: not an autoencoder's weights, or another library's, which "
            "python -m experiments.weights imports"
        )
    try:
        fields = json.loads(metadata["config"])
        if (name := fields.pop("kind", "autoencoder")) not in KINDS:
            raise ValueError(f"kind={name!r} is not one of {', '.join(KINDS)}")
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return KINDS[name].config(**fields)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the config in its metadata is not valid: {reason}") from None


def _expected(model: CausalAutoencoder) -> dict[str, tuple[int, ...]]:
    shapes = {name: leaf.shape for name, leaf in _parameters(model).items()}
    return shapes | {f"latents.{name}": (model.config.latent_channels,) for name in ("mean", "std")}


def _check(file: Any, expected: dict[str, tuple[int, ...]]) -> None:
    """Compares headers only, so that nothing is read from a file that does not fit."""
    names = set(file.keys())
    for name, shape in expected.items():
        if name not in names:
            raise ValueError(f"leaf {name} is missing")
        leaf = file.get_slice(name)
        if tuple(leaf.get_shape()) != shape:
            raise ValueError(f"leaf {name} has shape {tuple(leaf.get_shape())}, its config needs {shape}")
        if leaf.get_dtype() not in _DTYPES:
            raise ValueError(f"leaf {name} has dtype {leaf.get_dtype()}: only {', '.join(_DTYPES)} are read")
    for name in sorted(names - expected.keys()):
        raise ValueError(f"leaf {name} is unknown to its config")


def _read_leaf(file: Any, name: str) -> np.ndarray:
    leaf = file.get_tensor(name).astype(np.float32)
    if not np.isfinite(leaf).all():
        raise ValueError(f"leaf {name} is not finite")
    if name == "latents.std" and not (leaf > 0).all():
        raise ValueError(f"leaf {name} is not positive")
    return leaf
