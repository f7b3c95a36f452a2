# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run's process keeps of XLA: compiled programs for the next start, and a trace of where steps spend time."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax

from dit_jax.train.loop import Progress

CACHE = ".compiled"
TRACE = "profile"
TRACED_CHUNKS = 3


def keep_compiled(folder: str | pathlib.Path) -> None:
    """Programs that this process compiles are kept in `folder`, and found there; unless JAX has been told of another
    place (`JAX_COMPILATION_CACHE_DIR`)."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(folder).absolute() / CACHE))


@contextlib.contextmanager
def traced(progress: Progress, folder: str | pathlib.Path) -> Iterator[Progress]:
    """`progress`, under which the profiler traces `TRACED_CHUNKS` chunks of steps, the first report after the
    compile being its start. The trace goes to `folder`/profile, for TensorBoard or Perfetto."""
    reports = 0

    def told(step: int, loss: float) -> None:
        nonlocal reports
        progress(step, loss)
        reports += 1
        if reports == 1:
            jax.profiler.start_trace(str(pathlib.Path(folder) / TRACE))
        elif reports == 1 + TRACED_CHUNKS:
            jax.profiler.stop_trace()

    try:
        yield told
    finally:
        if 1 <= reports <= TRACED_CHUNKS:  # the run was shorter
            jax.profiler.stop_trace()
