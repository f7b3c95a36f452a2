# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention with per-head QK-norm."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dit_jax.arrays import DType
from dit_jax.layers.dense import Dense
from dit_jax.layers.norm import rms_norm
from dit_jax.layers.rope import apply_rope


def attend(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    mask: Bool[Array, "B #N M"] | None = None,
) -> Float[Array, "B heads N head_dim"]:
    """Softmax attention (Vaswani et al. 2017, eq. 1); the softmax is in float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      mask: True where a query may look; a query that may look nowhere gets the mean of the values.
    """
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32)
    logits = logits / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = jnp.where(mask[:, None], logits, -1e30)
    weights = jax.nn.softmax(logits, -1).astype(v.dtype)
    return jnp.einsum("bhnm,bhmd->bhnd", weights, v)


class Attention(nnx.Module):
    """Attention of tokens to a context (themselves, or a text).

    Queries and keys are normalised per head (Dehghani et al. 2023, ViT-22B, arXiv 2302.05442, eq. 2,
    with the root mean square), so that logits stay bounded at any learning rate.

    Args:
      width: of the tokens and of the output.
      num_heads: divides `width`.
      context_width: of the context; the tokens' own by default.
      out_scale: variance scale of the output kernel; 0 makes the layer add nothing at initialisation.
      rngs: for the kernels.
      dtype: of the computation.

    Raises:
      ValueError: `num_heads` does not divide `width`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        rngs: nnx.Rngs,
        context_width: int | None = None,
        out_scale: float = 1.0,
        dtype: DType = jnp.float32,
    ):
        check_heads(width, num_heads)
        context_width = width if context_width is None else context_width
        self.num_heads = num_heads
        self.query = Dense(width, width, rngs=rngs, use_bias=False, dtype=dtype)
        self.key = Dense(context_width, width, rngs=rngs, use_bias=False, dtype=dtype)
        self.value = Dense(context_width, width, rngs=rngs, use_bias=False, dtype=dtype)
        self.out = Dense(width, width, rngs=rngs, scale=out_scale, dtype=dtype)
        self.query_gain = nnx.Param(jnp.ones((width // num_heads,)))
        self.key_gain = nnx.Param(jnp.ones((width // num_heads,)))

    def _heads(self, x: Float[Array, "B N D"]) -> Float[Array, "B heads N head_dim"]:
        batch, num_tokens, width = x.shape
        return x.reshape(batch, num_tokens, self.num_heads, width // self.num_heads).swapaxes(1, 2)

    def __call__(
        self,
        x: Float[Array, "B N D"],
        context: Float[Array, "B M E"] | None = None,
        *,
        rotation: Float[Array, "2 N half"] | None = None,
        mask: Bool[Array, "B #N M"] | None = None,
    ) -> Float[Array, "B N D"]:
        """Attends `x` to `context` (to itself when None), turning queries and keys by `rotation`."""
        context = x if context is None else context
        q = rms_norm(self._heads(self.query(x)), self.query_gain[...])
        k = rms_norm(self._heads(self.key(context)), self.key_gain[...])
        if rotation is not None:
            q, k = apply_rope(q, rotation), apply_rope(k, rotation)
        y = attend(q, k, self._heads(self.value(context)), mask)
        return self.out(y.swapaxes(1, 2).reshape(x.shape))


def check_heads(width: int, num_heads: int) -> None:
    """Raises ValueError, naming both numbers, when heads of even width do not fill `width`."""
    if num_heads < 1 or width % num_heads or (width // num_heads) % 2:
        raise ValueError(
            f"num_heads={num_heads} does not cut width={width} into heads of even width: "
            f"choose num_heads that divides {width // 2}"
        )
