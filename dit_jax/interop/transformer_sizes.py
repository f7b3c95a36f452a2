# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes of public transformers, from their tensors' shapes and the `config.json` beside them, and back."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.interop.safetensors import Shapes
from dit_jax.interop.transformer_layouts import Facts

# What is no size, by kind
PARTS: Mapping[str, dict[str, Any]] = {
    "dit": dict(text="pooled", positions="sincos", qk_norm="none", qkv_bias=True),
    "sit": dict(text="pooled", positions="sincos", qk_norm="none", qkv_bias=True, time_scale=1.0),
    "latte": dict(
        attention="alternating",
        text_norm="none",
        text_projection=True,
        modulation="shared",
        positions="sincos",
        qk_norm="none",
        qkv_bias=True,
    ),
    "wan_transformer": dict(
        text_norm="affine",
        text_projection=True,
        modulation="shared",
        rope_base=10_000.0,
        qk_norm="width",
        qkv_bias=True,
    ),
}
SIZES = (
    "in_channels",
    "width",
    "depth",
    "num_heads",
    "text_width",
    "patch",
    "mlp_ratio",
    "time_features",
)
OURS = (
    "remat",
    "unroll",
    "dtype",
    "window",
    "skip",
    "learned_size",
    "num_registers",
)  # change no such network
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16, 1536: 12, 3072: 24, 5120: 40}  # published, by width
NO_HEADS = (
    'no published model has width {}: write {{"num_heads": N}} into a config.json beside the weights, N heads'
)
LARGEST = 127  # side of the latents up to which diffusers' Latte counts positions by cells
BLOCK_NUMBER = re.compile(r"(?:^|\.)(?:blocks|transformer_blocks)\.(\d+)\.")


