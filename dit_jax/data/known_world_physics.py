# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Simulator of the known world: integers only, so every machine computes the same motion.

Lengths are in units of `1 / UNIT` of the frame's height, time in ticks of `1 / TICKS_PER_SECOND` seconds,
y points down. Python's integers do not overflow, so each law holds to the rounding of one unit:

- flight between impacts is exactly `p + v k + g k^2 / 2` after `k` ticks (`g` is even);
- a wall reflects the position about the wall and takes the speed that keeps the energy;
- shapes collide as discs of their half size, without spin or friction, with mass in proportion to the
  disc's area: the impulse lies along the line of centres and keeps momentum and kinetic energy.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

UNIT = 1 << 30
TICKS_PER_SECOND = 240  # a multiple of 8, 10, 12, 15, 16, 20, 24, 30, 48 and 60 frames


@dataclasses.dataclass(frozen=True)
class Body:
    """A shape at tick 0: looks (words), half its size, centre, and velocity per tick."""

    shape: str
    colour: str
    size: str
    direction: str
    speed: str
    half: int
    x: int
    y: int
    vx: int
    vy: int

    @property
    def reach(self) -> tuple[int, int, int, int]:
        """How far the shape reaches from its centroid: left, right, up, down."""
        up, down = (4, 2) if self.shape == "triangle" else (3, 3)
        return self.half, self.half, self.half * up // 3, self.half * down // 3


@dataclasses.dataclass(frozen=True)
class Scene:
    """A world at tick 0: `UNIT` high, `width` wide; bodies from back to front.

    `gravity` is an even number of units per tick squared; `occluder` the left and right edge of a bar that
    stands in front of all bodies.
    """

    width: int
    bodies: tuple[Body, ...]
    gravity: int
    collide: bool
    occluder: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class Motion:
    """What happened: by frame and body, centres and velocities; and the impacts, in order.

    An event's frame is the first one that shows its effect.
    """

    centres: list[list[tuple[int, int]]]
    velocities: list[list[tuple[int, int]]]
    events: list[dict[str, Any]]


def simulate(scene: Scene, ticks: Sequence[int]) -> Motion:
    """Runs a scene and reports it at `ticks` (one per frame, not decreasing, from 0)."""
    state = [[b.x, b.y, b.vx, b.vy] for b in scene.bodies]
    walls = [_walls(b, scene.width) for b in scene.bodies]
    pairs = _pairs(len(state)) if scene.collide else []
    motion, now = Motion([], [], []), 0
    for frame, tick in enumerate(ticks):
        leap = 1 if pairs else max(1, tick - now)  # shapes that never meet are moved a frame at a time
        for _ in range(now, tick, leap):
            for i, body in enumerate(state):
                for wall in _advance(body, walls[i], scene.gravity, leap):
                    motion.events.append({"frame": frame, "kind": "wall", "object": i, "wall": wall})
            for i, j in pairs:
                if _collide(state[i], state[j], scene.bodies[i].half, scene.bodies[j].half):
                    motion.events.append({"frame": frame, "kind": "collision", "objects": [i, j]})
        now = tick
        motion.centres.append([(b[0], b[1]) for b in state])
        motion.velocities.append([(b[2], b[3]) for b in state])
    return motion


def _walls(body: Body, width: int) -> tuple[int, int, int, int]:
    """Where the centre turns: left, right, top, bottom."""
    left, right, up, down = body.reach
    return left, width - right, up, UNIT - down


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def _advance(body: list[int], walls: tuple[int, int, int, int], gravity: int, ticks: int) -> list[str]:
    """Moves a body `[x, y, vx, vy]` in place, and names the walls it hits."""
    left, right, top, bottom = walls
    hits = []
    for _ in range(ticks):
        body[0] += body[2]
        body[1] += body[3] + gravity // 2
        body[3] += gravity
        if not left <= body[0] <= right:
            wall, name = (left, "left") if body[0] < left else (right, "right")
            body[0], body[2] = 2 * wall - body[0], -body[2]
            hits.append(name)
        if not top <= body[1] <= bottom:
            wall, name = (top, "top") if body[1] < top else (bottom, "bottom")
            _bounce_vertically(body, wall, gravity)
            hits.append(name)
    return hits


def _bounce_vertically(body: list[int], wall: int, gravity: int) -> None:
    # Reflection moves the body by twice the overshoot; the speed pays for that height, or energy would grow.
    overshoot = body[1] - wall
    speed = math.isqrt(max(0, body[3] ** 2 - 4 * gravity * overshoot))
    body[1], body[3] = wall - overshoot, -speed if overshoot > 0 else speed


def _collide(a: list[int], b: list[int], half_a: int, half_b: int) -> bool:
    """Exchanges an elastic impulse if two discs touch and approach; says whether they did."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy
    approach = (a[2] - b[2]) * dx + (a[3] - b[3]) * dy
    if square > (half_a + half_b) ** 2 or approach <= 0:
        return False
    mass_a, mass_b = half_a * half_a, half_b * half_b
    whole = (mass_a + mass_b) * square
    for body, other, sign in ((a, mass_b, -1), (b, mass_a, 1)):
        body[2] += sign * (2 * other * approach * dx // whole)
        body[3] += sign * (2 * other * approach * dy // whole)
    return True
