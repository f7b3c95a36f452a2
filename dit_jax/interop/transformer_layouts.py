# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where public diffusion transformers keep what a `DiT` of ours is made of.

| kind | of | is |
|---|---|---|
| `dit` | Peebles and Xie 2023, arXiv 2212.09748 | labels pooled into the modulation, added sinusoids |
| `sit` | Ma et al. 2024, arXiv 2401.08740 | `dit`, where t is 0 for noise and velocity is data minus noise |
| `latte` | Ma et al. 2024, arXiv 2401.03048 | blocks within and across frames, cross-attention, adaLN-single |
| `wan_transformer` | Wan 2.1, arXiv 2503.20314 | joint attention, rotary positions, cross-attention, adaLN-single |

A class label is one text token with a one at its number: the table of labels is then the kernel of the text's
projection. What `DiT` has no place for, the variance that three of them predict beside the mean, is kept aside.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.interop.entries import (
    NEGATED,
    Entry,
    Turn,
    Via,
    beside,
    dense,
    flat,
    outputs,
    patches,
    through,
)

BLOCK, SECOND = "blocks.blocks.0", "blocks.blocks.1"
VARIANCE = "kept.variance"  # of the head
QKV = ("query", "key", "value")
DIFFUSERS = ("to_q", "to_k", "to_v", "to_out.0")  # layers of an attention
# A trained bias of the projection goes out in every label's row.
LABELS = Turn(lambda a: (a, np.zeros(a.shape[1], a.dtype)), lambda kernel, bias: kernel + bias)

Facts = dict[str, Any]
Entries = Iterator[Entry]


