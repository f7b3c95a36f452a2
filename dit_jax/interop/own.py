# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Backbones of ours in safetensors files that say what they hold.

A tensor has the path of its parameter for a name, and blocks lie stacked, their number first. The metadata has one
entry, `config`: the `kind` of the file, the backbone's name and sizes, and what else is needed to use it.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from dit_jax import build
from dit_jax.backbone.registry import BACKBONES
from dit_jax.denoiser import Denoiser
from dit_jax.files import read_config
from dit_jax.interop.entries import parameters_by_path
from dit_jax.interop.safetensors import check_shapes, open_tensors, save_tensors
from dit_jax.sections import construct
from dit_jax.text.byte import ByteTextConfig, ByteTextEncoder
from dit_jax.train.checkpoint import CHECKPOINTS, Checkpointer
from dit_jax.train.state import abstract_module, merge_module, split_module

KEPT = "kept."  # begins the names of what comes along and is no parameter
ABOUT = ("objective",)  # sections of a run without which its predictions can't be read

Path = str | os.PathLike


class Own(NamedTuple):
    """What a file of ours holds.

    Attributes:
      denoiser: a backbone, and the text encoder that was trained with it if one was.
      kept: what comes along.
      about: what else its config tells.
    """

    denoiser: Denoiser
    kept: Mapping[str, np.ndarray]
    about: Mapping[str, Any]


def load_run(folder: Path) -> tuple[Denoiser, dict[str, Any]]:
    """The averaged parameters of a run's newest checkpoint, and the sections that tell what they predict.

    Raises:
      FileNotFoundError: `folder` is not a run's, or it has not saved yet.
    """
    config = read_config(folder)
    if "backbone" not in config or "sweep" in config:
        raise FileNotFoundError(f"{folder} is not the folder of a run of a backbone: give one")
    graph, shapes = abstract_module(build.denoiser(config))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), shapes)
    checkpointer = Checkpointer(pathlib.Path(folder) / CHECKPOINTS)
    try:
        denoiser = merge_module(graph, checkpointer.load("ema", shapes))
    finally:
        checkpointer.close()
    return denoiser, {name: config[name].to_dict() for name in ABOUT if name in config}


def trained_parameters(path: Path) -> PyTree:
    """The denoiser's parameters of a run (a folder) or of a file of ours (`experiments.weights` makes them of
    published weights).

    Raises:
      FileNotFoundError: no such run or file.
      ValueError: it is not one of ours.
    """
    path = pathlib.Path(path)
    denoiser = load_run(path)[0] if path.is_dir() else load_backbone(path).denoiser
    return split_module(denoiser)[1]


def save_backbone(
    path: Path,
    denoiser: Denoiser,
    about: Mapping[str, Any] | None = None,
    *,
    kind: str = "backbone",
    kept: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a file, or several with an index, that `load_backbone` reads.

    Args:
      path: ends in `.safetensors`.
      denoiser: its parameters are written in the dtype they have.
      about: kept with the config.
      kind: of the file.
      kept: tensors that come along, whose names begin with `kept.`.
    """
    config = {**(about or {}), "kind": kind, "backbone": _described(denoiser.backbone)}
    if denoiser.text is not None:
        config["text"] = dataclasses.asdict(denoiser.text.config)
    save_tensors(path, _tensors(denoiser, kept or {}), {"config": json.dumps(config)})


def load_backbone(path: Path) -> Own:
    """Reads what `save_backbone` wrote, of any kind; parameters are float32.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not one of ours, or tensors missing, unknown, of another shape, or
        not finite.
    """
    with open_tensors(path) as tensors:
        try:
            about = dict(json.loads(tensors.metadata.get("config", "{}")))
            denoiser = _abstract(about)
        except (AttributeError, TypeError, RecursionError, json.JSONDecodeError):
            raise ValueError("it has no config of a backbone: not a file of ours") from None
        parameters = parameters_by_path(denoiser)
        kept = {name: shape for name, shape in tensors.shapes.items() if name.startswith(KEPT)}
        check_shapes(tensors.shapes, {name: tuple(p.shape) for name, p in parameters.items()} | kept)
        for name, parameter in parameters.items():
            parameter.set_value(jnp.asarray(tensors.read(name)))
        return Own(denoiser, {name: tensors.read(name) for name in kept}, about)


def _tensors(denoiser: Denoiser, kept: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for name, parameter in parameters_by_path(denoiser).items():
        yield name, np.asarray(parameter[...])
    yield from kept.items()


def _described(backbone: nnx.Module) -> dict[str, Any]:
    names = {kind.module: name for name, kind in BACKBONES.items()}
    return {"name": names[type(backbone)], **dataclasses.asdict(backbone.config)}


def _abstract(about: Mapping[str, Any]) -> Denoiser:
    """The module that a config describes."""
    fields = dict(about.get("backbone") or {})
    kind = BACKBONES.get(fields.pop("name", None))
    if kind is None:
        raise ValueError("it has no config of a backbone: not a file of ours")
    config = construct(kind.config, fields, "backbone")
    text = construct(ByteTextConfig, about["text"], "text") if "text" in about else None

    def make() -> Denoiser:
        rngs = nnx.Rngs(0)
        encoder = None if text is None else ByteTextEncoder(text, rngs=rngs)
        return Denoiser(encoder, kind.module(config, rngs=rngs))

    return nnx.eval_shape(make)
