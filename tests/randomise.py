# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Modules with every parameter drawn anew: what is zero or one at initialisation hides mistakes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def randomise(make: Callable[[], nnx.Module], seed: int = 0, scale: float = 0.3) -> nnx.Module:
    """What `make` makes, its parameters normal values around 0 (gains: around 1); none is initialised before."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        centre = 1.0 if "gain" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(centre + scale * rng.normal(size=leaf.shape), jnp.float32)

    graph, state = nnx.split(nnx.eval_shape(make))
    return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, state))
