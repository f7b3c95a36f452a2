# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Gradients of a batch that does not fit memory at once: part by part, then added."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dit_jax.arrays import Key, Scalar
from dit_jax.train.step import GradFn


def accumulated(
    prepare: Callable[[PyTree, Key], PyTree], loss_fn: Callable[[PyTree, PyTree], Scalar], num_parts: int
) -> GradFn:
    """`(params, batch, key) -> ((loss, {}), gradient)`, the same for any number of parts.

    What is random is drawn for the whole batch first, so that the parts are clips of the batch that would
    otherwise be trained on at once.

    Args:
      prepare: `(batch, key) -> inputs`, arrays with the batch's axis in front.
      loss_fn: `(params, part of the inputs) -> loss`; the parts' losses add up to the batch's.
      num_parts: divides the batch.
    """
    part_grads = jax.value_and_grad(loss_fn)

    def grads(params: PyTree, batch: PyTree, key: Key) -> tuple[tuple[Scalar, dict], PyTree]:
        inputs = prepare(batch, key)
        if num_parts == 1:
            loss, gradient = part_grads(params, inputs)
            return (loss, {}), gradient
        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        parts = jax.tree.map(lambda a: _parts(a, num_parts), inputs)
        add = lambda total, part: jax.tree.map(jnp.add, total, part_grads(params, part))  # noqa: E731
        (loss, gradient), _ = jax.lax.scan(lambda total, part: (add(total, part), None), zero, parts)
        return (loss, {}), gradient

    return grads


def _parts(a: jax.Array, num_parts: int) -> jax.Array:
    """Every `num_parts`-th clip makes a part, so that each device finds clips of each part among its own."""
    if a.shape[0] % num_parts:
        raise ValueError(
            f"batch_size={a.shape[0]} does not divide into optimizer.accumulation_steps={num_parts} parts: "
            "choose a divisor"
        )
    return a.reshape(a.shape[0] // num_parts, num_parts, *a.shape[1:]).swapaxes(0, 1)
