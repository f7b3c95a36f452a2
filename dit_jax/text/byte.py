# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The text path that needs no download: bytes, and a small transformer trained with the model."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int

from dit_jax.arrays import TextIds, TextMask, TextTokens
from dit_jax.layers.attend import ids_of_mask
from dit_jax.layers.attention import Attention, check_heads
from dit_jax.layers.dense import Dense
from dit_jax.layers.mlp import MLP
from dit_jax.layers.norm import layer_norm
from dit_jax.layers.rope import Rotation, rotations

PAD, BEGIN = 0, 1
_FIRST_BYTE = 2
VOCABULARY = 256 + _FIRST_BYTE


@dataclasses.dataclass(frozen=True)
class ByteTextConfig:
    """Sizes of the byte-level text encoder.

    Attributes:
      max_bytes: text is cut to this many UTF-8 bytes, less one for the begin mark.
      width: of the text tokens.
      depth: transformer blocks.
      num_heads: of each block.
      stride: bytes per text token; a window of twice as many bytes is seen by each.
      byte_width: width of a byte's embedding.
    """

    max_bytes: int = 128
    width: int = 64
    depth: int = 1
    num_heads: int = 4
    stride: int = 4
    byte_width: int = 16

    def __post_init__(self):
        for name in ("width", "depth", "stride", "byte_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        check_heads(self.width, self.num_heads)
        if self.max_bytes < 2 * self.stride or self.max_bytes % self.stride:
            raise ValueError(
                f"max_bytes={self.max_bytes} is not a multiple, from 2 upward, of stride={self.stride}: "
                f"choose max_bytes={max(2, -(-self.max_bytes // self.stride)) * self.stride}"
            )

    @property
    def num_tokens(self) -> int:
        """Text tokens that a caption becomes."""
        return self.max_bytes // self.stride


def encode_bytes(text: str, max_bytes: int) -> Int[np.ndarray, " L"]:
    """UTF-8 bytes of `text` as ids, a begin mark first, cut and zero-padded to `max_bytes`.

    A character that the cut would split is dropped whole. The empty text is the null text.
    """
    data = text.encode("utf-8", errors="replace")[: max_bytes - 1].decode("utf-8", errors="ignore").encode()
    ids = np.full((max_bytes,), PAD, np.int32)
    ids[0] = BEGIN
    ids[1 : 1 + len(data)] = np.frombuffer(data, np.uint8).astype(np.int32) + _FIRST_BYTE
    return ids


class TextBlock(nnx.Module):
    """Pre-norm self-attention and perceptron."""

    def __init__(self, config: ByteTextConfig, *, rngs: nnx.Rngs):
        self.attention = Attention(config.width, config.num_heads, rngs=rngs)
        self.mlp = MLP(config.width, 4 * config.width, rngs=rngs)

    def __call__(self, x: TextTokens, mask: TextMask, rotation: Rotation) -> TextTokens:
        x = x + self.attention(layer_norm(x), rotation=rotation, ids=ids_of_mask(mask))
        return x + self.mlp(layer_norm(x))


class ByteTextEncoder(nnx.Module):
    """Bytes to text tokens: embed, gather windows of `2 * stride` bytes, transform.

    The overlapping windows are a strided convolution: a word is seen whole wherever it falls.
    """

    def __init__(self, config: ByteTextConfig, *, rngs: nnx.Rngs):
        self.config = config
        embedding = nnx.initializers.normal(1.0)(rngs.params(), (VOCABULARY, config.byte_width))
        self.embedding = nnx.Param(embedding)
        self.window = Dense(2 * config.stride * config.byte_width, config.width, rngs=rngs)
        self.blocks = nnx.List([TextBlock(config, rngs=rngs) for _ in range(config.depth)])

    def __call__(self, text_ids: TextIds) -> tuple[TextTokens, TextMask]:
        """Text tokens `B L/stride width`, and which of them hold text."""
        stride = self.config.stride
        x = jnp.where((text_ids == PAD)[..., None], 0.0, self.embedding[...][text_ids])
        groups = x.reshape(x.shape[0], -1, stride * x.shape[-1])
        following = jnp.pad(groups[:, 1:], ((0, 0), (0, 1), (0, 0)))
        x = self.window(jnp.concatenate([groups, following], -1))
        mask = (text_ids != PAD).reshape(x.shape[0], -1, stride).any(-1)
        positions = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None]
        rotation = rotations(positions, self.config.width // self.config.num_heads)
        for block in self.blocks:
            x = block(x, mask, rotation)
        return layer_norm(x), mask


def byte_text_flops(config: ByteTextConfig) -> int:
    """FLOPs (multiply-adds times two) of one caption's forward pass, matrix products only."""
    num_tokens, width = config.num_tokens, config.width
    window = 2 * config.stride * config.byte_width * width
    block = 4 * width**2 + 2 * num_tokens * width + 8 * width**2
    return 2 * num_tokens * (window + config.depth * block)
