# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Norms of one clip on a CPU.

Of arrays whose first dim is one, XLA for CPUs takes 20 times as long to sum products of two as to multiply matrices
to the same end. Such sums are in gradients of norms and of modulations, which are written out here.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.mesh import platform

EPSILON = 1e-6


def one_clip(x: Float[Array, "..."]) -> bool:
    """Whether what is here is for `x`."""
    return platform() == "cpu" and x.ndim > 2 and len(x) == 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def normalised(x: Float[Array, "1 *batch d"], centred: bool) -> Float[Array, "1 *batch d"]:
    """Unit mean square over the last axis, of `x` less its mean where `centred`."""
    return _with_root(x, centred)[0]


def _with_root(x: Array, centred: bool) -> tuple[Array, tuple[Array, Array]]:
    x = x - x.mean(-1, keepdims=True) if centred else x
    root = jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON)
    return x / root, (x / root, root)


def _of_normalised(centred: bool, kept: tuple[Array, Array], out: Array) -> tuple[Array]:
    normed, root = kept
    along = jnp.einsum("...d,...d->...", out, normed)[..., None] / out.shape[-1]
    return ((out - (out.mean(-1, keepdims=True) if centred else 0) - normed * along) / root,)


normalised.defvjp(_with_root, _of_normalised)


@jax.custom_vjp
def of_one_clip(x: Float[Array, "1 N d"], factor: Float[Array, "1 1 d"]) -> Float[Array, "1 N d"]:
    """`x * factor`."""
    return x * factor


def _of_factors(kept: tuple[Array, Array], out: Array) -> tuple[Array, Array]:
    x, factor = kept
    of_factor = jnp.einsum("bnd,bnd->bd", x, out, preferred_element_type=jnp.float32)[:, None]
    return (out * factor).astype(x.dtype), of_factor.astype(factor.dtype)


of_one_clip.defvjp(lambda *args: (of_one_clip(*args), args), _of_factors)
