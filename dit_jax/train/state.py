# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""All that a run is made of, as one tree, and the border between modules and trees."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree

from dit_jax.arrays import Key
from dit_jax.mesh import parameter_shardings


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A run between two steps.

    Attributes:
      step: steps taken.
      skipped: steps whose loss or gradient was not finite, and which changed nothing.
      params: as trained.
      ema: their moving average, which is evaluated and sampled.
      opt_state: the optimizer's.
    """

    step: PyTree  # a scalar; like all fields, its shape or sharding in trees of these
    skipped: PyTree
    params: PyTree
    ema: PyTree
    opt_state: PyTree


def split_module(module: nnx.Module) -> tuple[nnx.GraphDef, PyTree]:
    """A module as its static structure and a plain tree of its parameters."""
    graph, params = nnx.split(module, nnx.Param)
    return graph, nnx.to_pure_dict(params)


def merge_module(graph: nnx.GraphDef, params: PyTree) -> nnx.Module:
    """The module of a structure and a tree of parameters."""
    return nnx.merge(graph, nnx.State(params))


def abstract_module(make: Callable[[nnx.Rngs], nnx.Module]) -> tuple[nnx.GraphDef, PyTree]:
    """Structure and parameter shapes of a module, without computing a parameter."""
    module = nnx.eval_shape(lambda: make(nnx.Rngs(params=0)))
    return split_module(module)


def count_parameters(params: PyTree) -> int:
    """Parameters in a tree (of arrays or shapes)."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def make_init(
    make: Callable[[nnx.Rngs], nnx.Module],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    scales: PyTree | None = None,
) -> tuple[Callable[[Key], TrainState], TrainState]:
    """A jitted `key -> TrainState` that places every array where it belongs, and the state's shapes.

    Args:
      make: the module.
      optimizer: whose state it has.
      mesh: where it lies.
      scales: of the parameters, from `parameter_scales`: they multiply the initial values.
    """

    def init(key: Key) -> TrainState:
        params = split_module(make(nnx.Rngs(params=key)))[1]
        if scales is not None:
            params = jax.tree.map(lambda p, scale: scale.init * p, params, scales)
        return _at_rest(params, optimizer)

    abstract = jax.eval_shape(init, jax.random.key(0))
    shardings = parameter_shardings(abstract, mesh)
    # Parameters are drawn once: compiling fast matters more than running fast.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(init, out_shardings=shardings, compiler_options=options), jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings
    )


def _at_rest(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, zero, params, params, optimizer.init(params))


def make_begin(
    optimizer: optax.GradientTransformation, abstract: TrainState
) -> Callable[[PyTree], TrainState]:
    """A jitted `params -> TrainState` before the first step, placed as `abstract` says."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(lambda params: _at_rest(params, optimizer), out_shardings=shardings)


def inherit(params: PyTree, trained: PyTree) -> PyTree:
    """`params` of a new network, with all that a smaller one has `trained`: an image network's in a video
    network, or a video network's in one with additional inputs.

    Raises:
      ValueError: `trained` has a parameter that `params` have not, or of another shape.
    """
    given = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trained)}

    def take(path, leaf):
        other = given.pop(jax.tree_util.keystr(path), leaf)
        if other.shape != leaf.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"{name} has shape {other.shape}, and the new network's {leaf.shape}: match them"
            )
        return other

    inherited = jax.tree_util.tree_map_with_path(take, params)
    if given:
        raise ValueError(
            f"the new network has no {next(iter(given))}, nor {len(given) - 1} others: match them"
        )
    return inherited
