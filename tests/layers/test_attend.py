# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every kernel of attention gives what the plain one gives, with its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.layers import attend_cpu
from dit_jax.layers.attend import ids_of_mask
from dit_jax.layers.attend_cpu import MIN_LOGITS, blocked, plain
from dit_jax.layers.attend_gpu import cudnn
from dit_jax.layers.attend_tpu import splash
from dit_jax.layers.attention import ATTENTION
from dit_jax.layers.stack import REMAT

RNG = np.random.default_rng(0)


def arrays(num_queries, num_keys, head_dim=16, dtype=jnp.float32):
    shapes = (num_queries, num_keys, num_keys, num_queries)  # the last weighs the output
    return [jnp.asarray(RNG.normal(size=(2, 2, n, head_dim)), dtype) for n in shapes]


def segments(num_queries, num_keys):
    return tuple(jnp.asarray(np.sort(RNG.integers(0, 3, (2, n)))) for n in (num_queries, num_keys))


def both(kernel, q, k, v, weight, ids):
    """The output, and the gradients of a weighted sum of it."""
    out, pull = jax.vjp(lambda *qkv: kernel(*qkv, ids), q, k, v)
    return out, *pull(weight)


CASES = {
    "whole": (256, 256, None),
    "segments": (256, 256, segments(256, 256)),
    "filled": (200, 72, None),
    "filled, text": (200, 72, ids_of_mask(jnp.arange(72) < jnp.asarray([[5], [0]]))),  # one sees nothing
}


def textbook(q, k, v, ids):
    logits = q @ k.mT
    if ids is not None:
        logits = jnp.where(ids[0][:, None, :, None] == ids[1][:, None, None, :], logits, -1e30)
    return jax.nn.softmax(logits, -1) @ v


@pytest.mark.parametrize("case", CASES)
def test_plain_is_as_the_textbook_has_it(case):
    """Its gradient is its own."""
    num_queries, num_keys, ids = CASES[case]
    given = arrays(num_queries, num_keys)
    for one, other in zip(both(plain, *given, ids), both(textbook, *given, ids), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_plain_takes_values_of_less_precision():
    """Each gradient has the type of what it is of."""
    q, k, v, weight = arrays(32, 16)
    given = (q.astype(jnp.bfloat16), k, v.astype(jnp.bfloat16), weight.astype(jnp.bfloat16))
    found = both(plain, *given, None)
    assert [a.dtype for a in found[1:]] == [a.dtype for a in given[:3]]
    for one, other in zip(found, both(textbook, q, k, v, weight, None), strict=True):
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("case", CASES)
def test_splash_is_plain(case):
    num_queries, num_keys, ids = CASES[case]
    given = arrays(num_queries, num_keys)
    found = both(lambda *a: splash(*a, interpret=True), *given, ids)
    for one, other in zip(found, both(plain, *given, ids), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("remat", "count"), [("full", 2), ("attention", 1)])
def test_a_kernel_whose_result_is_kept_runs_forward_once(remat, count):
    block = jax.checkpoint(
        lambda *qkv: splash(*qkv, None, name=ATTENTION, interpret=True), policy=REMAT[remat]
    )
    step = jax.grad(lambda *qkv: block(*qkv).sum(), (0, 1, 2))
    program = str(jax.make_jaxpr(step)(*arrays(256, 256)[:3]))
    assert program.count("name=splash_mha_fwd") == count


@pytest.mark.parametrize(
    ("num_keys", "ids"),
    [(500, None), (500, segments(280, 500)), (480, ids_of_mask(jnp.arange(480) < jnp.asarray([[100], [0]])))],
    ids=["whole", "segments", "one sees nothing"],
)
def test_tiles_on_a_cpu_are_plain(num_keys, ids, monkeypatch):
    """The last of three tiles is not full."""
    monkeypatch.setattr(attend_cpu, "TILE", 1)
    given = arrays(280, num_keys)
    assert 280 * num_keys > MIN_LOGITS
    assert "while" in jax.jit(lambda *a: blocked(*a, ids)).lower(*given[:3]).as_text()
    for one, other in zip(both(blocked, *given, ids), both(plain, *given, ids), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_what_a_gpu_does_in_float32_is_plain(case):
    num_queries, num_keys, ids = CASES[case]
    given = arrays(num_queries, num_keys)
    for one, other in zip(both(cudnn, *given, ids), both(plain, *given, ids), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ids", [None, segments(64, 64)], ids=["whole", "segments"])
def test_a_gpu_in_bfloat16_calls_cudnn(ids):
    """The program for a GPU, which needs none to be written: forward and backward."""
    given = arrays(64, 64, 64, jnp.bfloat16)
    step = jax.jit(lambda *a: both(cudnn, *a, ids))
    try:
        text = step.trace(*given).lower(lowering_platforms=("cuda",)).as_text()
    except RuntimeError as error:  # JAX asks the GPU which cuDNN there is
        pytest.skip(str(error).splitlines()[0])
    assert text.count("__cudnn$fmha") >= 2
