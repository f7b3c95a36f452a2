# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is freed is kept: the same large block costs no new pages again. Loops over the same numbers are one."""

import os
import subprocess
import sys

import pytest


def _run(program: str, *args: str, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-c", program, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


KEPT = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from dit_jax.process import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()


def use(*sizes):
    blocks = [bytearray(size) for size in sizes]
    for block in blocks:
        block[::4096] = b"x" * (len(block) // 4096)


# One thread, as XLA's are: another could begin before the last has left its arena, and get a new one.
thread = ThreadPoolExecutor(1)
for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(64 * 2**20)
    thread.submit(use, 40 * 2**20, 40 * 2**20).result()  # a heap of its arena for each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told")
def test_what_is_freed_is_kept():
    faults = {how: int(_run(KEPT, how)) for how in ("keep", "return")}
    assert faults["keep"] < faults["return"] / 4  # pages may be of 4 KiB or of 2 MiB


STEP = """
import resource, sys
import jax, jax.numpy as jnp
from dit_jax.process import prepare
if sys.argv[1] == "keep":
    prepare()
a = jnp.ones((6000, 16))
step = jax.jit(lambda a: jnp.exp(a @ a.T) @ a)  # 144 MB on the way
for turn in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(a).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told")
def test_a_step_keeps_what_it_holds_on_the_way():
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    faults = {how: int(_run(STEP, how, environment=environment)) for how in ("keep", "return")}
    assert faults["keep"] < faults["return"] / 4


MERGED = """
import jax, jax.numpy as jnp
from dit_jax.process import merge_loops
merge_loops()
step = jax.jit(lambda a, b: (jnp.tanh(a) * b + 1, jnp.exp(a) - b))
print(step.lower(jnp.ones(4096), jnp.ones(4096)).compile().as_text())
"""


@pytest.mark.parametrize(
    ("flags", "num_loops"), [("", 1), ("--xla_backend_extra_options=xla_cpu_small_call", 2)]
)
def test_loops_over_the_same_numbers_are_one_unless_the_options_are_given(flags, num_loops):
    told = _run(MERGED, environment=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"})
    assert told.count(" fusion(") == num_loops, told