def positions(num_cells: int, width: int) -> np.ndarray:
    """Sinusoids of columns and rows of a square of cells, `1 cells^2 width`: those of `cell_sincos`."""
    angles = np.arange(num_cells)[:, None] / 10000 ** (np.arange(width // 4) / (width / 4))
    line = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    columns, rows = np.tile(line, (num_cells, 1)), np.repeat(line, num_cells, 0)
    return np.concatenate([columns, rows], 1)[None].astype(np.float32)


def dit(config: DiTConfig, facts: Facts) -> Entries:
    """By the names of the papers' repositories."""
    at = "blocks.{}"
    yield from _patches("x_embedder.proj", config)
    yield from _time("t_embedder.mlp.0", "t_embedder.mlp.2")
    yield _labels("y_embedder.embedding_table.weight")
    yield Entry("pos_embed", (), _fixed(positions(facts["sample_size"] // config.patch[1], config.width)))
    yield from dense(f"{at}.attn.qkv", *(f"{BLOCK}.attention.0.{name}" for name in QKV))
    yield from dense(f"{at}.attn.proj", f"{BLOCK}.attention.0.out")
    yield from _perceptron(f"{at}.mlp.fc1", f"{at}.mlp.fc2", BLOCK)
    yield from dense(f"{at}.adaLN_modulation.1", f"{BLOCK}.modulation")
    yield from _head("final_layer.linear", config, facts)
    yield from dense("final_layer.adaLN_modulation.1", "head_modulation")


def sit(config: DiTConfig, facts: Facts) -> Entries:
    """`dit` for `1 - t`, with the head's sign turned.

    Sinusoids of `1 - t` are those of `t`, reflected: the kernel that reads them is too, to a rounding.
    """
    for entry in dit(config, facts):
        if entry.theirs.startswith("final_layer.linear"):
            entry = entry._replace(turn=through(NEGATED, entry.turn))
        if entry.theirs == "t_embedder.mlp.0.weight":
            entry = entry._replace(turn=through(_reflected(config.time_features), entry.turn))
        yield entry


def dit_diffusers(config: DiTConfig, facts: Facts) -> Entries:
    """By the names of diffusers, where every block has the embeddings of time and label."""
    at = "transformer_blocks.{}"
    time = f"{at}.norm1.emb.timestep_embedder"
    yield from _patches("pos_embed.proj", config)
    yield from _time(f"{time}.linear_1", f"{time}.linear_2")
    yield _labels(f"{at}.norm1.emb.class_embedder.embedding_table.weight")
    yield from dense(f"{at}.norm1.linear", f"{BLOCK}.modulation")
    yield from _diffusers_block(at, BLOCK)
    yield from _head("proj_out_2", config, facts)
    yield from dense("proj_out_1", "head_modulation")


def latte(config: DiTConfig, facts: Facts) -> Entries:
    """By the names of diffusers."""
    yield from _patches("pos_embed.proj", config)
    time = "adaln_single.emb.timestep_embedder"
    yield from _shared_modulation(f"{time}.linear_1", f"{time}.linear_2", "adaln_single.linear")
    yield from _text("caption_projection.linear_1", "caption_projection.linear_2")
    for at, ours in (("transformer_blocks.{}", BLOCK), ("temporal_transformer_blocks.{}", SECOND)):
        yield from _diffusers_block(at, ours)
        yield _table(f"{at}.scale_shift_table", f"{ours}.modulation_table", (6, config.width))
    yield from _attention("transformer_blocks.{}.attn2", f"{BLOCK}.text", DIFFUSERS)
    yield _table("scale_shift_table", "head_modulation_table", (2, config.width))
    yield from _head("proj_out", config, facts)


def wan(config: DiTConfig, facts: Facts) -> Entries:
    """By the names of Wan's repository."""
    yield from _shared_modulation("time_embedding.0", "time_embedding.2", "time_projection.1")
    yield from _text("text_embedding.0", "text_embedding.2")
    yield from _wan_attention("blocks.{}.self_attn", "blocks.{}.cross_attn", config, ("q", "k", "v", "o"))
    yield from _affine("blocks.{}.norm3", f"{BLOCK}.text_gain")
    yield from _perceptron("blocks.{}.ffn.0", "blocks.{}.ffn.2", BLOCK)
    yield _table("blocks.{}.modulation", f"{BLOCK}.modulation_table", (1, 6, config.width))
    yield from _patches("patch_embedding", config)
    yield from dense("head.head", "head")
    yield _table("head.modulation", "head_modulation_table", (1, 2, config.width))


def wan_diffusers(config: DiTConfig, facts: Facts) -> Entries:
    """By the names of diffusers."""
    time, text = (f"condition_embedder.{name}" for name in ("time_embedder", "text_embedder"))
    projection = "condition_embedder.time_proj"
    yield from _shared_modulation(f"{time}.linear_1", f"{time}.linear_2", projection)
    yield from _text(f"{text}.linear_1", f"{text}.linear_2")
    yield from _wan_attention("blocks.{}.attn1", "blocks.{}.attn2", config, DIFFUSERS)
    yield from _affine("blocks.{}.norm2", f"{BLOCK}.text_gain")
    yield from _perceptron("blocks.{}.ffn.net.0.proj", "blocks.{}.ffn.net.2", BLOCK)
    yield _table("blocks.{}.scale_shift_table", f"{BLOCK}.modulation_table", (1, 6, config.width))
    yield from _patches("patch_embedding", config)
    yield from dense("proj_out", "head")
    yield _table("scale_shift_table", "head_modulation_table", (1, 2, config.width))


def _wan_attention(own: str, cross: str, config: DiTConfig, layers: tuple[str, ...]) -> Entries:
    # Wan turns neighbouring features as a pair, we the halves of a head.
    halves = outputs((config.num_heads, config.head_dim // 2, 2), (0, 2, 1))
    for at, ours, via in ((own, f"{BLOCK}.attention.0", halves), (cross, f"{BLOCK}.text", None)):
        yield from _attention(at, ours, layers, via)
        turn = through(via, beside()) if via else beside()
        for letter, name in (("q", "query"), ("k", "key")):
            yield Entry(f"{at}.norm_{letter}.weight", (f"{ours}.{name}_gain",), turn)


def _diffusers_block(at: str, ours: str) -> Entries:
    yield from _attention(f"{at}.attn1", f"{ours}.attention.0", DIFFUSERS)
    yield from _perceptron(f"{at}.ff.net.0.proj", f"{at}.ff.net.2", ours)


def _attention(at: str, ours: str, layers: tuple[str, ...], via: Via | None = None) -> Entries:
    """Layers of queries, keys, values and outputs; the outputs of the first two go `via`."""
    for layer, name, change in zip(layers, (*QKV, "out"), (via, via, None, None)):
        yield from dense(f"{at}.{layer}", f"{ours}.{name}", via=change)


def _perceptron(up: str, down: str, ours: str) -> Entries:
    yield from dense(up, f"{ours}.mlp.up")
    yield from dense(down, f"{ours}.mlp.down")


def _time(up: str, down: str) -> Entries:
    yield from dense(up, "time_embedding.up")
    yield from dense(down, "time_embedding.down")


def _shared_modulation(up: str, down: str, projection: str) -> Entries:
    yield from _time(up, down)
    yield from dense(projection, "shared_modulation")


def _text(up: str, down: str) -> Entries:
    yield from dense(up, "text_projection.up")
    yield from dense(down, "text_projection.down")


def _labels(theirs: str) -> Entry:
    return Entry(theirs, ("text_projection.kernel", "text_projection.bias"), LABELS)


def _affine(theirs: str, ours: str) -> Entries:
    yield Entry(f"{theirs}.weight", (f"{ours}.gain",), beside())
    yield Entry(f"{theirs}.bias", (f"{ours}.bias",), beside())


def _table(theirs: str, ours: str, shape: tuple[int, ...]) -> Entry:
    return Entry(theirs, (ours,), flat(shape))


def _patches(theirs: str, config: DiTConfig) -> Entries:
    """The embedding of patches; of those of one frame, in kernels without an axis for time where not Wan's."""
    patch = config.patch if theirs == "patch_embedding" else config.patch[1:]
    weight, bias = dense(theirs, "embed")
    yield weight._replace(turn=through(patches(config.in_channels, patch), weight.turn))
    yield bias


def _head(theirs: str, config: DiTConfig, facts: Facts) -> Entries:
    """The mean, with the variance beside it in every patch's cell."""
    if not facts["learn_sigma"]:
        yield from dense(theirs, "head")
        return
    cells = config.features // config.in_channels
    apart = outputs((cells, 2, config.in_channels), (1, 0, 2))
    yield from dense(theirs, "head", VARIANCE, via=apart)


def _fixed(value: np.ndarray) -> Turn:
    """A tensor that is known, and checked."""

    def check(found: np.ndarray) -> tuple[()]:
        if not np.allclose(found, value, atol=1e-5):
            raise ValueError("pos_embed is not the sinusoids of a square's columns and rows")
        return ()

    return Turn(check, lambda: value)


def _reflected(num_features: int) -> Via:
    """Of inputs that are cosines, then sines, of `w t`: those of `w (1 - t)` are a reflection of them."""
    frequency = 10_000.0 ** (-np.arange(num_features // 2) / (num_features // 2))
    cos, sin = np.diag(np.cos(frequency)), np.diag(np.sin(frequency))
    reflection = np.block([[cos, sin], [sin, -cos]])
    reflect = lambda kernel: (kernel.astype(np.float64) @ reflection).astype(np.float32)  # noqa: E731
    return Via(reflect, reflect)
