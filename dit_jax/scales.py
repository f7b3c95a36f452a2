# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How a config's parameters scale with its width and depth: its model held against larger ones."""

import copy
import dataclasses

import jax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.train.state import abstract_module
from dit_jax.train.transfer import GROWTH, parameter_scales

DEPTHS = ("depth", "single_depth")  # of a backbone: their sum is its depth


def scales(config: ConfigDict) -> PyTree | None:
    """A `ParameterScale` for every parameter of the denoiser; None where the optimizer needs none."""
    optimizer, backbone = build.section(config, "optimizer"), build.backbone_config(config)
    if not optimizer.needs_scales:
        return None
    models = config, wider(config), deeper(config)
    depth = sum(getattr(backbone, name, 0) for name in DEPTHS)
    made = parameter_scales(
        *(abstract_module(build.denoiser(one))[1] for one in models),
        width_ratio=(optimizer.base_width or backbone.width) / backbone.width,
        depth_ratio=(optimizer.base_depth or depth) / depth,
    )
    return made if optimizer.trainable == "all" else _temporal_alone(made, config)


def _temporal_alone(made: PyTree, config: ConfigDict) -> PyTree:
    """With no parameter trained but what of the backbone learns from video alone."""
    is_temporal = build.backbone(config).is_temporal
    if is_temporal is None:
        raise ValueError(
            f"config.optimizer.trainable='temporal' and config.backbone.name={config.backbone.name!r}, which sets "
            "no parameters apart for time: train 'all', or take a video U-Net"
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, scale: dataclasses.replace(
            scale, is_trained=path[0].key == "backbone" and is_temporal(path)
        ),
        made,
    )


def wider(config: ConfigDict) -> ConfigDict:
    """With a backbone `GROWTH` times as wide; and a text encoder too, where it is trained and its width is a
    multiple of the backbone's, as it is on the ladder."""
    grown = copy.deepcopy(config)
    backbone, text = grown.backbone, grown.text
    if text.get("name", "byte") == "byte" and text.width % backbone.width == 0:
        backbone.text_width = text.width = GROWTH * text.width
    backbone.width *= GROWTH
    return grown


def deeper(config: ConfigDict) -> ConfigDict:
    """With a backbone `GROWTH` times as deep."""
    grown = copy.deepcopy(config)
    grown.backbone.update({name: GROWTH * grown.backbone[name] for name in DEPTHS if name in grown.backbone})
    return grown
