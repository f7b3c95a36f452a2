# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Draws a scene of the known world from (level, seed, index).

Draws come from the raw words of a Philox counter keyed by (seed, index), whose stream NumPy keeps fixed,
so clip `i` is made without the clips before it and is the same on every machine.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from dit_jax.data.known_world_captions import DIRECTIONS, PALETTE, SHAPES, SIZES, SPEEDS
from dit_jax.data.known_world_physics import TICKS_PER_SECOND, UNIT, Body, Scene

_T = TypeVar("_T")
_ATTEMPTS = 32  # at placing a body clear of the others, before the scene does without it


@dataclasses.dataclass(frozen=True)
class _Level:
    """What may occur in a scene.

    A start leaves `lead_ticks` of motion before a wall, and lies within `depth` (of the shorter side, in
    units) of the wall behind it.
    """

    counts: tuple[int, ...]
    sizes: tuple[str, ...] = tuple(SIZES)
    directions: tuple[str, ...] = tuple(DIRECTIONS)
    gravity: bool = False
    collide: bool = False
    occluder: bool = False
    lead_ticks: int = TICKS_PER_SECOND // 2
    depth: int = UNIT * 8


LEVELS: tuple[_Level, ...] = (
    _Level((1,), ("large",), ("right", "left", "up", "down"), lead_ticks=TICKS_PER_SECOND, depth=UNIT // 12),
    _Level((1, 2)),
    _Level((1, 2), gravity=True),
    _Level((2, 3), ("small", "medium"), gravity=True, collide=True),
    _Level((1, 2, 3), ("small", "medium"), gravity=True, collide=True, occluder=True),
)
MAX_OBJECTS = max(count for level in LEVELS for count in level.counts)


class _Draws:
    """Integers drawn from the Philox stream of one clip."""

    def __init__(self, level: int, seed: int, index: int) -> None:
        # The counter's highest word keeps levels of one seed apart; draws only ever move the lowest.
        self._bits = np.random.Philox(key=(seed << 64) | index, counter=level << 192)
        self._words: list[int] = []

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        if not self._words:
            self._words = self._bits.random_raw(32).tolist()
        return low + (self._words.pop() * (high - low + 1) >> 64)

    def choice(self, options: Sequence[_T]) -> _T:
        return options[self.between(0, len(options) - 1)]


def draw_scene(level: int, seed: int, index: int, width: int) -> Scene:
    """The scene of clip `index` of `seed` at a level, in a world `UNIT` high and `width` wide."""
    rules, draws = LEVELS[level], _Draws(level, seed, index)
    side = min(UNIT, width)
    count = draws.choice(rules.counts)
    falls = rules.gravity and draws.between(0, 1)
    gravity = draws.between(500, 900) * side // (1000 * TICKS_PER_SECOND**2) // 2 * 2 if falls else 0
    occluder = _draw_occluder(draws, side, width) if rules.occluder else None
    bodies: list[Body] = []
    for _ in range(count):
        looks = _draw_looks(draws, rules, side, bodies)
        bodies += _draw_place(draws, rules, looks, bodies, width, occluder)
    return Scene(width, tuple(bodies), gravity, rules.collide, occluder)


def _draw_occluder(draws: _Draws, side: int, width: int) -> tuple[int, int]:
    middle = width // 2 + draws.between(-80, 80) * side // 1000
    half = draws.between(180, 220) * side // 2000
    return middle - half, middle + half


def _draw_looks(draws: _Draws, rules: _Level, side: int, others: Sequence[Body]) -> Body:
    """A body of an unused colour, not yet placed; the first at an occluder is made to cross it."""
    crosses = rules.occluder and not others
    taken = {body.colour for body in others}
    size = draws.choice(("small",) if crosses else rules.sizes)
    direction = draws.choice(("right", "left") if crosses else rules.directions)
    pace = draws.choice(("quickly",) if crosses else tuple(SPEEDS))
    sign_x, sign_y = DIRECTIONS[direction]
    speed = draws.between(*SPEEDS[pace]) * side // (1000 * TICKS_PER_SECOND)
    if sign_x and sign_y:
        speed = speed * 181 // 256  # 1 / sqrt(2)
    return Body(
        shape=draws.choice(SHAPES),
        colour=draws.choice([colour for colour in PALETTE if colour not in taken]),
        size=size,
        direction=direction,
        speed=pace,
        half=draws.between(*SIZES[size]) * side // 2000,
        x=0,
        y=0,
        vx=sign_x * speed,
        vy=sign_y * speed,
    )


def _draw_place(
    draws: _Draws, rules: _Level, body: Body, others: Sequence[Body], width: int, bar: tuple[int, int] | None
) -> list[Body]:
    """The body at a start clear of the others and of the bar; nothing if there is no room for it."""
    left, right, up, down = body.reach
    side = min(UNIT, width)
    columns = _start_range(left, width - right, body.vx, rules, side)
    rows = _start_range(up, UNIT - down, body.vy, rules, side)
    if bar and not others:
        columns = _approach_range(body, bar, width, side)
    for _ in range(_ATTEMPTS):
        placed = dataclasses.replace(body, x=draws.between(*columns), y=draws.between(*rows))
        if _is_clear(placed, others, bar):
            return [placed]
    return []


def _start_range(low: int, high: int, velocity: int, rules: _Level, side: int) -> tuple[int, int]:
    """Where a centre may start on one axis, given where it turns and its velocity."""
    depth = rules.depth * side // UNIT
    travel = abs(velocity) * rules.lead_ticks
    if velocity > 0:
        high = min(max(low, high - travel), low + depth)
    elif velocity < 0:
        low = max(min(high, low + travel), high - depth)
    return low, high


def _approach_range(body: Body, bar: tuple[int, int], width: int, side: int) -> tuple[int, int]:
    """Where a centre may start to be just short of a bar on its way."""
    near, far = side * 3 // 100 + body.half, side * 12 // 100 + body.half
    if body.vx > 0:
        return max(body.half, bar[0] - far), bar[0] - near
    return bar[1] + near, min(width - body.half, bar[1] + far)


def _is_clear(body: Body, others: Sequence[Body], bar: tuple[int, int] | None) -> bool:
    if bar and bar[0] - body.half < body.x < bar[1] + body.half:
        return False
    # 4/3 of the half size reaches the farthest corner that points at a neighbour: a triangle's apex.
    return all(
        (body.x - other.x) ** 2 + (body.y - other.y) ** 2 > ((body.half + other.half) * 4 // 3) ** 2
        for other in others
    )
