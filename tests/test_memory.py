# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is freed is kept: the same large block costs no new pages again."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys, threading
from dit_jax.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()


def use(size):
    block = bytearray(size)
    block[::4096] = b"x" * (size // 4096)


for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(64 * 2**20)
    thread = threading.Thread(target=use, args=(32 * 2**20,))  # small enough for an arena of its own
    thread.start()
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told")
def test_what_is_freed_is_kept():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("keep", "return")
    }
    assert faults["keep"] < faults["return"] / 4  # pages may be of 4 KiB or of 2 MiB
