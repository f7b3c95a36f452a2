# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where layers lie on a mesh: products with sharded kernels, and tokens of the residual stream.

Left to itself, XLA's partitioner may cut a product along the kernel's shard, which sends activations from chip to
chip, and sums the gradients of kernels whole. Written out, a kernel is gathered where it is used, in the numbers
that it is used in, and its gradient scattered (Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 5.3; Zhao et
al. 2023, PyTorch FSDP, arXiv 2304.11277, section 3).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers import backward, shards
from dit_jax.layers.norm import times
from dit_jax.layers.shards import GATHERED
from dit_jax.mesh import BATCH_AXES, ambient, parameter_spec, platform

SEQUENCE_DIM = {3: 1, 5: 2}  # by number of dims: of tokens, and the rows of latents, as a batch lies


def product(
    x: Float[Array, "*batch i"], kernel: Float[Array, "i o"], dtype: DType
) -> Float[Array, "*batch o"]:
    """`x @ kernel` in `dtype`, each device with its own part of the batch."""
    mesh, _ = ambient()
    lies = None if mesh is None or x.ndim < 2 else _tokens(x.shape, mesh)
    dim = _sharded_dim(kernel, lies)
    if dim is None or _num_sent(x, kernel) >= kernel.size:
        return _gathered(_rows, x, kernel, dtype, lies, lies)

    def by_shards(x: Array, own: Array) -> Array:
        y = shards.by_shards(x.reshape(-1, x.shape[-1]), own, dim, dtype)
        return y.reshape(*x.shape[:-1], -1)

    return _on_shards(by_shards, x, kernel, dim, lies, lies)


def _num_sent(x: Array, kernel: Array) -> int:
    """Numbers that a device gets of the others, where the kernel stays: all rows and what comes of them."""
    mesh, _ = ambient()
    return math.prod(x.shape[:-1]) // mesh.shape["data"] * sum(kernel.shape)


def gated_product(
    x: Float[Array, "B N i"], kernel: Float[Array, "i o"], gate: Float[Array, "B #N o"], dtype: DType
) -> Float[Array, "B N o"]:
    """`gate * product(x, kernel)`; where a clip has one gate, see `layers.backward`."""
    if platform() == "cpu" or gate.shape[1] > 1:
        return times(product(x, kernel, dtype).astype(gate.dtype), gate)
    mesh, _ = ambient()
    lies = None if mesh is None else _tokens(x.shape, mesh)

    def multiply(x: Array, kernel: Array, dtype: DType, gate: Array) -> Array:
        if _clips_are_short(x, kernel):
            return gate * _rows(x, kernel, dtype)
        return backward.gated_product("bni,io->bno", x.astype(dtype), kernel.astype(dtype), gate)

    return _gathered(multiply, x, kernel, dtype, lies, lies, gate)


def _clips_are_short(x: Array, kernel: Array) -> bool:
    """Whether gradients of a kernel for each clip would be larger than what they are of."""
    return len(x) > 1 and x.shape[-2] < kernel.shape[-1]


def to_heads(
    x: Float[Array, "B N i"], kernel: Float[Array, "i o"], num_heads: int, dtype: DType
) -> Float[Array, "B heads N head_dim"]:
    """`product`, its columns by heads.

    On a TPU the product writes them where they belong; otherwise a copy of its result does.
    """
    if platform() != "tpu":
        y = product(x, kernel, dtype)
        return y.reshape(*y.shape[:2], num_heads, -1).swapaxes(1, 2)

    def multiply(x: Array, kernel: Array, dtype: DType) -> Array:
        kernel = kernel.reshape(len(kernel), num_heads, -1)
        rows = x.reshape(-1, x.shape[-1])
        y = jnp.einsum("ni,ihd->hnd", rows.astype(dtype), kernel.astype(dtype))
        return y.reshape(num_heads, *x.shape[:2], -1).swapaxes(0, 1)

    return _gathered(multiply, x, kernel, dtype, *_by_token_and_head(x.shape))


def from_heads(
    x: Float[Array, "B heads N head_dim"],
    kernel: Float[Array, "i o"],
    dtype: DType,
    gate: Float[Array, "B #N o"] | None = None,
) -> Float[Array, "B N o"]:
    """`product` of all heads of a token side by side, see `to_heads`; times `gate`, see `gated_product`."""
    batch, num_heads, tokens, head_dim = x.shape
    if platform() != "tpu":
        x = x.swapaxes(1, 2).reshape(batch, tokens, -1)
        return product(x, kernel, dtype) if gate is None else gated_product(x, kernel, gate, dtype)
    if gate is not None and gate.shape[1] > 1:
        return gate * from_heads(x, kernel, dtype).astype(gate.dtype)

    def multiply(x: Array, kernel: Array, dtype: DType, *gates: Array) -> Array:
        x, kernel = x.astype(dtype), kernel.astype(dtype).reshape(num_heads, head_dim, -1)
        if gates and not _clips_are_short(x, kernel):
            return backward.gated_product("bhni,hio->bno", x, kernel, *gates)
        rows = x.swapaxes(0, 1).reshape(num_heads, -1, head_dim)
        y = jnp.einsum("hnd,hdo->no", rows, kernel)
        return math.prod(gates, start=y.reshape(x.shape[0], x.shape[2], -1))  # this device's

    by_token, by_head = _by_token_and_head((batch, tokens, num_heads * head_dim))
    return _gathered(multiply, x, kernel, dtype, by_head, by_token, *(() if gate is None else (gate,)))


