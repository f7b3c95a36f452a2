# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast a run is saved, and read again."""

import dataclasses
import pathlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dit_jax.bench.measure import measured
from dit_jax.bench.sizes import SIZES
from dit_jax.bench.works import config_of
from dit_jax.program import Program
from dit_jax.train.checkpoint import Checkpointer


def checkpoint_case(config: ConfigDict, rounds: int) -> dict[str, Any]:
    """Bytes a second of saving the state of size S; of restoring it in `restore`."""
    program = Program(config_of(SIZES["S"], config), null={})
    state = program.init(jax.random.key(0))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    saved, restored = [], []
    for step in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            checkpointer = Checkpointer(pathlib.Path(folder))
            started = time.perf_counter()
            checkpointer.save(dataclasses.replace(state, step=jnp.asarray(step)), {})
            saved.append(size / (time.perf_counter() - started))
            started = time.perf_counter()
            jax.block_until_ready(checkpointer.restore(program.abstract)[0].params)
            restored.append(size / (time.perf_counter() - started))
            checkpointer.close()
    return measured("checkpoint", "bytes/s", saved, bytes=size, restore=float(np.median(restored)))
