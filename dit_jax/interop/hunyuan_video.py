# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of HunyuanVideo's transformer, by the names and in the layout of diffusers.

There rotary positions turn features that are neighbours, here those half a head apart: queries, keys and
their gains have the features of each head in another order. So have patches, and the head's modulation.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dit_jax.backbone.mmdit import MMDiT
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.backbone.presets import preset
from dit_jax.files import write_whole
from dit_jax.interop.entries import parameters_by_path, read_diffusers_config
from dit_jax.interop.safetensors import check_shapes, open_tensors, save_tensors
from dit_jax.layers.rope import split_pairs

CLASS_NAME = "HunyuanVideoTransformer3DModel"
HUNYUAN_VIDEO = preset("HunyuanVideo")
FIXED = dict(qk_norm="head", qkv_bias=True, mlp_ratio=4.0, time_features=256, time_scale=1000.0)

_PERCEPTRON = {"up": "linear_1", "down": "linear_2"}
_MLP = {"mlp.up": "ff.net.0.proj", "mlp.down": "ff.net.2"}
_QKV = {f"attention.{name}": f"attn.to_{name[0]}" for name in ("query", "key", "value")}
_GAINS = {f"attention.{name}_gain": f"attn.norm_{name[0]}" for name in ("query", "key")}
_REFINER = {
    **(_QKV | _MLP),
    "modulation": "norm_out.linear",
    "attention_norm": "norm1",
    "attention.out": "attn.to_out.0",
    "mlp_norm": "norm2",
}
_VIDEO = {**(_QKV | _GAINS | _MLP), "modulation": "norm1.linear", "attention.out": "attn.to_out.0"}
_TEXT = {
    **{ours: f"{theirs.replace('to_', 'add_')}_proj" for ours, theirs in _QKV.items()},
    **{ours: theirs.replace("norm_", "norm_added_") for ours, theirs in _GAINS.items()},
    **{ours: theirs.replace("ff", "ff_context") for ours, theirs in _MLP.items()},
    "modulation": "norm1_context.linear",
    "attention.out": "attn.to_add_out",
}
_SINGLE = {**(_QKV | _GAINS), "modulation": "norm.linear", "up": "proj_mlp", "out": "proj_out"}