def _by_token_and_head(shape: tuple[int, ...]) -> tuple[PartitionSpec | None, PartitionSpec | None]:
    """Where tokens `B N D` of a shape lie, and where they do as `B heads N head_dim`."""
    mesh, _ = ambient()
    if mesh is None:
        return None, None
    lies = _tokens(shape, mesh)
    return lies, PartitionSpec(lies[0], None, lies[1], None)


def _gathered(
    multiply: Callable[..., Array],
    x: Array,
    kernel: Array,
    dtype: DType,
    lies: PartitionSpec | None,
    result_lies: PartitionSpec | None,
    *of_clips: Array,
) -> Array:
    """`multiply(x, kernel, dtype, *of_clips)`, on each device with its part of `x` and the whole kernel.

    `of_clips` have an entry for each clip of `x`, and lie with them.
    """
    if platform() == "tpu" and kernel.shape[0] != kernel.shape[1] and not of_clips:
        multiply = _in_order(multiply)
    dim = _sharded_dim(kernel, lies)
    if dim is None:
        return multiply(x, kernel, dtype, *of_clips)
    mesh, _ = ambient()
    stages = shards.scatter_stages([getattr(device, "coords", ()) for device in mesh.devices[0, :, 0, 0]])

    def gathered(x: Array, own: Array, *of_clips: Array) -> Array:
        return multiply(x, shards.whole(own, dim, stages, dtype), dtype, *of_clips)

    return _on_shards(gathered, x, kernel, dim, lies, result_lies, *of_clips)


def _sharded_dim(kernel: Array, lies: PartitionSpec | None) -> int | None:
    """Along which devices that have clips of their own have parts of a kernel; None where they have the whole."""
    mesh, _ = ambient()
    if mesh is None or mesh.shape[GATHERED] == 1 or lies is None or lies[0] is None:
        return None
    spec = parameter_spec(kernel.shape, mesh)
    return next((i for i, axis in enumerate(spec) if axis == GATHERED), None)


def _on_shards(
    apply: Callable[..., Array],
    x: Array,
    kernel: Array,
    dim: int,
    lies: PartitionSpec,
    result_lies: PartitionSpec,
    *of_clips: Array,
) -> Array:
    """`apply(x, shard, *of_clips)`, on each device with its part of `x` and its shard of the kernel along `dim`."""
    mesh, _ = ambient()
    manual = frozenset({*BATCH_AXES, "seq"})  # the axis `model` stays the partitioner's
    shard_spec = PartitionSpec(*(GATHERED if i == dim else None for i in range(2)))
    along = tuple(name for name in lies[1:] if name is not None)
    others = tuple(name for name in (*BATCH_AXES, *along) if name != GATHERED)

    def on_own(x: Array, shard: Array, *of_clips: Array) -> Array:
        # What devices share is made theirs before it is cast, so that its gradient is summed in float32.
        own = jax.lax.pcast(shard, others, to="varying")
        return apply(x, own, *(jax.lax.pcast(a, along, to="varying") for a in of_clips))

    in_specs = (lies, shard_spec, *[PartitionSpec(lies[0])] * len(of_clips))
    on_mesh = jax.shard_map(on_own, mesh=mesh, in_specs=in_specs, out_specs=result_lies, axis_names=manual)
    return on_mesh(summable(x, lies), kernel, *of_clips)


def _in_order(multiply: Callable[[Array, Array, DType], Array]) -> Callable[[Array, Array, DType], Array]:
    return lambda x, kernel, dtype: backward.in_order(lambda y, k: multiply(y, k, dtype), x, kernel)


def _rows(x: Array, kernel: Array, dtype: DType) -> Array:
    """The leading axes are flattened first: XLA's CPU code generator runs the weight gradient of a three-axis product
    at a third of the speed of a two-axis one."""
    y = x.reshape(-1, x.shape[-1]).astype(dtype) @ kernel.astype(dtype)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def summable(x: Array, spec: PartitionSpec) -> Array:
    """`x`, of which devices have parts by `spec`, in numbers whose gradients can be summed over those that share one:
    XLA's CPU compiler dies of sums of bfloat16."""
    mesh, _ = ambient()
    parts = math.prod(x.shape) // math.prod(NamedSharding(mesh, spec).shard_shape(x.shape))
    return x.astype(jnp.float32) if platform() == "cpu" and parts < mesh.size else x


def on_tokens(x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """`x`, its clips held to `data` and `fsdp` and its tokens or rows to `seq`, where they divide; on a TPU its
    features held together, which the compiler may forgo, to the loss of all products that read them."""
    mesh, _ = ambient()
    if platform() == "tpu":
        x = with_layout_constraint(x, Layout(tuple(range(x.ndim))))
    if mesh is None or mesh.size == 1:
        return x
    held = (PartitionSpec.UNCONSTRAINED if names is None else names for names in _tokens(x.shape, mesh))
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*held)))


def _tokens(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Of tokens `B N D`, latents `B t h w D`, or what each clip has one of."""
    batch, seq = math.prod(mesh.shape[name] for name in BATCH_AXES), mesh.shape["seq"]
    spec: list[tuple[str, ...] | str | None] = [None] * len(shape)
    spec[0] = BATCH_AXES if shape[0] % batch == 0 else None
    dim = SEQUENCE_DIM.get(len(shape))
    if dim is not None and seq > 1 and shape[dim] % seq == 0:
        spec[dim] = "seq"
    return PartitionSpec(*spec)
