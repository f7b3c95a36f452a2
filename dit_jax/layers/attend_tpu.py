# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention on a TPU: the splash kernel of JAX (Pallas), which holds no logits in memory."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jaxtyping import Array, Float, Int

from dit_jax.layers.backward import all_at_once
from dit_jax.mesh import ambient

LANES = 128  # what a block is a multiple of
BLOCK = 1024  # queries of a tile in fast memory; with the kernel's own default of 128 it starves
# Keys of a tile, in entries of all their features: the backward pass writes the gradient of all queries, in float32,
# once for each tile. Under `on_mesh` programs are compiled by `mesh.compiler_options`, which give kernels more room.
KEYS, KEYS_ON_MESH = 2048 * 128, 16384 * 128
NOBODY = (-2, -3)  # numbers of the queries and keys that fill the last tile


def splash(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    ids: tuple[Int[Array, "#B #N"], Int[Array, "#B M"]] | None,
    *,
    name: str | None = None,
    interpret: bool = False,
) -> Float[Array, "B heads N head_dim"]:
    """See `attend.attend`; `interpret` runs the kernel's own steps on any device."""
    (batch, heads, num_queries, head_dim), num_keys = q.shape, k.shape[2]
    rows, (key_block, columns) = _rounded(num_queries), _key_tiles(num_keys, head_dim)
    attend = jax.vmap(_kernel(heads, rows, columns, key_block, name, interpret))
    if ids is None and columns == num_keys:
        return all_at_once(attend, _filled(q, rows), k, v)[:, :, :num_queries]
    ids = (jnp.zeros((1, 1), jnp.int32),) * 2 if ids is None else ids
    sees = (ids[0][:, :, None] == ids[1][:, None, :]).any(-1)
    of_clips = ids[0].shape[1] == 1
    if of_clips:  # all queries of one see the same: where that is nothing, they see all of some keys of zero
        k, ids = k * sees[:, None, :, None].astype(k.dtype), (ids[0], jnp.where(sees, ids[1], ids[0]))
    of_queries, of_keys = (
        jnp.broadcast_to(one, (batch, size)) for one, size in zip(ids, (num_queries, num_keys), strict=True)
    )
    segments = kernels.SegmentIds(_filled(of_queries, rows, NOBODY[0]), _filled(of_keys, columns, NOBODY[1]))
    filled = _filled(q, rows), _filled(k, columns), _filled(v, columns)
    y = all_at_once(attend, *filled, segments)[:, :, :num_queries]
    return y if of_clips else jnp.where(sees[:, None, :, None], y, v.mean(2, keepdims=True))


def _rounded(size: int) -> int:
    """Up to whole tiles."""
    block = BLOCK if size > BLOCK else LANES
    return -(-size // block) * block


def _key_tiles(num_keys: int, head_dim: int) -> tuple[int, int]:
    """The keys of a tile, and of all of them: as few as fit, and alike."""
    room = (KEYS if ambient()[0] is None else KEYS_ON_MESH) // max(head_dim, LANES)
    columns = _rounded(num_keys)
    count = -(-columns // room)
    block = _rounded(-(-columns // count))
    return block, block * count


def _filled(x: Array, size: int, value: int = 0) -> Array:
    """`x` with `value` behind its tokens, which its last axis but one holds (of numbers: its last), up to `size`."""
    dim = min(x.ndim - 1, 2)
    fill = [(0, size - x.shape[dim] if i == dim else 0) for i in range(x.ndim)]
    return jnp.pad(x, fill, constant_values=value)


@functools.lru_cache(maxsize=64)
def _kernel(heads: int, rows: int, columns: int, key_block: int, name: str | None, interpret: bool):
    mask = masks.MultiHeadMask([masks.FullMask((rows, columns)) for _ in range(heads)])
    block_q, compute = min(rows, BLOCK), min(key_block, BLOCK)
    sizes = kernels.BlockSizes(
        block_q=block_q,
        block_kv=key_block,
        block_kv_compute=compute,
        block_q_dkv=block_q,
        block_kv_dkv=key_block,
        block_kv_dkv_compute=compute,
        use_fused_bwd_kernel=True,
    )
    with jax.ensure_compile_time_eval():
        return kernels.make_splash_mha(
            mask,
            block_sizes=sizes,
            head_shards=1,
            q_seq_shards=1,
            interpret=interpret,
            residual_checkpoint_name=name,
        )
