# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The transformer block of the latent video U-Net, for frames and for pixels over time."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType, TextMask, TextTokens
from dit_jax.layers.attend import ids_of_mask
from dit_jax.layers.attention import Attention
from dit_jax.layers.conv import GroupNorm
from dit_jax.layers.dense import Dense
from dit_jax.layers.embed import sinusoids

Sequences = Float[Array, "B S N D"]  # S sequences of a clip: its frames, or its pixels over time
MLP_RATIO = 4


class TransformerBlock(nnx.Module):
    """Attention within each sequence, cross-attention to the clip's text, perceptron.

    Args:
      width: of the tokens.
      text_width: of the text tokens.
      head_dim: divides `width`.
      rngs: for the kernels.
      scale: variance scale of each part's last kernel; 0 makes the block the identity at initialisation.
      dtype: of the computation.
    """

    def __init__(
        self,
        width: int,
        text_width: int,
        head_dim: int,
        *,
        rngs: nnx.Rngs,
        scale: float = 1.0,
        dtype: DType = jnp.float32,
    ):
        # Published U-Nets of this class have no QK-norm.
        make = dict(out_scale=scale, qk_norm="none", rngs=rngs, dtype=dtype)
        self.attention_norm = layer_norm(width)
        self.attention = Attention(width, width // head_dim, **make)
        self.text_norm = layer_norm(width)
        self.text = Attention(width, width // head_dim, context_width=text_width, **make)
        self.mlp_norm = layer_norm(width)
        self.mlp = GatedMLP(width, rngs=rngs, scale=scale, dtype=dtype)

    def __call__(self, x: Sequences, text: TextTokens, text_mask: TextMask) -> Sequences:
        batch, _, length, width = x.shape
        y = self.attention_norm(x).reshape(-1, length, width)
        x = x + self.attention(y).reshape(x.shape)
        y = self.text_norm(x).reshape(batch, -1, width)
        x = x + self.text(y, text, ids=ids_of_mask(text_mask)).reshape(x.shape)
        return x + self.mlp(self.mlp_norm(x))


class GatedMLP(nnx.Module):
    """`(a * gelu(b)) W`: GEGLU of Shazeer 2020, arXiv 2002.05202, eq. 6, with biases and the exact GELU."""

    def __init__(self, width: int, *, rngs: nnx.Rngs, scale: float, dtype: DType):
        self.up = Dense(width, 2 * MLP_RATIO * width, rngs=rngs, dtype=dtype)
        self.down = Dense(MLP_RATIO * width, width, rngs=rngs, scale=scale, dtype=dtype)

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        values, gates = jnp.split(self.up(x), 2, -1)
        return self.down(values * jax.nn.gelu(gates, approximate=False))


class FramePosition(nnx.Module):
    """Sinusoids of the frame's number through a perceptron, zero at initialisation."""

    def __init__(self, width: int, *, rngs: nnx.Rngs, dtype: DType):
        self.up = Dense(width, MLP_RATIO * width, rngs=rngs, dtype=dtype)
        self.down = Dense(MLP_RATIO * width, width, rngs=rngs, scale=0.0, dtype=dtype)

    def __call__(self, num_frames: int) -> Float[Array, "t D"]:
        numbers = jnp.arange(num_frames, dtype=jnp.float32)
        return self.down(jax.nn.silu(self.up(sinusoids(numbers, self.up.kernel.shape[0], scale=1.0))))


def layer_norm(width: int) -> GroupNorm:
    """LayerNorm with gain and bias."""
    return GroupNorm(width, 1, axes=0, epsilon=1e-5)
