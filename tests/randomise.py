# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Modules with every parameter drawn anew: what is zero or one at initialisation hides mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def randomise(module: nnx.Module, seed: int = 0, scale: float = 0.3) -> nnx.Module:
    """Replaces every parameter of `module` by normal values around 0 (gains: around 1)."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        centre = 1.0 if "gain" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(centre + scale * rng.normal(size=leaf.shape), jnp.float32)

    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, state))