def make_config(kind: str, **sizes: Any) -> DiTConfig:
    """The config of a kind with these `SIZES`."""
    pairs = {}
    if kind == "wan_transformer":
        half = sizes["width"] // sizes["num_heads"] // 2
        pairs = dict(rope_pairs=(half - 2 * (half // 3), half // 3, half // 3))
    return DiTConfig(**PARTS[kind], **sizes, **pairs)


def check_fits(kind: str, config: DiTConfig) -> None:
    """Raises ValueError, naming the fields, when a model is not of a kind."""
    wanted = make_config(kind, **{name: getattr(config, name) for name in SIZES})
    differing = [
        f"{field.name}={found!r} for {getattr(wanted, field.name)!r}"
        for field in dataclasses.fields(config)
        if field.name not in OURS and (found := getattr(config, field.name)) != getattr(wanted, field.name)
    ]
    if differing or config.num_registers:
        raise ValueError(f"not a model of kind {kind!r}: {', '.join(differing) or 'it has registers'}")


def dit_sizes(kind: str, shapes: Shapes, found: Mapping[str, Any]) -> tuple[DiTConfig, Facts]:
    """By the names of the papers' repositories."""
    cells = math.isqrt(shapes["pos_embed"][1])
    config = _sizes(
        *(kind, shapes, found, "x_embedder.proj.weight", "t_embedder.mlp.0.weight"),
        labels=shapes["y_embedder.embedding_table.weight"][0],
        hidden=shapes["blocks.0.mlp.fc1.weight"][0],
    )
    sigma = _learns_sigma(config, shapes["final_layer.linear.weight"][0])
    return config, {"sample_size": cells * config.patch[1], "learn_sigma": sigma}


def dit_diffusers_sizes(kind: str, shapes: Shapes, found: Mapping[str, Any]) -> tuple[DiTConfig, Facts]:
    """By the names of diffusers."""
    embedding = "transformer_blocks.0.norm1.emb"
    config = _sizes(
        *(kind, shapes, found, "pos_embed.proj.weight", f"{embedding}.timestep_embedder.linear_1.weight"),
        labels=shapes[f"{embedding}.class_embedder.embedding_table.weight"][0],
        hidden=shapes["transformer_blocks.0.ff.net.0.proj.weight"][0],
    )
    sigma = _learns_sigma(config, shapes["proj_out_2.weight"][0])
    return config, {"sample_size": found.get("sample_size", 32), "learn_sigma": sigma}


def latte_sizes(kind: str, shapes: Shapes, found: Mapping[str, Any]) -> tuple[DiTConfig, Facts]:
    """By the names of diffusers."""
    sample_size = found.get("sample_size", 64)
    if sample_size > LARGEST:
        raise ValueError(
            f"sample_size={sample_size}: from {LARGEST + 1} on Latte's positions are squeezed; ours count cells"
        )
    config = _sizes(
        *(kind, shapes, found, "pos_embed.proj.weight"),
        "adaln_single.emb.timestep_embedder.linear_1.weight",
        labels=shapes["caption_projection.linear_1.weight"][1],
        hidden=shapes["transformer_blocks.0.ff.net.0.proj.weight"][0],
    )
    sigma = _learns_sigma(config, shapes["proj_out.weight"][0])
    facts = {"sample_size": sample_size, "learn_sigma": sigma}
    return config, facts | {"video_length": found.get("video_length", 16)}


def wan_sizes(kind: str, shapes: Shapes, found: Mapping[str, Any]) -> tuple[DiTConfig, Facts]:
    """By the names of Wan's repository."""
    time, text = "time_embedding.0.weight", "text_embedding.0.weight"
    return _wan_sizes(kind, shapes, found, time, text, "blocks.0.ffn.0.weight", "head.head.weight")


def wan_diffusers_sizes(kind: str, shapes: Shapes, found: Mapping[str, Any]) -> tuple[DiTConfig, Facts]:
    """By the names of diffusers."""
    time, text = (f"condition_embedder.{name}_embedder.linear_1.weight" for name in ("time", "text"))
    return _wan_sizes(kind, shapes, found, time, text, "blocks.0.ffn.net.0.proj.weight", "proj_out.weight")


def _wan_sizes(kind, shapes, found, time, text, hidden, head) -> tuple[DiTConfig, Facts]:
    image = [name for name in shapes if re.search(r"img|image|add_[kv]_proj", name)]
    config = _sizes(
        *(kind, shapes, found, "patch_embedding.weight", time),
        labels=shapes[text][1],
        hidden=shapes[hidden][0],
    )
    if image or shapes[head][0] != config.features:
        reason = image[0] if image else f"{config.in_channels} channels in, fewer out"
        raise ValueError(f"weights for image-to-video ({reason}): those for text-to-video are read")
    return config, {}


def _sizes(kind, shapes, found, patches, time, *, labels, hidden) -> DiTConfig:
    """A config from the shapes of the embeddings' kernels, and two sizes more."""
    width, channels, *patch = shapes[patches]
    heads = found.get("num_attention_heads") or found.get("num_heads") or HEADS.get(width)
    if heads is None:
        raise ValueError(NO_HEADS.format(width))
    numbers = {match[1] for name in shapes if (match := BLOCK_NUMBER.search(name))}
    return make_config(
        kind,
        in_channels=channels,
        width=width,
        depth=len(numbers) * (2 if kind == "latte" else 1),
        num_heads=heads,
        text_width=labels,
        patch=(1,) * (3 - len(patch)) + tuple(patch),
        mlp_ratio=hidden / width,
        time_features=shapes[time][1],
    )


def _learns_sigma(config: DiTConfig, outputs: int) -> bool:
    if outputs not in (config.features, 2 * config.features):
        raise ValueError(f"a head of {outputs} outputs predicts no patch of {config.features} numbers")
    return outputs > config.features


def dit_json(config: DiTConfig, facts: Facts) -> dict[str, Any]:
    """Arguments of the class in the papers' repositories."""
    return {
        "input_size": facts["sample_size"],
        "patch_size": config.patch[1],
        "in_channels": config.in_channels,
        "hidden_size": config.width,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        "num_classes": config.text_width - 1,
        "learn_sigma": facts["learn_sigma"],
    }


def dit_diffusers_json(config: DiTConfig, facts: Facts) -> dict[str, Any]:
    """Of `DiTTransformer2DModel`."""
    return {
        "_class_name": "DiTTransformer2DModel",
        **_diffusers_json(config, facts, config.depth),
        "num_embeds_ada_norm": config.text_width - 1,
        "norm_type": "ada_norm_zero",
    }


def latte_json(config: DiTConfig, facts: Facts) -> dict[str, Any]:
    """Of `LatteTransformer3DModel`."""
    return {
        "_class_name": "LatteTransformer3DModel",
        **_diffusers_json(config, facts, config.depth // 2),
        "caption_channels": config.text_width,
        "cross_attention_dim": config.width,
        "norm_type": "ada_norm_single",
        "video_length": facts["video_length"],
    }


def _diffusers_json(config: DiTConfig, facts: Facts, num_layers: int) -> dict[str, Any]:
    if config.mlp_ratio != 4 or config.time_features != 256:
        raise ValueError(
            f"diffusers has mlp_ratio=4 and time_features=256 alone, not {config.mlp_ratio} and "
            f"{config.time_features}"
        )
    return {
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": config.head_dim,
        "in_channels": config.in_channels,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "num_attention_heads": config.num_heads,
        "num_layers": num_layers,
        "out_channels": (1 + facts["learn_sigma"]) * config.in_channels,
        "patch_size": config.patch[1],
        "sample_size": facts["sample_size"],
    }


def wan_json(config: DiTConfig, facts: Facts) -> dict[str, Any]:
    """That of Wan's repository."""
    return {
        "_class_name": "WanModel",
        "model_type": "t2v",
        "dim": config.width,
        "eps": 1e-6,
        "ffn_dim": config.mlp_hidden,
        "freq_dim": config.time_features,
        "in_dim": config.in_channels,
        "num_heads": config.num_heads,
        "num_layers": config.depth,
        "out_dim": config.in_channels,
        "text_len": 512,
    }


def wan_diffusers_json(config: DiTConfig, facts: Facts) -> dict[str, Any]:
    """Of `WanTransformer3DModel`."""
    return {
        "_class_name": "WanTransformer3DModel",
        "attention_head_dim": config.head_dim,
        "cross_attn_norm": True,
        "eps": 1e-6,
        "ffn_dim": config.mlp_hidden,
        "freq_dim": config.time_features,
        "in_channels": config.in_channels,
        "num_attention_heads": config.num_heads,
        "num_layers": config.depth,
        "out_channels": config.in_channels,
        "patch_size": list(config.patch),
        "qk_norm": "rms_norm_across_heads",
        "text_dim": config.text_width,
    }
