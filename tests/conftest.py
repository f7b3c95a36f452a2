# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes and types of every signature are checked in the tests, and only here."""

import os
import pathlib
from importlib.metadata import version

# Compiling is nearly all that tests do with XLA; later versions have no older emitters, which compile faster.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false"
    * version("jaxlib").startswith("0.10."),
)
os.environ.setdefault("MPLBACKEND", "Agg")
# Workers, and the next run of the tests, load what one has compiled.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("dit_jax", "beartype.beartype")

ROOT = pathlib.Path(__file__).parents[1]
MAX_MAPPINGS = 20_000


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of public data that lies beside the repository on some machines."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("no folder `shared` beside the repository")
    return path


@pytest.fixture(autouse=True, scope="module")
def few_mappings():
    """Every compiled program maps memory, of which the kernel grants a process 65,530 pieces: past them XLA dies of a
    segmentation fault."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MAX_MAPPINGS:
        jax.clear_caches()


def pytest_collection_modifyitems(items):
    """The fast ones first: whole sweeps, and what is marked slow, come last."""
    items.sort(key=lambda item: ("end_to_end" in str(item.path)) + 2 * bool(item.get_closest_marker("slow")))
