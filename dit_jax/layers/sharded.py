# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where layers lie on a mesh: products with sharded kernels, and tokens of the residual stream.

Left to itself, XLA's partitioner may cut a product along the kernel's shard, which sends activations from chip to
chip, and sums the gradients of kernels whole. Written out, a kernel is gathered where it is used, in the numbers
that it is used in, and its gradient scattered (Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 5.3; Zhao et
al. 2023, PyTorch FSDP, arXiv 2304.11277, section 3).
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from dit_jax.arrays import DType
from dit_jax.layers import backward
from dit_jax.mesh import BATCH_AXES, ambient, parameter_spec, platform

GATHERED = "fsdp"
Stages = tuple[tuple[tuple[int, ...], ...] | None, ...]
SEQUENCE_DIM = {3: 1, 5: 2}  # by number of dims: of tokens, and the rows of latents, as a batch lies


def product(
    x: Float[Array, "*batch i"], kernel: Float[Array, "i o"], dtype: DType
) -> Float[Array, "*batch o"]:
    """`x @ kernel` in `dtype`, each device with its own part of the batch."""
    mesh, _ = ambient()
    lies = None if mesh is None or x.ndim < 2 else _tokens(x.shape, mesh)
    dim = _gathered_dim(kernel, lies)
    if dim is not None and _is_less(x, kernel, mesh):
        return _sent(x, kernel, dtype, lies, dim)
    return _gathered(_rows, x, kernel, dtype, lies, lies)


def _is_less(x: Array, kernel: Array, mesh: Mesh) -> bool:
    """Whether less goes around if devices exchange what they multiply with the kernel, and what comes of it."""
    rows = math.prod(x.shape[:-1]) // mesh.shape["data"]
    return rows * sum(kernel.shape) < kernel.size


def _sent(x: Array, kernel: Array, dtype: DType, lies: PartitionSpec, dim: int) -> Array:
    """`x @ kernel` with the kernel left where it lies: each device multiplies all rows of `x` with its shard.

    So a clip's modulations come of a few thousand numbers sent, and not of a kernel as large as the perceptron's;
    and the kernel's gradient is a product, instead of as many outer products as there are clips, summed.
    """
    mesh, _ = ambient()
    manual, shard_spec, others = _manual(mesh, lies, dim)
    turn = functools.partial(jax.lax.all_to_all, axis_name=GATHERED, tiled=True)

    def sent(x: Array, shard: Array) -> Array:
        shard = _cast(jax.lax.pcast(shard, others, to="varying"), dtype)
        rows = x.reshape(-1, x.shape[-1])
        if dim == 1:
            rows = jax.lax.all_gather(rows.astype(jnp.float32), GATHERED, tiled=True)  # so gradients are summed
            y = turn(_rows(rows, shard, dtype), split_axis=0, concat_axis=1)
        else:
            y = _rows(turn(rows, split_axis=1, concat_axis=0), shard, dtype)
            y = jax.lax.psum_scatter(y.astype(jnp.float32), GATHERED, tiled=True).astype(dtype)
        return y.reshape(*x.shape[:-1], -1)

    apply = jax.shard_map(sent, mesh=mesh, in_specs=(lies, shard_spec), out_specs=lies, axis_names=manual)
    return apply(summable(x, lies), kernel)


def _gathered_dim(kernel: Array, lies: PartitionSpec | None) -> int | None:
    """Along which devices with clips of their own have parts of a kernel; None where they have it whole."""
    mesh, _ = ambient()
    if mesh is None or mesh.shape[GATHERED] == 1 or lies is None or lies[0] is None:
        return None
    return next((i for i, axis in enumerate(parameter_spec(kernel.shape, mesh)) if axis == GATHERED), None)


def _manual(mesh: Mesh, lies: PartitionSpec, dim: int):
    manual = frozenset({*BATCH_AXES, "seq"})  # the axis `model` stays the partitioner's
    shard_spec = PartitionSpec(*(GATHERED if i == dim else None for i in range(2)))
    along = tuple(name for name in lies[1:] if name is not None)
    others = tuple(name for name in (*BATCH_AXES, *along) if name != GATHERED)
    return manual, shard_spec, others


