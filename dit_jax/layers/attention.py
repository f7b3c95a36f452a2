# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention with per-head QK-norm."""

import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers.attend import QKV, Ids, attend
from dit_jax.layers.dense import Dense
from dit_jax.layers.norm import rms_norm
from dit_jax.layers.rope import apply_rope

QK_NORMS = ("head", "width", "none")


class Projections(nnx.Module):
    """Queries, keys and values of all heads.

    Queries and keys are normalised per head (Dehghani et al. 2023, ViT-22B, arXiv 2302.05442, eq. 2,
    with the root mean square), so that logits stay bounded at any learning rate.

    Args:
      width: of the tokens that look.
      num_heads: divides `width`.
      context_width: of the tokens looked at; `width` by default.
      qk_norm: of queries and keys: `head`, `width` (over all heads at once, as Wan does), or `none`.
      qkv_bias: adds biases.
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
        qk_norm: str = "head",
        qkv_bias: bool = False,
        dtype: DType = jnp.float32,
    ):
        check_heads(width, num_heads)
        context_width = width if context_width is None else context_width
        make = dict(rngs=rngs, use_bias=qkv_bias, dtype=dtype)
        self.num_heads, self.qk_norm = num_heads, qk_norm
        self.query = Dense(width, width, **make)
        self.key = Dense(context_width, width, **make)
        self.value = Dense(context_width, width, **make)
        gains = {"head": width // num_heads, "width": width, "none": 0}[qk_norm]
        self.query_gain = nnx.Param(jnp.ones((gains,))) if gains else None
        self.key_gain = nnx.Param(jnp.ones((gains,))) if gains else None

    def heads(self, x: Float[Array, "B N D"], context: Float[Array, "B M E"] | None = None) -> QKV:
        """Queries of `x`, keys and values of `context` (of `x` itself when None)."""
        context = x if context is None else context
        q = self._normed(self.query(x), self.query_gain)
        k = self._normed(self.key(context), self.key_gain)
        return q, k, self._heads(self.value(context))

    def _heads(self, x: Float[Array, "B N D"]) -> Float[Array, "B heads N head_dim"]:
        batch, num_tokens, width = x.shape
        return x.reshape(batch, num_tokens, self.num_heads, width // self.num_heads).swapaxes(1, 2)

    def _normed(self, x: Float[Array, "B N D"], gain: nnx.Param | None) -> Float[Array, "B heads N head_dim"]:
        if self.qk_norm == "width":
            return self._heads(rms_norm(x, gain[...]))
        return self._heads(x) if gain is None else rms_norm(self._heads(x), gain[...])


class Attention(Projections):
    """Attention of tokens to a context (themselves, or a text).

    Args:
      width: of the tokens and of the output.
      num_heads: divides `width`.
      out_scale: variance scale of the output kernel; 0 makes the layer add nothing at initialisation.
      rngs: for the kernels.
      dtype: of the computation.
      kind: what else `Projections` takes.

    Raises:
      ValueError: `num_heads` does not divide `width`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        rngs: nnx.Rngs,
        out_scale: float = 1.0,
        dtype: DType = jnp.float32,
        **kind: int | str | bool | None,
    ):
        super().__init__(width, num_heads, rngs=rngs, dtype=dtype, **kind)
        self.out = Dense(width, width, rngs=rngs, scale=out_scale, dtype=dtype)

    def __call__(
        self,
        x: Float[Array, "B N D"],
        context: Float[Array, "B M E"] | None = None,
        *,
        rotation: Float[Array, "*#B 2 N half"] | None = None,
        ids: Ids | None = None,
    ) -> Float[Array, "B N D"]:
        """Attends `x` to `context` (to itself when None), turning queries and keys by `rotation`."""
        return self.out(attend_turned(self.heads(x, context), rotation, ids))


def attend_turned(
    qkv: QKV, rotation: Float[Array, "*#B 2 N half"] | None, ids: Ids | None
) -> Float[Array, "B N D"]:
    """`attend` with queries and keys turned by `rotation`, the heads of the result side by side."""
    q, k, v = qkv
    if rotation is not None:
        q, k = apply_rope(q, rotation), apply_rope(k, rotation)
    y = checkpoint_name(attend(q, k, v, ids), "attention").swapaxes(1, 2)
    return y.reshape(*y.shape[:2], -1)


def check_heads(width: int, num_heads: int) -> None:
    """Raises ValueError, naming both numbers, when heads of even width do not fill `width`."""
    if num_heads < 1 or width % num_heads or (width // num_heads) % 2:
        raise ValueError(
            f"num_heads={num_heads} does not cut width={width} into heads of even width: "
            f"choose num_heads that divides {width // 2}"
        )
