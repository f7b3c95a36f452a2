# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that are one run: all compute, the first alone writes what is not sharded."""

import jax
from jax.experimental import multihost_utils
from jaxtyping import PyTree


def is_first() -> bool:
    """Whether this process writes records, metrics and weights."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Until every process of the run is here; `name` says where, and is the same in all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def whole(tree: PyTree) -> PyTree:
    """Arrays of several processes as each process' own; of one process, as they are."""
    return multihost_utils.process_allgather(tree, tiled=True) if jax.process_count() > 1 else tree
