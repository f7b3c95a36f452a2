# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of the U-Net of Stable Video Diffusion, by the names and in the layout of diffusers."""

import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dit_jax.backbone.unet_latent import UNetLatent
from dit_jax.backbone.unet_latent_config import AUGMENTED, MICRO, UNetLatentConfig
from dit_jax.files import write_whole
from dit_jax.interop.entries import read_diffusers_config
from dit_jax.interop.safetensors import check_shapes, open_tensors, save_tensors

CLASS_NAME = "UNetSpatioTemporalConditionModel"
# Latents there have unit deviation after a factor of .18215; the given frame is without it.
FRAME_SCALE = 1 / 0.18215
SVD = UNetLatentConfig(
    time_input="log_sigma", known_input="augmented_frame", frame_scale=FRAME_SCALE
)  # published
GROUPS = 32  # of every group norm there

# Patterns in our paths, replaced in this order by what they are to diffusers.
_NAMES = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"^stem\b", "conv_in"),
        (r"^head_norm\b", "conv_norm_out"),
        (r"^head\b", "conv_out"),
        (r"\b(time_embedding|micro_embedding|position)\.up\b", r"\1.linear_1"),
        (r"\b(time_embedding|micro_embedding|position)\.down\b", r"\1.linear_2"),
        (r"^micro_embedding\b", "add_embedding"),
        (r"^(down|up)\.(\d+)\.resize\b", r"\1_blocks.\2.\1samplers.0.conv"),
        (r"^(down|up)\.(\d+)\.blocks\.(\d+)\.(residual|transformer)\b", r"\1_blocks.\2.\4.\3"),
        (r"^middle\.(\d+)\.(residual|transformer)\b", r"mid_block.\2.\1"),
        (r"\bresidual\.(\d+)\.space\b", r"residual.\1.spatial_res_block"),
        (r"\bresidual\.(\d+)\.time\b", r"residual.\1.temporal_res_block"),
        (r"\btransformer\.(\d+)\.space\b", r"transformer.\1.transformer_blocks.0"),
        (r"\btransformer\.(\d+)\.time\b", r"transformer.\1.temporal_transformer_blocks.0"),
        (r"\bresidual\b", "resnets"),
        (r"\btransformer\b", "attentions"),
        (r"\bembedding\b", "time_emb_proj"),
        (r"\bshortcut\b", "conv_shortcut"),
        (r"\benter\b", "proj_in"),
        (r"\bleave\b", "proj_out"),
        (r"\bposition\b", "time_pos_embed"),
        (r"\btime_norm\b", "temporal_transformer_blocks.0.norm_in"),
        (r"\btime_mlp\b", "temporal_transformer_blocks.0.ff_in"),
        (r"\battention_norm\b", "norm1"),
        (r"\btext_norm\b", "norm2"),
        (r"\bmlp_norm\b", "norm3"),
        (r"\battention\b", "attn1"),
        (r"\btext\b", "attn2"),
        (r"\bmlp\b", "ff"),
        (r"\bquery\b", "to_q"),
        (r"\bkey\b", "to_k"),
        (r"\bvalue\b", "to_v"),
        (r"\bout\b", "to_out.0"),
        (r"\b(ff|ff_in)\.up\b", r"\1.net.0.proj"),
        (r"\b(ff|ff_in)\.down\b", r"\1.net.2"),
        (r"\bblend\.mix$", "time_mixer.mix_factor"),
        (r"\b(kernel|gain)$", "weight"),
    )
)


def read_svd_config(path: str | os.PathLike) -> UNetLatentConfig:
    """Sizes that diffusers' `config.json` beside weights tells; without one, those published.

    Args:
      path: as for `load_svd`.

    Raises:
      ValueError: one line that names the `config.json`: not JSON, or a network that is none of ours.
    """
    found = read_diffusers_config(path, CLASS_NAME, _from_diffusers, "a latent video U-Net")
    return found or SVD


def load_svd(path: str | os.PathLike, config: UNetLatentConfig | None = None) -> UNetLatent:
    """Reads weights in diffusers' names and layout; parameters are float32.

    Args:
      path: a safetensors file, the index of several, or a folder that holds one of these.
      config: sizes; by default what `read_svd_config` says.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, or tensors missing, unknown, or of another shape.
    """
    config = read_svd_config(path) if config is None else config
    model = nnx.eval_shape(lambda: UNetLatent(config, rngs=nnx.Rngs(0)))
    parameters = _parameters(model)
    with open_tensors(path) as tensors:
        check_shapes(tensors.shapes, {name: _foreign_shape(name, p.shape) for name, p in parameters.items()})
        for name, parameter in parameters.items():
            parameter.set_value(jnp.asarray(_to_ours(tensors.read(name), parameter.shape)))
    return model


def export_svd(folder: str | os.PathLike, model: UNetLatent) -> None:
    """Writes a folder that diffusers' `UNetSpatioTemporalConditionModel.from_pretrained` reads, and `load_svd`.

    Raises:
      ValueError: that class has no such network.
    """
    content = json.dumps(_diffusers_config(model.config), indent=2) + "\n"
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "diffusion_pytorch_model.safetensors", svd_tensors(model), {"format": "pt"})
    write_whole(folder / "config.json", content)


