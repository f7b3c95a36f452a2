# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the backward pass keeps of a forward pass, exactly, for every backbone."""

import jax
import jax.numpy as jnp
from jax.extend.core import Var
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.train.state import abstract_module, merge_module


def activation_bytes(config: ConfigDict, latent_shape: tuple[int, ...]) -> int:
    """Bytes of the residuals of one clip: what is computed going forward and read going backward, under the
    config's `remat` and dtype, on the device. Parameters, gradients and the optimizer are not of them, nor what
    a compiler keeps besides or fuses away.

    Args:
      config: of a run.
      latent_shape: `(t, h, w, c)`.
    """
    graph, params = abstract_module(build.denoiser(config))
    null = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), build.null_text(config))
    x = jax.ShapeDtypeStruct((1, *latent_shape), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)

    def residuals(params, x, t, cond):
        forward = lambda params: merge_module(graph, params)(x, t, cond)  # noqa: E731
        return jax.vjp(forward, params)[1]

    jaxpr = jax.make_jaxpr(residuals)(params, x, t, null).jaxpr
    given = {id(variable) for variable in jaxpr.invars}
    kept = {id(v): v.aval for v in jaxpr.outvars if isinstance(v, Var) and id(v) not in given}
    here = [aval for aval in kept.values() if aval.memory_space != jax.memory.Space.Host]
    return sum(aval.size * aval.dtype.itemsize for aval in here)
