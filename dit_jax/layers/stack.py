# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Equal blocks, stacked along a leading axis and run by a scan."""

from collections.abc import Callable
from typing import TypeVar

import jax
from flax import nnx
from jaxtyping import PyTree

Block = TypeVar("Block", bound=nnx.Module)

REMAT = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def check_remat(remat: str) -> None:
    """Raises ValueError when `remat` names no policy."""
    if remat not in REMAT:
        raise ValueError(f"remat={remat!r} is not one of {', '.join(REMAT)}")


def stack_blocks(make: Callable[[nnx.Rngs], Block], depth: int, *, rngs: nnx.Rngs) -> Block:
    """One module whose parameters hold those of `depth` independent blocks, on a leading axis."""
    keys = jax.random.split(rngs.params(), depth)
    return jax.vmap(lambda key: make(nnx.Rngs(params=key)))(keys)


def run_blocks(
    blocks: PyTree,
    apply: Callable[[PyTree, PyTree], PyTree],
    x: PyTree,
    *,
    remat: str = "none",
    unroll: int = 1,
) -> PyTree:
    """Applies the stacked `blocks` to `x` in turn.

    Args:
      blocks: from `stack_blocks`, with whatever else each block has a share of.
      apply: one block on `x`; what else it reads, it closes over.
      x: the residual stream, or several.
      remat: what the backward pass keeps of each block: `none` recomputes nothing, `dots` keeps the
        matrix products, `full` keeps only the block's input.
      unroll: blocks a loop iteration holds. Compile time grows with it; for tiny blocks on a CPU the
        loop itself costs more than the blocks.
    """
    body = apply if remat == "none" else jax.checkpoint(apply, policy=REMAT[remat])
    return jax.lax.scan(lambda y, block: (body(block, y), None), x, blocks, unroll=unroll)[0]
