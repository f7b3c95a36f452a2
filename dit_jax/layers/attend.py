# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Softmax attention, by the kernel that suits the device, on every device of a mesh by its own share."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from dit_jax.layers.attend_cpu import blocked
from dit_jax.layers.attend_gpu import cudnn
from dit_jax.layers.ring import ring
from dit_jax.layers.sharded import summable
from dit_jax.mesh import BATCH_AXES, ambient, axes_that_divide, platform

# Queries, keys and values.
QKV = tuple[
    Float[Array, "B heads N head_dim"], Float[Array, "B heads M head_dim"], Float[Array, "B heads M head_dim"]
]
# A query sees the keys that have its number. (of queries, of keys)
Ids = tuple[Int[Array, "#B #N"], Int[Array, "#B M"]]


def ids_of_mask(mask: Bool[Array, "B M"]) -> Ids:
    """Every query sees the keys where `mask`."""
    return jnp.zeros((1, 1), jnp.int32), jnp.where(mask, 0, -1)


def attend(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    ids: Ids | None = None,
    *,
    name: str | None = None,
) -> Float[Array, "B heads N head_dim"]:
    """`softmax(q k^T) v` (Vaswani et al. 2017, eq. 1); the softmax is in float32.

    Args:
      q: queries, which whoever makes them has divided by the root of their number of features.
      k: keys.
      v: values.
      ids: who sees whom, all see all when None; a query that sees nothing gets the mean of the values.
      name: under which the backward pass may keep what is put out, see `stack.REMAT`.
    """
    mesh, context = ambient()
    if mesh is None or mesh.size == 1:
        return _kernel(name)(q, k, v, ids)
    return _sharded(name, mesh, context, q, k, v, ids)


def _kernel(name: str | None) -> Callable:
    """That of the device. Pallas takes .6 s to import, which only a TPU is worth."""
    if platform() == "tpu":
        from dit_jax.layers.attend_tpu import splash

        return functools.partial(splash, name=name)  # its gradient reads more than what is put out
    return _named(cudnn if platform() == "gpu" else blocked, name)


def _named(kernel: Callable, name: str | None) -> Callable:
    return kernel if name is None else lambda *args: checkpoint_name(kernel(*args), name)


def _sharded(
    name: str | None, mesh: Mesh, context: str, q: Array, k: Array, v: Array, ids: Ids | None
) -> Array:
    """The kernel on each device, for its clips and heads and, along `seq`, its share of the queries.

    Of the tokens along `seq`: `gather` gives every device all keys and values; `ulysses` gives it all tokens of a
    share of the heads (Jacobs et al. 2023, DeepSpeed Ulysses, arXiv 2309.14509, section 3.1); `ring` passes keys and
    values round. Where the heads or tokens do not divide it is `gather`, or no share at all.
    """
    here, there, goes_round = _specs(mesh, context, q.shape, k.shape[2])
    local = _named(functools.partial(ring, axis="seq"), name) if goes_round else _kernel(name)
    numbers = PartitionSpec()
    if ids is not None:
        shared = ids[0].shape[1] == 1 and not goes_round  # one number for all queries of a clip
        tokens = (1 if shared else q.shape[2], k.shape[2])
        ids = tuple(jnp.broadcast_to(one, (len(q), size)) for one, size in zip(ids, tokens, strict=True))
        numbers = (PartitionSpec(here[0], None if shared else here[2]), PartitionSpec(there[0], there[2]))
    specs = (here, there, there, numbers)
    apply = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=here, check_vma=False)
    q, k, v = (summable(a, spec) for a, spec in zip((q, k, v), specs))
    return apply(q, k, v, ids).astype(v.dtype)


def _specs(
    mesh: Mesh, context: str, shape: tuple[int, ...], num_keys: int
) -> tuple[PartitionSpec, PartitionSpec, bool]:
    """Where queries and keys lie, and whether the keys go round."""
    batch, heads, tokens = (
        axes_that_divide(names, size, mesh) for names, size in zip((BATCH_AXES, ("model",), ("seq",)), shape)
    )
    both = axes_that_divide(("model", "seq"), shape[1], mesh)
    if context == "ulysses" and tokens and both:
        return (PartitionSpec(batch, both, None),) * 2 + (False,)
    goes_round = context == "ring" and tokens is not None and shape[2] == num_keys
    return (
        PartitionSpec(batch, heads, tokens),
        PartitionSpec(batch, heads, tokens if goes_round else None),
        goes_round,
    )
