# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The text of XLA's programs, read: instructions by computation, and how often each runs.

The format is that of `HloModule.to_string` (OpenXLA, HLO text): a line is
`%name = type opcode(%operand, ...), attribute=value, ...`.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator

BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0, "opaque": 0}  # others end in theirs
SHAPE = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\](\{[^}]*\})?")
HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$|(ENTRY )?%?([\w.\-]+) \{$")
LINE = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)")
OPCODE = re.compile(r"(?:^|\s)([a-z][a-z0-9\-]*)\(")
NAME = re.compile(r"%?([A-Za-z_][\w.\-]*)\s*(?:,|$)")
TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
CALLED = re.compile(r"(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
LISTED = re.compile(r"(?:branch|called)_computations=\{([^}]*)\}")
INDEX = re.compile(r"index=(\d+)")
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
REDUCERS = {
    "reduce",
    "all-reduce",
    "all-reduce-start",
    "reduce-scatter",
    "scatter",
    "sort",
    "map",
    "reduce-window",
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array: type, sizes, and whether it lies in fast memory on the chip (memory space 1 of a layout)."""

    dtype: str
    dims: tuple[int, ...]
    on_chip: bool = False

    @property
    def num_bytes(self) -> int:
        digits = re.match(r"[a-z]+(\d+)", self.dtype)
        bits = BITS[self.dtype] if self.dtype in BITS else int(digits[1]) if digits else 0
        return math.prod(self.dims) * bits // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a program."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]  # one, or those of a tuple
    operands: tuple[str, ...]
    argument: str  # what stands between the parentheses
    attributes: str

    @property
    def num_bytes(self) -> int:
        return sum(shape.num_bytes for shape in self.shapes)

    @property
    def cycles(self) -> int | None:
        """As the compiler estimates; None where it says nothing."""
        found = CYCLES.search(self.attributes)
        return int(found[1]) if found else None

    @property
    def called(self) -> dict[str, str]:
        """Computations by the attribute that names them."""
        return dict(CALLED.findall(self.attributes))


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Visit:
    """An instruction where it runs: `times` a step, within a loop, a fusion, an asynchronous start."""

    instruction: Instruction
    scope: Computation
    times: int
    in_loop: bool
    fused: bool
    started: bool = False


@dataclasses.dataclass(frozen=True)
class Module:
    """A program: its computations by name, and which is run."""

    computations: dict[str, Computation]
    entry: str

    def visits(self) -> Iterator[Visit]:
        """Every instruction that is run, with those of fusions, loops (once, with their count) and calls."""
        return self._visits(self.entry, 1, False, False, False)

    def _visits(self, name: str, times: int, in_loop: bool, fused: bool, started: bool) -> Iterator[Visit]:
        scope = self.computations.get(name, {})
        for one in scope.values():
            yield Visit(one, scope, times, in_loop, fused, started)
            if one.opcode in REDUCERS or one.opcode in ("async-update", "async-done"):  # its start has been
                continue
            loop = one.opcode == "while"
            count = self._trips(one) if loop else 1
            inner = fused or one.opcode == "fusion"
            found = [inside for kind, inside in one.called.items() if kind != "condition"]
            if listed := LISTED.search(one.attributes):
                found += [text.strip().lstrip("%") for text in listed[1].split(",")]
            for inside in found:
                begun = started or one.opcode == "async-start"
                yield from self._visits(inside, times * count, in_loop or loop, inner, begun)

    def _trips(self, loop: Instruction) -> int:
        """Turns of a loop: as the compiler knows, else its condition's largest constant by the counter's step."""
        if found := TRIPS.search(loop.attributes):
            return int(found[1])
        condition, body = (
            self.computations.get(loop.called.get(name, ""), {}) for name in ("condition", "body")
        )
        limit = max(_constants(condition.values()), default=1)
        return max(1, math.ceil(limit / self._step(condition, body)))

    def _step(self, condition: Computation, body: Computation) -> int:
        """By which a turn raises what the condition reads."""
        result = list(body.values())[-1] if body else None
        for one in condition.values():
            index = INDEX.search(one.attributes) if one.opcode == "get-tuple-element" else None
            if index and result and int(index[1]) < len(result.operands):
                new = body.get(result.operands[int(index[1])])
                if new is not None and new.opcode == "add":
                    return max(_constants(body[name] for name in new.operands if name in body), default=1)
        return 1


def _constants(instructions: Iterable[Instruction]) -> Iterator[int]:
    return (int(i.argument) for i in instructions if i.opcode == "constant" and i.argument.isdigit())


def parse(text: str) -> Module:
    """The program of a text.

    Raises:
      ValueError: it has no entry.
    """
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line[:1].isspace():
            if current is not None and (found := LINE.match(line)):
                current[found[1]] = _instruction(found[1], found[2])
        elif found := HEAD.match(line):
            name = found[2] or found[4]
            current = computations[name] = {}
            entry = name if found[1] or found[3] else entry
        elif line.rstrip() == "}":  # other lines go on with the text of a kernel
            current = None
    if not entry:
        raise ValueError("the text has no ENTRY computation: give that of an HLO module")
    return Module(computations, entry)


def _instruction(name: str, rest: str) -> Instruction:
    head = OPCODE.search(rest)
    if head is None:
        return Instruction(name, "unknown", (), (), "", rest)
    end = _closing(rest, head.end())
    argument = rest[head.end() : end]
    operands = () if head[1] in ("constant", "parameter") else tuple(NAME.findall(argument))
    return Instruction(name, head[1], shapes(rest[: head.start()]), operands, argument, rest[end + 1 :])


def shapes(text: str) -> tuple[Shape, ...]:
    """The arrays of a type."""
    return tuple(
        Shape(dtype, tuple(int(n) for n in dims.split(",") if n), "S(1)" in layout)
        for dtype, dims, layout in SHAPE.findall(text)
    )


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that is open at `start` closes."""
    depth = 1
    for found in re.finditer(r"[()]", text[start:]):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return start + found.start()
    return len(text)
