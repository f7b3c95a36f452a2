# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Queries and keys are normalised and turned alike by a TPU's kernel and by XLA, and so are their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.layers.norm import rms_norm
from dit_jax.layers.rope import apply_rope
from dit_jax.layers.turn_tpu import fits, normed_and_turned

RNG = np.random.default_rng(0)
TOLERANCE = {"float32": 1e-6, "bfloat16": 1e-2}  # of the largest number


def normal(*shape, dtype="float32"):
    return jnp.asarray(RNG.normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("shape", "num_tables"),
    [((2, 3, 256, 128), 1), ((2, 4, 384, 256), 2), ((1, 3, 4224, 128), 1), ((2, 3, 256, 128), 0)],
    ids=["several heads a tile", "tables of clips", "several tiles a head", "not turned"],
)
def test_the_kernel_is_norm_and_rotation(shape, num_tables, dtype):
    x, weight, gain = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype), normal(shape[-1])
    angles = normal(num_tables, shape[2], shape[3] // 2)
    halves = jnp.cos(angles), jnp.sin(angles)
    tables = tuple(jnp.concatenate([one, one], -1) for one in halves) if num_tables else ()

    def by_xla(x, gain):
        y = rms_norm(x.astype(jnp.float32), gain)
        return apply_rope(y, halves) if num_tables else y

    found, pull = jax.vjp(lambda x, gain: normed_and_turned(x, gain, tables, True), x, gain)
    expected, pull_expected = jax.vjp(by_xla, x, gain)
    pairs = zip((found, *pull(weight)), (expected, *pull_expected(weight.astype(jnp.float32))), strict=True)
    for one, other in pairs:
        one, other = np.float32(one), np.float32(other)
        np.testing.assert_allclose(one, other, atol=TOLERANCE[dtype] * np.abs(other).max(), rtol=0)


def test_what_does_not_fill_tiles_is_left_to_xla():
    found = {shape: fits(*shape) for shape in ((4096, 128), (384, 256), (4096, 72), (4100, 128))}
    assert list(found.values()) == [True, True, False, False]
