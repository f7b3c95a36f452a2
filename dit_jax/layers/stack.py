# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Equal blocks, stacked along a leading axis and run by a scan."""

from collections.abc import Callable, Collection
from typing import TypeVar

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import PyTree

from dit_jax.layers.attention import ATTENTION
from dit_jax.layers.sharded import on_tokens

Block = TypeVar("Block", bound=nnx.Module)

BLOCK_INPUT = "block_input"
HOST = "pinned_host"
AUTO = "auto"  # chosen before training, see `dit_jax.remat`; where nothing is trained, `none`

# What the backward pass keeps of a block besides its input, from most to least.
REMAT = {
    "none": jax.checkpoint_policies.everything_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(ATTENTION),
    "full": jax.checkpoint_policies.nothing_saveable,
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[BLOCK_INPUT],
        offload_src="device",
        offload_dst=HOST,
    ),
}


def check_remat(remat: str) -> None:
    """Raises ValueError when `remat` names no policy."""
    if remat not in (*REMAT, AUTO):
        raise ValueError(f"remat={remat!r} is not one of {', '.join((*REMAT, AUTO))}")


def check_offload(memories: Collection[str]) -> None:
    """Raises ValueError when a device of these `memories` has none on its host to offload to."""
    if HOST not in memories:
        raise ValueError(
            f"remat='offload' needs memory of kind {HOST}, and this device has {', '.join(sorted(memories))}: "
            "choose remat='full'"
        )


def name_input(x: PyTree) -> PyTree:
    """A block's input, named as what `offload` puts on the host."""
    return jax.tree.map(lambda a: checkpoint_name(on_tokens(a), BLOCK_INPUT), x)


def rematerialised(apply: Callable, remat: str) -> Callable:
    """`apply` of a block, of which the backward pass keeps what `remat` says: a name in `REMAT`.

    Raises:
      ValueError: `offload` where the device has no memory on its host.
    """
    if remat in ("none", AUTO):
        return apply
    if remat == "offload":
        check_offload({memory.kind for memory in jax.local_devices()[0].addressable_memories()})
    return jax.checkpoint(apply, policy=REMAT[remat])


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
        matrix products, `attention` what tokens see of each other, `full` only the block's input, and `offload`
        that on the host.
      unroll: blocks a loop iteration holds. Compile time grows with it; for tiny blocks on a CPU the
        loop itself costs more than the blocks.
    """
    body = rematerialised(lambda block, y: apply(block, name_input(y)), remat)
    return jax.lax.scan(lambda y, block: (body(block, y), None), x, blocks, unroll=unroll)[0]
