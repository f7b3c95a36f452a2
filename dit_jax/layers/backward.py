# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Products whose gradients are written out, for what a compiler does not see in them."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


@jax.custom_vjp
def together(tree: PyTree) -> PyTree:
    """`tree`, of which the backward pass has the gradients of all arrays before it goes on with any.

    Otherwise a scheduler may put off those that nothing waits for, and hold what they are made of.
    """
    return tree


together.defvjp(lambda tree: (tree, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def all_at_once(apply: Callable[..., Array], *args: PyTree[Array]) -> Array:
    """`apply(*args)`, whose backward pass is given what it reads of the forward pass when the result is there.

    What a kernel puts out for its gradient, and a scheduler may cut to size only later, is not held meanwhile.
    """
    return apply(*args)


def _with_residuals(apply: Callable[..., Array], *args: PyTree[Array]) -> tuple[Array, Callable]:
    y, of_args = jax.vjp(apply, *args)
    kept, tree = jax.tree.flatten(of_args)
    given = [id(leaf) for leaf in jax.tree.leaves(args)]  # arguments wait for nothing: they are held anyway
    made = [i for i, leaf in enumerate(kept) if id(leaf) not in given]
    y, waited_for = jax.lax.optimization_barrier((y, [kept[i] for i in made]))
    for i, leaf in zip(made, waited_for):
        kept[i] = leaf
    return y, jax.tree.unflatten(tree, kept)


all_at_once.defvjp(_with_residuals, lambda _, of_args, gradient: of_args(gradient))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def in_order(
    multiply: Callable[[Array, Array], Array], x: Float[Array, "..."], kernel: Float[Array, "i o"]
) -> Float[Array, "..."]:
    """`multiply(x, kernel)`, of which the backward pass makes the kernel's gradient before it goes on.

    XLA's scheduler for TPUs puts gradients of kernels off to the end of a block, and holds for them what they read:
    of a perceptron that is its hidden layer, twice. They are tied to the gradient that comes in, not to the one that
    goes on, so that the product that makes this can sum what a norm needs of it.
    """
    return multiply(x, kernel)


def _backward(multiply: Callable, kept: tuple[Array, Array], out: Array) -> tuple[Array, Array]:
    x, kernel = kept
    (of_kernel,) = jax.vjp(lambda k: multiply(x, k), kernel)[1](out)
    # The columns of a wide kernel are scattered: what is held has them as rows, or the compiler would copy it.
    is_wide = kernel.shape[1] > kernel.shape[0]
    out, of_kernel = jax.lax.optimization_barrier((out, of_kernel.T if is_wide else of_kernel))
    of_kernel = of_kernel.T if is_wide else of_kernel
    (of_x,) = jax.vjp(lambda y: multiply(y, kernel), x)[1](out)
    return of_x, of_kernel


in_order.defvjp(lambda multiply, x, kernel: (multiply(x, kernel), (x, kernel)), _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gated_product(
    subscripts: str, x: Float[Array, "B ..."], kernel: Float[Array, "... o"], gate: Float[Array, "B 1 o"]
) -> Float[Array, "B N o"]:
    """`gate * einsum(subscripts, x, kernel)`, whose backward pass does not read the product.

    With `dy` the gradient of the result, that of the gate is the sum over tokens of `dy * (x @ kernel)`, which is the
    sum over `i` of `kernel * (x^T dy)`; and the gradient of the kernel is `gate * (x^T dy)`. So the last product of a
    block that is made anew is not made anew: 4 of its 14 products of width^2 by N, in a block of a DiT; and of an
    attention's, that is made anew for what comes after it, only the sum with the residual stream is written.

    Args:
      subscripts: `bni,io->bno`, or `i` as several letters.
      x: what is summed over.
      kernel: the other factor.
      gate: of each clip.
    """
    return gate * jnp.einsum(subscripts, x, kernel)


def _gated_backward(
    subscripts: str, kept: tuple[Array, Array, Array], out: Array
) -> tuple[Array, Array, Array]:
    x, kernel, gate = kept
    factors, ys = subscripts.split("->")
    xs, kernels = factors.split(",")
    by_clip = jnp.einsum(f"{xs},{ys}->b{kernels}", x, out, preferred_element_type=jnp.float32)
    of_gate = (by_clip * kernel).sum(tuple(range(1, kernel.ndim)))[:, None].astype(gate.dtype)
    gates = gate.reshape(len(gate), *(1,) * (kernel.ndim - 1), -1)
    of_kernel = (by_clip * gates).sum(0).astype(kernel.dtype)
    out, of_kernel, of_gate = jax.lax.optimization_barrier((out, of_kernel, of_gate))  # see `in_order`
    return jnp.einsum(f"{ys},{kernels}->{xs}", out * gate, kernel), of_kernel, of_gate


gated_product.defvjp(lambda *args: (gated_product(*args), args[1:]), _gated_backward)
