# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Gradients that are written out are those of the plain product, and leave out what they are to leave out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.layers import backward, norm, rope, sharded
from dit_jax.layers.norm import layer_norm, modulate
from dit_jax.layers.rope import apply_rope, rotations

INS, OUTS = 24, 16


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def gated(x, kernel, gate):
    return jnp.sin(sharded.gated_product(x, kernel, gate, jnp.float32)).sum()


def plain(x, kernel, gate):
    return jnp.sin(gate * (x @ kernel)).sum()


@pytest.mark.parametrize(
    ("clips", "tokens", "gates"), [(3, 20, 1), (1, 4, 1), (3, 4, 1), (3, 20, 20)], ids=str
)
def test_a_gated_product_is_the_product_times_the_gate(clips, tokens, gates, monkeypatch):
    monkeypatch.setattr(sharded, "platform", lambda: "tpu")
    args = normal(0, clips, tokens, INS), normal(1, INS, OUTS), normal(2, clips, gates, OUTS)
    found = jax.jit(jax.value_and_grad(gated, argnums=(0, 1, 2)))(*args)
    wanted = jax.jit(jax.value_and_grad(plain, argnums=(0, 1, 2)))(*args)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("clips", "tokens", "gates"), [(3, 20, 1), (1, 4, 1), (3, 4, 1), (3, 20, 20)], ids=str
)
def test_so_is_that_of_heads(clips, tokens, gates, monkeypatch):
    args = normal(0, clips, 4, tokens, INS // 4), normal(1, INS, OUTS), normal(2, clips, gates, OUTS)

    def gradients():
        loss = lambda x, kernel, gate: jnp.sin(sharded.from_heads(x, kernel, jnp.float32, gate)).sum()  # noqa: E731
        return jax.tree.leaves(jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(*args))

    wanted = gradients()
    monkeypatch.setattr(sharded, "platform", lambda: "tpu")
    for one, other in zip(gradients(), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def products(jaxpr):
    """How many there are in a program, those of its parts too."""
    inner = [jax.tree.leaves(one.params, is_leaf=lambda p: hasattr(p, "eqns")) for one in jaxpr.eqns]
    parts = [getattr(p, "jaxpr", p) for leaves in inner for p in leaves]
    own = sum(one.primitive.name == "dot_general" for one in jaxpr.eqns)
    return own + sum(products(part) for part in parts if hasattr(part, "eqns"))


@pytest.mark.parametrize(("device", "count"), [("cpu", 5), ("tpu", 3)])
def test_a_gated_product_is_not_made_anew(device, count, monkeypatch):
    """Once forward, and backward the gradients of both factors; elsewhere the product itself too, and for the gate of
    one clip a product of its own."""
    monkeypatch.setattr(sharded, "platform", lambda: device)
    args = normal(0, 1, 20, INS), normal(1, INS, OUTS), normal(2, 1, 1, OUTS)
    block = jax.checkpoint(lambda *args: sharded.gated_product(*args, jnp.float32))
    step = jax.grad(lambda *args: block(*args).sum(), argnums=(0, 1, 2))
    assert products(jax.make_jaxpr(step)(*args).jaxpr) == count


@pytest.mark.parametrize("widths", [(24, 16), (16, 24)], ids=str)
def test_order_changes_no_gradient(widths):
    x, kernel = normal(0, 20, widths[0]), normal(1, *widths)
    multiply = lambda x, kernel: x @ kernel  # noqa: E731
    gradients = lambda of: jax.grad(lambda *args: jnp.sin(of(*args)).sum(), argnums=(0, 1))(x, kernel)  # noqa: E731
    found, wanted = gradients(lambda *args: backward.in_order(multiply, *args)), gradients(multiply)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 3.0, 100.0])
def test_norms_of_bfloat16_are_those_of_the_same_numbers_in_float32(mean):
    x = (normal(0, 50, 512) + mean).astype(jnp.bfloat16)
    norm = lambda dtype: layer_norm(x.astype(dtype)).astype(jnp.float32)  # noqa: E731
    np.testing.assert_allclose(norm(jnp.bfloat16), norm(jnp.float32), atol=0.02)


def test_equal_features_have_a_norm_of_nothing():
    assert jnp.abs(layer_norm(jnp.full((2, 300), 0.7, jnp.bfloat16))).max() < 0.01


def test_together_changes_no_gradient():
    x = normal(0, 3, 4)
    gradient = jax.grad(lambda x: (backward.together({"a": x, "b": 2 * x})["b"] ** 2).sum())(x)
    np.testing.assert_array_equal(gradient, 8 * x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_modulation_by_what_a_clip_has_one_of_has_the_gradients_of_any(dtype, monkeypatch):
    args = [normal(0, 2, 40, 24).astype(dtype), *(normal(i, 2, 1, 24).astype(dtype) for i in (1, 2))]
    loss = lambda *args: jnp.sin(modulate(*args).astype(jnp.float32)).sum()  # noqa: E731
    wanted = jax.value_and_grad(loss, argnums=(0, 1, 2))(*(a.astype(jnp.float32) for a in args))
    monkeypatch.setattr(norm, "platform", lambda: "tpu")
    found = jax.value_and_grad(loss, argnums=(0, 1, 2))(*args)
    rtol = 1e-5 if dtype == jnp.float32 else 0.03
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(
            one.astype(jnp.float32), other, rtol=rtol, atol=rtol * jnp.abs(other).max()
        )


def test_what_a_backward_pass_reads_is_made_with_the_result():
    """All of it but the arguments, which are there."""
    args = normal(0, 8, 4), {"kernel": normal(1, 4, 4)}
    apply = lambda x, layer: jnp.tanh(x @ layer["kernel"])  # noqa: E731
    loss = lambda of: lambda *args: jnp.square(of(*args)).sum()  # noqa: E731
    at_once = loss(lambda *args: backward.all_at_once(apply, *args))
    for one, other in zip(*(jax.tree.leaves(jax.grad(f, (0, 1))(*args)) for f in (at_once, loss(apply)))):
        np.testing.assert_array_equal(one, other)
    program = str(jax.make_jaxpr(jax.grad(at_once))(*args))
    (tied,) = (line for line in program.splitlines() if "optimization_barrier" in line)
    assert tied.count("f32[8,4]") > 1
    assert "f32[4,4]" not in tied


def test_rotary_positions_are_those_of_a_cpu(monkeypatch):
    positions, x = normal(0, 7, 3), normal(1, 2, 3, 7, 12)
    wanted = apply_rope(x, rotations(positions, 12))
    monkeypatch.setattr(rope, "platform", lambda: "tpu")
    np.testing.assert_allclose(apply_rope(x, rotations(positions, 12)), wanted, rtol=1e-5, atol=1e-6)
