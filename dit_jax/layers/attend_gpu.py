# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention on a GPU: cuDNN's flash attention, where it takes the numbers and the heads."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

DTYPES = (jnp.bfloat16, jnp.float16)
MAX_HEAD_DIM = 128
HEAD_DIM_UNIT = 8


def cudnn(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    ids: tuple[Int[Array, "#B #N"], Int[Array, "#B M"]] | None,
) -> Float[Array, "B heads N head_dim"]:
    """See `attend.attend`. In float32, and with heads that cuDNN has no kernel for, XLA computes it.

    cuDNN knows no numbers of segments: a mask stands for them, one for all heads.
    """
    mask = None if ids is None else (ids[0][:, :, None] == ids[1][:, None, :])[:, None]
    fits = q.dtype in DTYPES and q.shape[-1] <= MAX_HEAD_DIM and q.shape[-1] % HEAD_DIM_UNIT == 0
    q, k, v = (a.swapaxes(1, 2) for a in (q, k, v))
    implementation = "cudnn" if fits else "xla"
    attend = functools.partial(jax.nn.dot_product_attention, scale=1.0, implementation=implementation)
    return attend(q, k, v, mask=mask).swapaxes(1, 2)
