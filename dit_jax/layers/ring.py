# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention over tokens that are spread over devices: keys and values go round, queries stay.

Liu et al. 2023, "Ring Attention with Blockwise Transformers", arXiv 2310.01889, algorithm 1. No device ever holds
more keys, values or logits than those of its share of the tokens.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

HIDDEN = -1e30  # a logit of what is not seen


def ring(
    q: Float[Array, "B heads N head_dim"],
    k: Float[Array, "B heads M head_dim"],
    v: Float[Array, "B heads M head_dim"],
    ids: tuple[Int[Array, "#B #N"], Int[Array, "#B M"]] | None,
    axis: str,
) -> Float[Array, "B heads N head_dim"]:
    """See `attend.attend`; of the tokens that this device has along the mesh's `axis`, within `shard_map`."""
    count = jax.lax.axis_size(axis)
    onward = [(i, (i + 1) % count) for i in range(count)]

    @jax.checkpoint
    def turn(totals: tuple, held: tuple) -> tuple:
        return _merged(totals, q, held, None if ids is None else ids[0])

    def step(carry: tuple, _: None) -> tuple:
        totals, held = carry
        totals = turn(totals, held)
        return (totals, jax.tree.map(lambda a: jax.lax.ppermute(a, axis, onward), held)), None

    held = (k, v) if ids is None else (k, v, ids[1])
    zeros = jnp.zeros(q.shape[:3], jnp.float32)
    totals = (jnp.full_like(zeros, -jnp.inf), zeros, jnp.zeros(q.shape, jnp.float32))
    (_, weight, value), _ = jax.lax.scan(step, (totals, held), None, length=count)[0]
    return (value / weight[..., None]).astype(v.dtype)


def _merged(totals: tuple, q: Array, held: tuple, ids: Array | None) -> tuple:
    """Largest logit, sum of weights and weighted sum of values, with those of the keys at hand (Milakov and
    Gimelshein 2018, arXiv 1805.02867, eq. 4)."""
    largest, weight, value = totals
    k, v, *numbers = held
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32)
    if numbers:
        logits = jnp.where(ids[:, None, :, None] == numbers[0][:, None, None, :], logits, HIDDEN)
    top = jax.lax.stop_gradient(jnp.maximum(largest, logits.max(-1)))
    share, weights = jnp.exp(largest - top), jnp.exp(logits - top[..., None])
    seen = jnp.einsum("bhnm,bhmd->bhnd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return top, share * weight + weights.sum(-1), share[..., None] * value + seen