def _inside(ours: str, theirs: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{foreign}" for name, foreign in names.items()}


# Our layers and gains; where there is one for each block, `#` is its number.
NAMES = {
    "embed": "x_embedder.proj",
    "text.embed": "context_embedder.proj_in",
    "head_modulation": "norm_out.linear",
    "head": "proj_out",
    **_inside("time_embedding", "time_text_embed.timestep_embedder", _PERCEPTRON),
    **_inside("pooled_embedding", "time_text_embed.text_embedder", _PERCEPTRON),
    **_inside("guidance_embedding", "time_text_embed.guidance_embedder", _PERCEPTRON),
    **_inside("text.time_embedding", "context_embedder.time_text_embed.timestep_embedder", _PERCEPTRON),
    **_inside("text.pooled_embedding", "context_embedder.time_text_embed.text_embedder", _PERCEPTRON),
    **_inside("text.blocks", "context_embedder.token_refiner.refiner_blocks.#", _REFINER),
    **_inside("blocks.video", "transformer_blocks.#", _VIDEO),
    **_inside("blocks.text", "transformer_blocks.#", _TEXT),
    **_inside("single_blocks", "single_transformer_blocks.#", _SINGLE),
}
_TURNED = re.compile(r"^(blocks\.\w+|single_blocks)\.attention\.(query|key)")


def read_hunyuan_video_config(path: str | os.PathLike) -> MMDiTConfig:
    """Sizes that diffusers' `config.json` beside weights tells; without one, those published.

    Args:
      path: as for `load_hunyuan_video`.

    Raises:
      ValueError: one line that names the `config.json`: not JSON, or a network that is none of ours.
    """
    found = read_diffusers_config(path, CLASS_NAME, _from_diffusers, "HunyuanVideo's transformer")
    return found or HUNYUAN_VIDEO


def load_hunyuan_video(path: str | os.PathLike, config: MMDiTConfig | None = None) -> MMDiT:
    """Reads weights in diffusers' names and layout; parameters are float32.

    The network that is given its first frame (`image_condition_type="token_replace"`) is this one with that
    frame known.

    Args:
      path: a safetensors file, the index of several, or a folder that holds one of these.
      config: sizes; by default what `read_hunyuan_video_config` says.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line: not safetensors; tensors missing, unknown, or of another shape; or a config that
        diffusers' class has no network of.
    """
    config = read_hunyuan_video_config(path) if config is None else config
    _check(config)
    model = nnx.eval_shape(lambda: MMDiT(config, rngs=nnx.Rngs(0)))
    parameters = parameters_by_path(model)
    with open_tensors(path) as tensors:
        shapes = {
            name: _foreign_shape(ours, p, config)
            for ours, p in parameters.items()
            for name in _names(ours, p)
        }
        check_shapes(tensors.shapes, shapes)
        for ours, parameter in parameters.items():
            parts = [_to_ours(ours, tensors.read(name), config) for name in _names(ours, parameter)]
            parameter.set_value(jnp.asarray(np.stack(parts) if _is_stacked(ours) else parts[0]))
    return model


def export_hunyuan_video(folder: str | os.PathLike, model: MMDiT) -> None:
    """Writes a folder that diffusers' `HunyuanVideoTransformer3DModel.from_pretrained` reads, as the network that
    is given no frame.

    Raises:
      ValueError: that class has no such network.
    """
    content = json.dumps(_diffusers_config(model.config), indent=2) + "\n"
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = hunyuan_video_tensors(model)
    save_tensors(folder / "diffusion_pytorch_model.safetensors", tensors, {"format": "pt"})
    write_whole(folder / "config.json", content)


def hunyuan_video_tensors(model: MMDiT) -> Iterator[tuple[str, np.ndarray]]:
    """Every parameter of `model`, or of its gradient, by diffusers' names and in PyTorch's layout."""
    for ours, parameter in parameters_by_path(model).items():
        shape = _foreign_shape(ours, parameter, model.config)
        for number, name in enumerate(_names(ours, parameter)):
            value = parameter[...][number] if _is_stacked(ours) else parameter[...]
            yield name, _to_theirs(ours, np.asarray(value), model.config).reshape(shape)


def _is_stacked(ours: str) -> bool:
    return "blocks." in ours


def _names(ours: str, parameter: nnx.Param) -> list[str]:
    """Of the tensor or, block by block, of the tensors that a parameter is in diffusers."""
    layer, _, kind = ours.rpartition(".")
    name = NAMES.get(ours) or NAMES[layer]
    name = f"{name}.{'bias' if kind == 'bias' else 'weight'}"
    return [name.replace("#", str(i)) for i in range(parameter.shape[0])] if _is_stacked(ours) else [name]


def _foreign_shape(ours: str, parameter: nnx.Param, config: MMDiTConfig) -> tuple[int, ...]:
    shape = parameter.shape[1:] if _is_stacked(ours) else parameter.shape
    if ours == "embed.kernel":
        return (config.width, config.in_channels, *config.patch)
    return shape[::-1]


def _order(ours: str, size: int, config: MMDiTConfig) -> np.ndarray:
    """Which of theirs each of our features is; of the input of the embedding, of the output of other layers."""
    order = np.arange(size)
    if ours == "embed.kernel" or ours.startswith("head."):
        return order.reshape(config.in_channels, -1).T.ravel()
    if ours.startswith("head_modulation."):
        return np.roll(order, config.width)
    if _TURNED.match(ours):
        return order.reshape(-1, config.head_dim // 2, 2).swapaxes(1, 2).ravel()
    return order


def _to_ours(ours: str, tensor: np.ndarray, config: MMDiTConfig) -> np.ndarray:
    value = tensor.reshape(len(tensor), -1).T if ours.endswith("kernel") else tensor
    axis = 0 if ours == "embed.kernel" else -1
    return np.take(value, _order(ours, value.shape[axis], config), axis)


def _to_theirs(ours: str, value: np.ndarray, config: MMDiTConfig) -> np.ndarray:
    axis = 0 if ours == "embed.kernel" else -1
    return np.take(value, np.argsort(_order(ours, value.shape[axis], config)), axis).T


def _from_diffusers(found: Mapping[str, Any]) -> MMDiTConfig:
    """Raises ValueError for what diffusers can build and `MMDiT` cannot."""
    if found.get("image_condition_type") not in (None, "token_replace") or found["qk_norm"] != "rms_norm":
        raise ValueError(
            f"image_condition_type={found.get('image_condition_type')!r} with qk_norm={found['qk_norm']!r}: none or "
            "token_replace is needed, and rms_norm"
        )
    config = MMDiTConfig(
        in_channels=found["in_channels"],
        width=found["num_attention_heads"] * found["attention_head_dim"],
        depth=found["num_layers"],
        single_depth=found["num_single_layers"],
        num_heads=found["num_attention_heads"],
        text_width=found["text_embed_dim"],
        refiner_depth=found["num_refiner_layers"],
        pooled_text_width=found["pooled_projection_dim"],
        guidance=found["guidance_embeds"],
        patch=(found["patch_size_t"], found["patch_size"], found["patch_size"]),
        rope_pairs=tuple(size // 2 for size in found["rope_axes_dim"]),
        rope_base=found["rope_theta"],
        qkv_bias=True,
        mlp_ratio=found["mlp_ratio"],
    )
    _check(config)
    if (found.get("out_channels") or config.in_channels) != config.in_channels:
        raise ValueError(f"out_channels={found['out_channels']} is not in_channels={config.in_channels}")
    return config


def _check(config: MMDiTConfig) -> None:
    """Raises ValueError unless diffusers has the network."""
    differing = {name: getattr(config, name) for name in FIXED if getattr(config, name) != FIXED[name]}
    if differing:
        raise ValueError(f"{CLASS_NAME} has {FIXED}, not {differing}")
    if not config.refiner_depth or not config.pooled_text_width or config.patch[1] != config.patch[2]:
        raise ValueError(
            f"{CLASS_NAME} has refiner_depth and pooled_text_width of at least 1 and square patches, not "
            f"{config.refiner_depth}, {config.pooled_text_width} and {config.patch}"
        )


def _diffusers_config(config: MMDiTConfig) -> dict[str, object]:
    _check(config)
    return {
        "_class_name": CLASS_NAME,
        "attention_head_dim": config.head_dim,
        "guidance_embeds": config.guidance,
        "image_condition_type": None,
        "in_channels": config.in_channels,
        "mlp_ratio": config.mlp_ratio,
        "num_attention_heads": config.num_heads,
        "num_layers": config.depth,
        "num_refiner_layers": config.refiner_depth,
        "num_single_layers": config.single_depth,
        "out_channels": config.in_channels,
        "patch_size": config.patch[1],
        "patch_size_t": config.patch[0],
        "pooled_projection_dim": config.pooled_text_width,
        "qk_norm": "rms_norm",
        "rope_axes_dim": [2 * n for n in config.rope_pairs or split_pairs(config.head_dim // 2, 3)],
        "rope_theta": config.rope_base,
        "text_embed_dim": config.text_width,
    }
