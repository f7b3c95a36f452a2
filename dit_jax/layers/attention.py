# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention with per-head QK-norm."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers.attend import QKV, Ids, attend
from dit_jax.layers.dense import Dense, side_by_side
from dit_jax.layers.norm import rms_norm
from dit_jax.layers.rope import Rotation, apply_rope
from dit_jax.layers.turn import Heads, normed_and_turned

QK_NORMS = ("head", "width", "none")
ATTENTION = "attention"  # the name of what tokens see of each other, see `attend`


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

    def heads(
        self,
        x: Float[Array, "B N D"],
        context: Float[Array, "B M E"] | None = None,
        rotation: Rotation | None = None,
    ) -> QKV:
        """Queries of `x`, keys and values of `context` (of `x` itself when None), as `attend` takes them; queries and
        keys turned by `rotation`."""
        of = (self.query, self.key, self.value)
        if context is None:
            q, k, v = side_by_side(of, x, self.num_heads)
        else:
            q, (k, v) = of[0].to_heads(x, self.num_heads), side_by_side(of[1:], context, self.num_heads)
        q = self._normed(q, self.query_gain, 1 / math.sqrt(q.shape[-1]), rotation)
        return q, self._normed(k, self.key_gain, 1.0, rotation), v

    def _normed(self, x: Heads, gain: nnx.Param | None, scale: float, rotation: Rotation | None) -> Heads:
        """Normalised, times `gain` and `scale`, and turned."""
        if gain is not None and self.qk_norm == "head":
            return normed_and_turned(x, gain[...] * scale, rotation)
        if gain is None:
            x = x if scale == 1 else x * scale
        else:
            x = rms_norm(x, gain[...].reshape(self.num_heads, 1, -1) * scale, axes=(1, 3))
        return x if rotation is None else apply_rope(x, rotation)


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
        rotation: Rotation | None = None,
        ids: Ids | None = None,
        gate: Float[Array, "B #N D"] | None = None,
    ) -> Float[Array, "B N D"]:
        """Attends `x` to `context` (to itself when None), turning queries and keys by `rotation`; times `gate`."""
        # What is seen of a text costs less to make than to keep.
        name = ATTENTION if context is None else None
        y = attend(*self.heads(x, context, rotation), ids, name=name)
        return self.out.from_heads(y, gate)


def check_heads(width: int, num_heads: int) -> None:
    """Raises ValueError, naming both numbers, when heads of even width do not fill `width`."""
    if num_heads < 1 or width % num_heads or (width // num_heads) % 2:
        raise ValueError(
            f"num_heads={num_heads} does not cut width={width} into heads of even width: "
            f"choose num_heads that divides {width // 2}"
        )