def svd_tensors(model: UNetLatent) -> Iterator[tuple[str, np.ndarray]]:
    """Every parameter of `model`, or of its gradient, by diffusers' names and in PyTorch's layout."""
    for name, parameter in _parameters(model).items():
        ours = np.asarray(parameter[...])
        foreign = np.moveaxis(ours, (-1, -2), (0, 1)) if ours.ndim > 1 else ours
        yield name, foreign.reshape(_foreign_shape(name, ours.shape))


def _parameters(model: UNetLatent) -> dict[str, nnx.Param]:
    """By the names of diffusers."""
    nodes = nnx.iter_graph(model)
    return {_foreign_name(path): node for path, node in nodes if isinstance(node, nnx.Param)}


def _foreign_name(path: tuple[str | int, ...]) -> str:
    name = ".".join(map(str, path))
    for ours, theirs in _NAMES:
        name = ours.sub(theirs, name)
    return name


def _foreign_shape(name: str, ours: tuple[int, ...]) -> tuple[int, ...]:
    """Of a kernel `(..., in, out)`: `(out, in, ...)`, with the axes that a convolution there has besides."""
    if len(ours) == 1:
        return ours
    missing = {3: 2, 2: 2 * name.endswith("conv_shortcut.weight")}.get(len(ours), 0)
    return (ours[-1], ours[-2], *ours[:-2], *[1] * missing)


def _to_ours(foreign: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return foreign
    return np.moveaxis(foreign.reshape(shape[-1], shape[-2], *shape[:-2]), (0, 1), (-1, -2))


def _from_diffusers(found: Mapping[str, Any]) -> UNetLatentConfig:
    """Raises ValueError for what diffusers can build and `UNetLatent` cannot."""
    channels = tuple(found["block_out_channels"])
    heads = found["num_attention_heads"]
    heads = (heads,) * len(channels) if isinstance(heads, int) else heads
    attends = [name == "CrossAttnDownBlockSpatioTemporal" for name in found["down_block_types"]]
    mirrored = [name == "CrossAttnUpBlockSpatioTemporal" for name in reversed(found["up_block_types"])]
    if attends != mirrored or any(n % channels[0] for n in channels):
        raise ValueError(
            f"block types that differ on the way up, or {channels=} that are no multiples of the first"
        )
    if _only(found.get("transformer_layers_per_block", 1), "transformer_layers_per_block") != 1:
        raise ValueError("transformer_layers_per_block must be 1")
    head_dims = tuple(n // count for n, count in zip(channels, heads, strict=True))
    features = found["addition_time_embed_dim"]
    micro = tuple(MICRO)[: found["projection_class_embeddings_input_dim"] // features]
    known_input = _known_input(found["in_channels"], found["out_channels"], micro)
    return UNetLatentConfig(
        in_channels=found["out_channels"],
        width=channels[0],
        depth=_only(found["layers_per_block"], "layers_per_block"),
        channel_multipliers=tuple(n // channels[0] for n in channels),
        attention_levels=tuple(level for level, here in enumerate(attends) if here),
        head_dim=head_dims[0] if len(set(head_dims)) == 1 else head_dims,
        text_width=_only(found["cross_attention_dim"], "cross_attention_dim"),
        num_groups=GROUPS,
        micro=micro,
        micro_features=features,
        time_input=found.get("time_input", SVD.time_input),
        known_input=found.get("known_input", known_input),
        frame_scale=found.get("frame_scale", SVD.frame_scale),
    )


def _only(value: int | list[int], name: str) -> int:
    """The number that all levels have."""
    values = {value} if isinstance(value, int) else set(value)
    if len(values) != 1:
        raise ValueError(f"{name}={value} must be the same at every level")
    return values.pop()


def _known_input(in_channels: int, out_channels: int, micro: tuple[str, ...]) -> str:
    frame = SVD.known_input if AUGMENTED in micro else "first_frame"
    inputs = {out_channels: "none", 2 * out_channels: frame, 2 * out_channels + 1: "mask"}
    if in_channels not in inputs:
        raise ValueError(
            f"in_channels={in_channels} is not one of {tuple(inputs)}, of out_channels={out_channels}"
        )
    return inputs[in_channels]


def _diffusers_config(config: UNetLatentConfig) -> dict[str, object]:
    if config.num_groups != GROUPS or config.micro != tuple(MICRO)[: len(config.micro) or 1]:
        raise ValueError(
            f"{CLASS_NAME} has no num_groups={config.num_groups} with micro={config.micro}: it needs {GROUPS} "
            f"groups, and the first one or more of {tuple(MICRO)}"
        )
    attends = [level in config.attention_levels for level in range(len(config.channels))]
    kinds = [f"{'CrossAttn' * here}{{}}BlockSpatioTemporal" for here in attends]
    told = _known_input(config.input_channels, config.in_channels, config.micro)
    published = dict(time_input=SVD.time_input, known_input=told, frame_scale=SVD.frame_scale)
    ours = {name: getattr(config, name) for name in published if getattr(config, name) != published[name]}
    return {
        "_class_name": CLASS_NAME,
        "addition_time_embed_dim": config.micro_features,
        "block_out_channels": config.channels,
        "cross_attention_dim": config.text_width,
        "down_block_types": [kind.format("Down") for kind in kinds],
        "in_channels": config.input_channels,
        "layers_per_block": config.depth,
        "num_attention_heads": [n // width for n, width in zip(config.channels, config.head_dims)],
        "out_channels": config.in_channels,
        "projection_class_embeddings_input_dim": config.micro_features * len(config.micro),
        "transformer_layers_per_block": 1,
        "up_block_types": [kind.format("Up") for kind in reversed(kinds)],
        **ours,
    }
