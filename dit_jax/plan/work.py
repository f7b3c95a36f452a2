# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a program does in a step on one chip: products, memory traffic, communication."""

import math
import re

from dit_jax.plan.hlo import Computation, Instruction, Module, Visit

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
)
ACROSS = "across-slices"  # what hosts send for their chips
PRODUCTS = ("dot", "convolution")
# Instructions that move nothing themselves: names for what is there, and those whose insides are visited.
SILENT = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call"),
    *("after-all", "partition-id", "replica-id", "opt-barrier", "async-update", "unknown"),
}
SLICES = {"dynamic-slice", "slice", "gather"}
# Kernels of attention by their names, and the products of queries by keys, or as large, that each makes.
KERNEL = re.compile(r"splash_mha_(fwd|dq|dkv)")
KERNEL_PRODUCTS = {
    "fwd": 2,
    "dq": 3,
    "dkv": 5,
}  # the last as `layers.attend_tpu` has it: fused with the second
DIMS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
WINDOW = re.compile(r"window=\{([^}]*)\}")


def collectives(module: Module) -> dict[str, dict[str, int]]:
    """Of each kind: how many run in a step, their bytes on a chip, and what of both is asynchronous.

    The bytes are those of the whole array: what a gather yields, what a scatter takes. On TPUs a collective may
    be spread over several fusions, which work on other things meanwhile: it counts in the first of them. A sum
    of which its fusion keeps a slice alone is how their compiler writes a scatter.
    """
    found: dict[str, dict[str, int]] = {}
    for visit in module.visits():
        one, is_start = visit.instruction, visit.instruction.opcode.endswith("-start")
        kind, opens = one.opcode.removesuffix("-start"), _has(visit.scope, "AsyncCollectiveStart")
        across = kind == "send" and "xla_megascale" in one.attributes
        kind = ACROSS if across else kind
        if kind not in (*COLLECTIVES, ACROSS) or (
            visit.fused and "chain_id=" in one.attributes and not opens
        ):
            continue
        kind = "reduce-scatter" if visit.fused and _is_scattered(one, visit.scope) else kind
        total = found.setdefault(kind, dict(count=0, bytes=0, asynchronous=0, asynchronous_bytes=0))
        size = visit.times * _payload(one, visit.scope, is_start)
        total["count"] += visit.times
        total["bytes"] += size
        hidden = is_start or opens or visit.started or across
        total["asynchronous"] += visit.times * hidden
        total["asynchronous_bytes"] += size * hidden
    return found


def _has(scope: Computation, target: str) -> bool:
    return any(f'"{target}"' in i.attributes for i in scope.values() if i.opcode == "custom-call")


def _is_scattered(one: Instruction, scope: Computation) -> bool:
    users = _users(one, scope)
    if len(one.shapes) > 1:  # several sums at once
        users = [user for part in users for user in _users(part, scope)]
    return one.opcode == "all-reduce" and [user.opcode for user in users] == ["dynamic-slice"] * len(
        one.shapes
    )


def _users(one: Instruction, scope: Computation) -> list[Instruction]:
    return [user for user in scope.values() if one.name in user.operands]


def _payload(one: Instruction, scope: Computation, is_start: bool) -> int:
    taken = sum(scope[name].num_bytes for name in one.operands if name in scope)
    if one.opcode == "send":  # yields what it was given, and a token
        return taken
    given = one.num_bytes - taken if is_start else one.num_bytes  # a start yields its operands as well
    return max(taken, given)


def float32_products(module: Module) -> dict[str, list[str]]:
    """Names of the matrix products and convolutions with a float32 operand, `in_loops` and `outside`."""
    found: dict[str, list[str]] = {"in_loops": [], "outside": []}
    for visit in module.visits():
        one = visit.instruction
        if one.opcode in PRODUCTS and "f32" in _operand_types(visit) and not _is_sum(one, visit.scope):
            found["in_loops" if visit.in_loop else "outside"].append(one.name)
    return found


def _is_sum(one: Instruction, scope: Computation) -> bool:
    """Whether a `dot` is a sum of the products of two arrays' entries, with nothing that either repeats."""
    left, right = (math.prod(scope[name].shapes[0].dims) for name in one.operands[:2])
    return 2 * left == 2 * right == product_flops(one, scope)


def _operand_types(visit: Visit) -> set[str]:
    held = [visit.scope[name] for name in visit.instruction.operands if name in visit.scope]
    return {shape.dtype for one in held for shape in one.shapes}


def is_kernel(one: Instruction) -> bool:
    """Whether it is one that JAX wrote, in which the compiler sees no cycles."""
    return one.opcode == "custom-call" and 'custom_call_target="tpu_custom_call"' in one.attributes


