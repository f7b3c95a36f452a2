# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is written out for one clip on a CPU is what XLA makes of norms and modulations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.layers import norm

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(3 * RNG.normal(size=shape) + 1, jnp.float32)


CASES = {
    "modulated": (norm.modulate, (1, 20, 16), [(1, 1, 16), (1, 1, 16)]),
    "modulated by token": (norm.modulate, (1, 20, 16), [(1, 20, 16), (1, 20, 16)]),
    "normalised": (norm.layer_norm, (1, 20, 16), []),
    "heads": (norm.rms_norm, (1, 3, 20, 16), [(16,)]),
    "times": (norm.times, (1, 20, 16), [(1, 1, 16)]),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_one_clip_are_those_of_autodiff(case, monkeypatch):
    apply, shape, others = CASES[case]
    args, weight = [normal(*one) for one in (shape, *others)], normal(*shape)

    def step():
        return jax.vjp(apply, *args)[0], *jax.vjp(apply, *args)[1](weight)

    written = str(jax.make_jaxpr(apply)(*args))
    found = step()
    monkeypatch.setattr(norm, "one_clip", lambda x: False)
    assert ("custom_vjp" in written) != ("custom_vjp" in str(jax.make_jaxpr(lambda *a: apply(*a))(*args)))
    for one, other in zip(found, step(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
