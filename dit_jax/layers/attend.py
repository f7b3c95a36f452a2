# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Softmax attention, by the kernel that suits the device, on every device of a mesh by its own share."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from dit_jax.layers.attend_gpu import cudnn
from dit_jax.layers.attend_tpu import splash
from dit_jax.layers.ring import ring
from dit_jax.mesh import BATCH_AXES, ambient

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
) -> Float[Array, "B heads N head_dim"]:
    """Softmax attention (Vaswani et al. 2017, eq. 1); the softmax is in float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      ids: who sees whom, all see all when None; a query that sees nothing gets the mean of the values.
    """
    mesh, context = ambient()
    kernel = KERNELS.get(_platform(mesh), plain)
    return (
        kernel(q, k, v, ids)
        if mesh is None or mesh.size == 1
        else _sharded(kernel, mesh, context, q, k, v, ids)
    )


def plain(q: Array, k: Array, v: Array, ids: Ids | None) -> Array:
    """`attend` by two products, the logits in memory."""
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32)
    logits = logits / math.sqrt(q.shape[-1])
    if ids is not None:
        seen = ids[0][:, None, :, None] == ids[1][:, None, None, :]
        logits = jnp.where(seen, logits, -1e30)
    weights = jax.nn.softmax(logits, -1).astype(v.dtype)
    return jnp.einsum("bhnm,bhmd->bhnd", weights, v)


KERNELS: dict[str, Callable] = {"tpu": splash, "gpu": cudnn}


def _platform(mesh: Mesh | None) -> str:
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def _sharded(
    kernel: Callable, mesh: Mesh, context: str, q: Array, k: Array, v: Array, ids: Ids | None
) -> Array:
    """`kernel` on each device, for its clips and heads and, along `seq`, its share of the queries.

    Of the tokens along `seq`: `gather` gives every device all keys and values; `ulysses` gives it all tokens of a
    share of the heads (Jacobs et al. 2023, DeepSpeed Ulysses, arXiv 2309.14509, section 3.1); `ring` passes keys and
    values round. Where the heads or tokens do not divide it is `gather`, or no share at all.
    """
    batch = _axes(BATCH_AXES, q.shape[0], mesh)
    heads, tokens = _axes(("model",), q.shape[1], mesh), _axes(("seq",), q.shape[2], mesh)
    if context == "ulysses" and tokens and _axes(("model", "seq"), q.shape[1], mesh):
        heads, tokens = ("model", "seq"), None
    around = context == "ring" and tokens and k.shape[2] == q.shape[2]
    here, there = PartitionSpec(batch, heads, tokens), PartitionSpec(batch, heads, tokens if around else None)
    ids_here, ids_there = (_ids_spec(spec, mesh) for spec in (here, there))
    local = (lambda q, k, v, ids: ring(q, k, v, ids, "seq")) if around else kernel
    if ids is None:
        return jax.shard_map(
            lambda q, k, v: local(q, k, v, None),
            mesh=mesh,
            in_specs=(here, there, there),
            out_specs=here,
            check_vma=False,
        )(q, k, v)
    ids = (
        jnp.broadcast_to(ids[0], (q.shape[0], q.shape[2])),
        jnp.broadcast_to(ids[1], (q.shape[0], k.shape[2])),
    )
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(here, there, there, (ids_here, ids_there)),
        out_specs=here,
        check_vma=False,
    )(q, k, v, ids)


def _axes(names: tuple[str, ...], size: int, mesh: Mesh) -> tuple[str, ...] | None:
    """`names`, if `size` divides over these axes of the mesh and there is something to divide."""
    count = math.prod(mesh.shape[name] for name in names)
    return names if count > 1 and size % count == 0 else None


def _ids_spec(spec: PartitionSpec, mesh: Mesh) -> PartitionSpec:
    """Of `B N`, where that of the tokens is `spec`."""
    return PartitionSpec(spec[0], spec[2])
