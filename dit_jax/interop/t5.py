# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The encoders of T5 v1.1 and UMT5, from public safetensors files and back.

The names are those of transformers' `T5EncoderModel` and `UMT5EncoderModel`. Of a file that holds the whole
model the encoder alone is read: `decoder.` and `lm_head.` are passed over, and so is
`encoder.embed_tokens.weight` where it repeats `shared.weight`. Sizes are read from the tensors' shapes; the
distance from which on positions share a bucket is in none, and is 128 in all that are published.
"""

import os
import re
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dit_jax.interop.safetensors import Shapes, check_shapes, open_tensors, save_tensors
from dit_jax.text.t5 import T5Config, T5Encoder

EMBEDDING, REPEATED = "shared.weight", "encoder.embed_tokens.weight"
PASSED_OVER = ("decoder.", "lm_head.")
BLOCK_NUMBER = re.compile(r"encoder\.block\.(\d+)\.")
BLOCK = {  # ours, after `blocks.`: theirs, after `encoder.block.N.`
    "attention_gain": "layer.0.layer_norm.weight",
    "attention.query.kernel": "layer.0.SelfAttention.q.weight",
    "attention.key.kernel": "layer.0.SelfAttention.k.weight",
    "attention.value.kernel": "layer.0.SelfAttention.v.weight",
    "attention.out.kernel": "layer.0.SelfAttention.o.weight",
    "bias.table": "layer.0.SelfAttention.relative_attention_bias.weight",
    "mlp_gain": "layer.1.layer_norm.weight",
    "mlp.gate.kernel": "layer.1.DenseReluDense.wi_0.weight",
    "mlp.up.kernel": "layer.1.DenseReluDense.wi_1.weight",
    "mlp.down.kernel": "layer.1.DenseReluDense.wo.weight",
}
WHOLE = {
    "embedding": EMBEDDING,
    "bias.table": f"encoder.block.0.{BLOCK['bias.table']}",  # T5's, which all blocks use
    "gain": "encoder.final_layer_norm.weight",
}


def read_t5_config(path: str | os.PathLike, dtype: str = "float32") -> T5Config:
    """The sizes of an encoder, from the headers of its files alone.

    Args:
      path: a safetensors file, the index of several, or a folder that holds one of these.
      dtype: that the encoder is to compute in.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, or not a T5's with a gated perceptron.
    """
    with open_tensors(path) as tensors:
        return _sizes(tensors.shapes, dtype)


def load_t5(path: str | os.PathLike, dtype: str = "float32") -> T5Encoder:
    """Reads an encoder. Kernels and embedding are kept in `dtype`: the products are in it anyhow.

    Args:
      path: a safetensors file, the index of several, or a folder that holds one of these.
      dtype: that the encoder is to compute in.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, or tensors missing, unknown, or of another shape.
    """
    with open_tensors(path) as tensors:
        config = _sizes(tensors.shapes, dtype)
        model = nnx.eval_shape(lambda: T5Encoder(config, rngs=nnx.Rngs(0)))
        check_shapes(_of_the_encoder(tensors.shapes), {theirs: s for _, theirs, s in _names(model)})
        read = {EMBEDDING: EMBEDDING if EMBEDDING in tensors.shapes else REPEATED}
        parts: dict[str, list[np.ndarray]] = {}
        for ours, theirs, _ in _names(model):
            tensor = _turned(ours, tensors.read(read.get(theirs, theirs)))
            kept = dtype if ours.endswith(("kernel", "embedding")) else "float32"
            parts.setdefault(ours, []).append(tensor.astype(jnp.dtype(kept)))
    for ours, parameter in _parameters(model).items():
        value = parts.pop(ours)
        parameter.set_value(jnp.asarray(np.stack(value) if _is_stacked(ours) else value[0]))
    return model


def export_t5(path: str | os.PathLike, model: T5Encoder) -> None:
    """Writes a file that `load_t5` reads, and beside a `config.json` transformers' `from_pretrained`.

    Args:
      path: ends in `.safetensors`; what is large becomes several files and an index.
      model: its parameters are written in the dtype they have.
    """
    save_tensors(path, t5_tensors(model))


def t5_tensors(model: T5Encoder) -> Iterator[tuple[str, np.ndarray]]:
    """Every parameter of `model`, or of its gradient, by its public name and in PyTorch's layout."""
    parameters = _parameters(model)
    for ours, theirs, _ in _names(model):
        value = parameters[ours][...]
        value = value[int(BLOCK_NUMBER.match(theirs)[1])] if _is_stacked(ours) else value
        yield theirs, _turned(ours, np.asarray(value))


def _sizes(shapes: Shapes, dtype: str) -> T5Config:
    numbers = {found[1] for name in shapes if (found := BLOCK_NUMBER.match(name))}
    first = {ours: f"encoder.block.0.{theirs}" for ours, theirs in BLOCK.items()}
    try:
        vocab_size, width = shapes[EMBEDDING if EMBEDDING in shapes else REPEATED]
        num_buckets, num_heads = shapes[first["bias.table"]]
        inner, mlp_width = shapes[first["attention.query.kernel"]][0], shapes[first["mlp.gate.kernel"]][0]
    except KeyError as error:
        raise ValueError(f"tensor {error} is missing: not the weights of a T5 v1.1 or UMT5") from None
    return T5Config(
        *(vocab_size, width, len(numbers), num_heads, inner // num_heads, mlp_width, num_buckets),
        per_layer_bias=f"encoder.block.1.{BLOCK['bias.table']}" in shapes,
        dtype=dtype,
    )


def _of_the_encoder(shapes: Shapes) -> Shapes:
    """The shapes of what is read, the embedding under its first name."""
    found = {name: shape for name, shape in shapes.items() if not name.startswith(PASSED_OVER)}
    repeated = found.pop(REPEATED, None)
    return found if EMBEDDING in found else {EMBEDDING: repeated, **found}


def _names(model: T5Encoder) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Each of our parameters, with the name and the shape of its tensor or, block by block, of its tensors."""
    for ours, parameter in _parameters(model).items():
        shape = parameter.shape[1:] if _is_stacked(ours) else parameter.shape
        shape = shape[::-1] if ours.endswith("kernel") else shape
        if not _is_stacked(ours):
            yield ours, WHOLE[ours], shape
            continue
        for number in range(model.config.depth):
            yield ours, f"encoder.block.{number}.{BLOCK[ours.removeprefix('blocks.')]}", shape


def _is_stacked(ours: str) -> bool:
    return ours.startswith("blocks.")


def _turned(ours: str, tensor: np.ndarray) -> np.ndarray:
    """Kernels are the other way round in files: outputs first."""
    return tensor.T if ours.endswith("kernel") else tensor


def _parameters(model: T5Encoder) -> dict[str, nnx.Param]:
    """By dotted path, such as `blocks.mlp.gate.kernel`."""
    nodes = nnx.iter_graph(model)
    return {".".join(map(str, path)): node for path, node in nodes if isinstance(node, nnx.Param)}
