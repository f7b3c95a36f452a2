# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training step: a pure function, jitted once, with donated state."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from dit_jax.arrays import Key, Scalar
from dit_jax.mesh import compiler_options
from dit_jax.train.optimizer import (
    Horizon,
    OptimizerConfig,
    averaged,
    by_branch,
    ema_decay,
    learning_rate,
    make_optimizer,
)
from dit_jax.train.state import TrainState

Metrics = dict[str, Scalar]
StepMetrics = dict[str, Float[Array, " steps"]]
# (params, batch, key) -> ((loss, metrics), gradient)
GradFn = Callable[[PyTree, PyTree, Key], tuple[tuple[Scalar, Metrics], PyTree]]


def make_train_steps(
    grad_fn: GradFn,
    config: OptimizerConfig,
    abstract: TrainState,
    branches: Mapping[str, optax.GradientTransformationExtraArgs] | None = None,
    scales: PyTree | None = None,
    sparse_cores: bool = False,
) -> Callable:
    """`(state, batches, horizon) -> (state, metrics)`, jitted; the state stays where `abstract` has it.

    `batches` holds one batch per step along its leading axis: a chunk of steps runs as one program, so
    that tiny models are not bound by dispatch. Metrics come back per step, with `loss`, `lr`,
    `grad_norm` and what `grad_fn` reports. Randomness is derived from (seed, step) alone. A step whose
    loss or gradient is not finite changes nothing but the counters.

    Args:
      grad_fn: `(params, batch, key) -> ((loss, metrics), gradient)`.
      config: the schedule and the average, and the optimizer where there are no branches.
      abstract: shapes and shardings of the state.
      branches: optimizers of the parameters' top-level branches, each at the schedule's learning rate; the
        metrics then have `grad_norm_NAME` of each as well.
      scales: of the parameters, from `parameter_scales`, where there are no branches.
      sparse_cores: see `MeshConfig`.
    """
    optimizer = by_branch(branches) if branches else make_optimizer(config, scales)

    def step(state: TrainState, inputs: tuple[PyTree, Key, Scalar, Scalar]) -> tuple[TrainState, Metrics]:
        batch, key, lr, decay = inputs
        (loss, metrics), grads = grad_fn(state.params, batch, key)
        grad_norm = optax.global_norm(grads)
        ok = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        state = advance(state, grads, lr, decay, ok)
        norms = {f"grad_norm_{name}": optax.global_norm(grads[name]) for name in branches or {}}
        return state, {"loss": loss, "lr": lr, "grad_norm": grad_norm, **norms, **metrics}

    def advance(
        state: TrainState, grads: PyTree, lr: Scalar, decay: Scalar, ok: Bool[Array, ""]
    ) -> TrainState:
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, lr=lr, ok=ok)
        params = jax.tree.map(lambda p, u: jnp.where(ok, p + u, p), state.params, updates)
        # Of the old ones nothing is read any more, so that the new ones take their place in memory.
        params = jax.lax.optimization_barrier(params)
        ema = jax.tree.map(lambda e, p: jnp.where(ok, p + decay * (e - p), e), state.ema, params)
        ema = averaged(opt_state, params, ema)
        return TrainState(state.step + 1, state.skipped + ~ok, params, ema, opt_state)

    def steps(state: TrainState, batches: PyTree, horizon: Horizon) -> tuple[TrainState, StepMetrics]:
        # What depends on the step alone is computed for the whole chunk at once: inside the loop XLA
        # would fuse it anew into the update of every parameter, at twice the compile time.
        number = state.step + jnp.arange(jax.tree.leaves(batches)[0].shape[0])
        key = jax.random.key(horizon.seed)
        keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(number)
        lrs = learning_rate(number, horizon, config.schedule)
        inputs = (batches, keys, lrs, ema_decay(number, config.ema_gamma))
        if len(number) > 1:
            return jax.lax.scan(step, state, inputs)
        # XLA's CPU backend has no fast convolution inside a loop, not even in one of a single turn.
        state, metrics = step(state, jax.tree.map(lambda a: a[0], inputs))
        return state, jax.tree.map(lambda a: a[None], metrics)

    # Left to itself the partitioner moves leaves about, and the next call compiles anew.
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    options = compiler_options(abstract.step.sharding, sparse_cores)
    return jax.jit(steps, donate_argnums=0, out_shardings=(shardings, None), compiler_options=options)