def kernel_flops(one: Instruction, scope: Computation) -> int:
    """Those of the products in a kernel of attention, of which the compiler knows nothing."""
    found = KERNEL.match(one.name) if one.opcode == "custom-call" else None
    if not found:
        return 0
    held = [scope[name].shapes[0] for name in one.operands if name in scope]
    q, k = [shape.dims for shape in held if len(shape.dims) >= 3 and shape.dtype != "s8"][:2]
    return KERNEL_PRODUCTS[found[1]] * 2 * math.prod(q) * k[-2]


def product_flops(one: Instruction, scope: Computation) -> int:
    """Two for every multiply-add of a `dot` or `convolution`."""
    if one.opcode not in PRODUCTS or any(name not in scope for name in one.operands[:2]):
        return 0
    left, right = (scope[name].shapes[0].dims for name in one.operands[:2])
    out = one.shapes[0].dims
    if one.opcode == "dot":
        found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
        contracted = [left[int(n)] for n in found[1].split(",") if n] if found else []
        return 2 * math.prod(out) * math.prod(contracted)
    return _convolution_flops(one, left, right, out)


def _convolution_flops(one: Instruction, left: tuple, right: tuple, out: tuple) -> int:
    """Products with padding and with holes of a dilated input are not counted, as no chip need make them."""
    labels = DIMS.search(one.attributes)
    if not labels:
        return 0
    inputs, kernel, output = labels.groups()
    spatial = sorted(set(output) - {"b", "f"})
    pairs = [
        _pairs(left[inputs.index(n)], right[kernel.index(n)], out[output.index(n)], _window(one, k))
        for k, n in enumerate(spatial)
    ]
    return 2 * out[output.index("b")] * out[output.index("f")] * right[kernel.index("i")] * math.prod(pairs)


def _window(one: Instruction, axis: int) -> dict[str, int]:
    found = WINDOW.search(one.attributes)
    values = dict(pad=0, stride=1, lhs_dilate=1, rhs_dilate=1)
    for item in found[1].split() if found else ():
        name, _, text = item.partition("=")
        if name in values:
            values[name] = int(text.split("x")[axis].rsplit("_", 1)[0])
    return values


def _pairs(size: int, taps: int, places: int, window: dict[str, int]) -> int:
    """Pairs of an output place and a tap that meet a number of the input."""
    count, dilate = 0, window["lhs_dilate"]
    for tap in range(taps):
        for place in range(places):
            at = place * window["stride"] + tap * window["rhs_dilate"] - window["pad"]
            count += at % dilate == 0 and 0 <= at // dilate < size
    return count


def hbm_traffic(one: Instruction, scope: Computation, module: Module) -> int:
    """Bytes of an unfused instruction's operands and results in the chip's main memory.

    Of an operand that is only sliced, the slices count, and of a result that is an updated operand, the update.
    """
    if one.opcode in SILENT or one.opcode.endswith("-done"):
        return 0
    inside = module.computations.get(one.called.get("calls", ""), {}) if one.opcode == "fusion" else {}
    update = _update(one, scope, inside)
    if update is not None:
        target, size = update
        read = [_read(one, k, scope, inside) for k in range(len(one.operands)) if k != target]
        return 2 * size + sum(read)
    written = sum(shape.num_bytes for shape in one.shapes if not shape.on_chip)
    if one.opcode in SLICES:
        return 2 * written
    return written + sum(_read(one, k, scope, inside) for k in range(len(one.operands)))


def _read(one: Instruction, index: int, scope: Computation, inside: Computation) -> int:
    operand = scope.get(one.operands[index])
    if operand is None or any(shape.on_chip for shape in operand.shapes):
        return 0
    parameter = next(
        (n for n, i in inside.items() if i.opcode == "parameter" and i.argument == str(index)), None
    )
    users = [user for user in inside.values() if parameter in user.operands]
    if users and all(user.opcode in SLICES and user.operands[0] == parameter for user in users):
        return sum(user.num_bytes for user in users)
    return operand.num_bytes


def _update(one: Instruction, scope: Computation, inside: Computation) -> tuple[int, int] | None:
    """Which operand is updated in place, and the bytes of the update; None where none is."""
    if one.opcode == "dynamic-update-slice":
        return 0, scope[one.operands[1]].num_bytes if one.operands[1] in scope else 0
    last = next((i for i in reversed(inside.values()) if i.opcode != "bitcast"), None)
    if last is None or last.opcode != "dynamic-update-slice":
        return None
    target, update = (inside.get(name) for name in last.operands[:2])
    while target is not None and target.opcode == "bitcast":
        target = inside.get(target.operands[0])
    if target is None or target.opcode != "parameter" or update is None:
        return None
    return int(target.argument), update.num_bytes
