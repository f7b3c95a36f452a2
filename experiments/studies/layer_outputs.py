# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What every kernel of a network puts out, read from its jaxpr, so that no network knows of it."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array, PyTree

PRODUCTS = ("dot_general", "conv_general_dilated")
CALLED = ("jaxpr", "call_jaxpr")  # by jit, by a checkpoint, by a function with its own derivative
Labelled = tuple[Any, str | None]  # a value, and of which parameter it is an image


def layer_outputs(apply: Callable[[PyTree], Array], params: PyTree) -> dict[str, Array]:
    """The product with each parameter in `apply(params)`, by the parameter's path, and `prediction`.

    Loops are unrolled: the kernel of stacked blocks has an entry `path[i]` for each block. A kernel that is
    used several times has an entry for each of them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    labelled = [(leaf, jax.tree_util.keystr(path, simple=True, separator="/")) for path, leaf in leaves]
    found: dict[str, Array] = {}
    outputs = _evaluate(jax.make_jaxpr(apply)(params), labelled, found)
    return found | {"prediction": outputs[0][0]}


def _evaluate(closed: ClosedJaxpr, inputs: list[Labelled], found: dict[str, Array]) -> list[Labelled]:
    jaxpr = closed.jaxpr
    constants = [(value, None) for value in closed.consts]
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))

    def read(atoms: list) -> list[Labelled]:
        return [(atom.val, None) if isinstance(atom, Literal) else known[atom] for atom in atoms]

    for equation in jaxpr.eqns:
        outputs = _apply(equation, read(equation.invars), found)
        known.update(zip(equation.outvars, outputs, strict=True))
    return read(jaxpr.outvars)


def _apply(equation: Any, arguments: list[Labelled], found: dict[str, Array]) -> list[Labelled]:
    if equation.primitive.name == "scan":
        return _scan(equation.params, arguments, found)
    inner = next((equation.params[name] for name in CALLED if name in equation.params), None)
    if inner is not None:
        closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
        return _evaluate(closed, arguments, found)
    outputs = equation.primitive.bind(*(value for value, _ in arguments), **equation.params)
    outputs = outputs if equation.primitive.multiple_results else [outputs]
    labels = [label for _, label in arguments]
    if equation.primitive.name in PRODUCTS:
        for label in filter(None, labels):
            found[_unused(label, found)] = outputs[0]
        return [(output, None) for output in outputs]
    # A cast, a transpose or a slice of a parameter is still that parameter.
    image = labels[0] if len(labels) == 1 else None
    if equation.primitive.name == "concatenate" and all(labels):  # kernels side by side
        image = "+".join(labels)
    return [(output, image) for output in outputs]


def _scan(params: dict[str, Any], arguments: list[Labelled], found: dict[str, Array]) -> list[Labelled]:
    first, second = params["num_consts"], params["num_consts"] + params["num_carry"]
    constants, carry, rows = arguments[:first], arguments[first:second], arguments[second:]
    order = range(params["length"])
    stacked = []
    for i in reversed(order) if params["reverse"] else order:
        row = [(value[i], label and f"{label}[{i}]") for value, label in rows]
        outputs = _evaluate(params["jaxpr"], [*constants, *carry, *row], found)
        carry = outputs[: params["num_carry"]]
        stacked.append([value for value, _ in outputs[params["num_carry"] :]])
    if params["reverse"]:
        stacked.reverse()
    return carry + [(jax.numpy.stack(values), None) for values in zip(*stacked)]


def _unused(label: str, found: dict[str, Array]) -> str:
    names = itertools.chain([label], (f"{label} ({i})" for i in itertools.count(2)))
    return next(name for name in names if name not in found)