def gated_product(
    x: Float[Array, "B N i"], kernel: Float[Array, "i o"], gate: Float[Array, "B #N o"], dtype: DType
) -> Float[Array, "B N o"]:
    """`gate * product(x, kernel)`; where a clip has one gate, see `layers.backward`."""
    if platform() == "cpu" or gate.shape[1] > 1:
        return gate * product(x, kernel, dtype).astype(gate.dtype)
    mesh, _ = ambient()
    lies = None if mesh is None else _tokens(x.shape, mesh)

    def multiply(x: Array, kernel: Array, dtype: DType, gate: Array) -> Array:
        if len(x) > 1 and x.shape[1] < kernel.shape[1]:  # gradients of each clip's would be larger than `x`
            return gate * _rows(x, kernel, dtype)
        return backward.gated_product(x.astype(dtype), kernel.astype(dtype), gate)

    return _gathered(multiply, x, kernel, dtype, lies, lies, gate)


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
    x: Float[Array, "B heads N head_dim"], kernel: Float[Array, "i o"], dtype: DType
) -> Float[Array, "B N o"]:
    """`product` of all heads of a token side by side, see `to_heads`."""
    batch, num_heads, tokens, head_dim = x.shape
    if platform() != "tpu":
        return product(x.swapaxes(1, 2).reshape(batch, tokens, -1), kernel, dtype)

    def multiply(x: Array, kernel: Array, dtype: DType) -> Array:
        kernel = kernel.reshape(num_heads, head_dim, -1)
        rows = x.swapaxes(0, 1).reshape(num_heads, -1, head_dim)
        y = jnp.einsum("hnd,hdo->no", rows.astype(dtype), kernel.astype(dtype))
        return y.reshape(x.shape[0], x.shape[2], -1)  # this device's

    by_token, by_head = _by_token_and_head((batch, tokens, num_heads * head_dim))
    return _gathered(multiply, x, kernel, dtype, by_head, by_token)


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
    mesh, _ = ambient()
    if mesh is None or mesh.shape[GATHERED] == 1 or lies is None:
        return multiply(x, kernel, dtype, *of_clips)
    spec = parameter_spec(kernel.shape, mesh)
    dim = next((i for i, axis in enumerate(spec) if axis == GATHERED), None)
    if dim is None or lies[0] is None:
        return multiply(x, kernel, dtype, *of_clips)

    manual = frozenset({*BATCH_AXES, "seq"})  # the axis `model` stays the partitioner's
    shard_spec = PartitionSpec(*(GATHERED if i == dim else None for i in range(2)))
    along = tuple(name for name in lies[1:] if name is not None)
    others = tuple(name for name in (*BATCH_AXES, *along) if name != GATHERED)
    stages = scatter_stages([getattr(device, "coords", ()) for device in mesh.devices[0, :, 0, 0]])

    def gathered(x: Array, shard: Array, *of_clips: Array) -> Array:
        # What devices share is made theirs before it is cast, so that its gradient is summed in float32.
        own = jax.lax.pcast(shard, others, to="varying")
        of_clips = tuple(jax.lax.pcast(a, along, to="varying") for a in of_clips)
        return multiply(x, _whole(own, dim, stages, dtype), dtype, *of_clips)

    in_specs = (lies, shard_spec, *[PartitionSpec(lies[0])] * len(of_clips))
    apply = jax.shard_map(gathered, mesh=mesh, in_specs=in_specs, out_specs=result_lies, axis_names=manual)
    return apply(summable(x, lies), kernel, *of_clips)


def _in_order(multiply: Callable[[Array, Array, DType], Array]) -> Callable[[Array, Array, DType], Array]:
    return lambda x, kernel, dtype: backward.in_order(lambda y, k: multiply(y, k, dtype), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _whole(shard: Array, dim: int, stages: Stages, dtype: DType) -> Array:
    """The array of which every device has a part along `dim`, in `dtype`; its gradient is scattered in stages."""
    return jax.lax.all_gather(_cast(shard, dtype), GATHERED, axis=dim, tiled=True)


def _cast(shard: Array, dtype: DType) -> Array:
    """`shard` in `dtype`, in which it is sent.

    On a TPU by way of its bits, which the compiler can not cast. It would take the cast out of the loop over blocks,
    and hold all parameters in both types.
    """
    if platform() == "cpu":  # see `summable`
        return shard
    if platform() == "tpu":
        bits = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(shard, jnp.uint32))
        shard = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return shard.astype(dtype)


def _scatter(dim: int, stages: Stages, dtype: DType, _: None, gradient: Array) -> tuple[Array]:
    for groups in stages:
        gradient = jax.lax.psum_scatter(
            gradient, GATHERED, scatter_dimension=dim, axis_index_groups=groups, tiled=True
        )
    return (gradient.astype(jnp.float32),)


_whole.defvjp(lambda shard, *how: (_whole(shard, *how), None), _scatter)


def scatter_stages(coords: Sequence[Sequence[int]]) -> Stages:
    """Groups of devices over which a sum is scattered along an axis of the mesh, stage by stage; None is all at once.

    XLA's compiler for TPUs makes a scatter over three dims of the torus a sum of the whole: there the sum is
    scattered over planes first, and then over what lies across them.

    Args:
      coords: of the devices along the axis, in the torus; empty where there is none.
    """
    count = len(coords)
    if _dims_of(coords) > 2:
        for size in (size for size in range(2, count) if count % size == 0):
            lines = tuple(tuple(range(first, first + size)) for first in range(0, count, size))
            planes = tuple(tuple(range(first, count, size)) for first in range(size))
            if all(_dims_of([coords[i] for i in group]) <= 2 for group in lines + planes):
                return planes, lines
    return (None,)


def _dims_of(coords: Sequence[Sequence[int]]) -> int:
    """Along which places differ."""
    return sum(len(set(along)) > 1 for along in zip(*coords))


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
