# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The simulator keeps its laws to the rounding of one unit."""

import itertools

import numpy as np
import pytest

from dit_jax.data.known_world_physics import TICKS_PER_SECOND, UNIT, Body, Scene, simulate
from dit_jax.data.known_world_scene import LEVELS, draw_scene

TEN_SECONDS = range(10 * TICKS_PER_SECOND)
GRAVITY = UNIT * 7 // 10 // TICKS_PER_SECOND**2 // 2 * 2


def body(x, y, vx, vy, half=0.08, shape="circle"):
    """A body placed in heights, with a velocity in heights per second."""
    place = [int(v * UNIT) for v in (half, x, y)]
    return Body(
        shape,
        "red",
        "small",
        "right",
        "slowly",
        *place,
        *(int(v * UNIT) // TICKS_PER_SECOND for v in (vx, vy)),
    )


def run(*bodies, gravity=0, collide=False, ticks=TEN_SECONDS):
    return simulate(Scene(UNIT, bodies, gravity, collide, None), ticks)


def fold(value, low, high):
    """The place of a free flight in a mirror-walled box."""
    value = (value - low) % (2 * (high - low))
    return low + min(value, 2 * (high - low) - value)


def test_free_flight_is_exactly_parabolic():
    start = body(0.2, 0.3, 0.3, -0.2)
    motion = run(start, gravity=GRAVITY, ticks=range(TICKS_PER_SECOND))
    assert not motion.events
    for k, (centre, velocity) in enumerate(zip(motion.centres, motion.velocities, strict=True)):
        assert centre == [(start.x + start.vx * k, start.y + start.vy * k + GRAVITY * k * k // 2)]
        assert velocity == [(start.vx, start.vy + GRAVITY * k)]


@pytest.mark.parametrize("shape", ["circle", "triangle"])
def test_walls_reflect_without_loss(shape):
    start = body(0.3, 0.5, 0.47, 0.31, shape=shape)
    motion = run(start)
    left, right, up, down = start.reach
    for k, [(x, y)] in enumerate(motion.centres):
        assert x == fold(start.x + start.vx * k, left, UNIT - right)
        assert y == fold(start.y + start.vy * k, up, UNIT - down)
    assert {event["wall"] for event in motion.events} == {"left", "right", "top", "bottom"}


def test_a_wall_event_is_where_the_velocity_turns():
    motion = run(body(0.3, 0.5, 0.47, 0.31))
    velocities = np.array(motion.velocities)[:, 0]
    for axis, names in enumerate((("left", "right"), ("top", "bottom"))):
        frames = [event["frame"] for event in motion.events if event["wall"] in names]
        turns = 1 + np.flatnonzero(np.diff(np.sign(velocities[:, axis])))
        assert frames == turns.tolist()


def test_bouncing_under_gravity_keeps_energy_for_a_minute():
    motion = run(body(0.5, 0.4, 0.1, 0.0), gravity=GRAVITY, ticks=range(0, 60 * TICKS_PER_SECOND, 7))
    energies = [vy * vy - 2 * GRAVITY * y for [(_, y)], [(_, vy)] in zip(motion.centres, motion.velocities)]
    assert len(motion.events) > 30
    scale = 2 * GRAVITY * UNIT
    assert max(abs(energy - energies[0]) for energy in energies) < 1e-5 * scale


def moments(bodies, velocities):
    """Momentum (x, y) and twice the kinetic energy, as exact integers."""
    masses = [b.half**2 for b in bodies]
    momentum = [sum(m * v[axis] for m, v in zip(masses, velocities)) for axis in (0, 1)]
    return momentum, sum(m * (vx * vx + vy * vy) for m, (vx, vy) in zip(masses, velocities))


def test_an_elastic_collision_keeps_momentum_and_energy():
    bodies = body(0.3, 0.45, 0.4, 0.05, half=0.08), body(0.7, 0.52, -0.3, 0.0, half=0.13)
    motion = run(*bodies, collide=True, ticks=range(TICKS_PER_SECOND))
    assert motion.events[0]["kind"] == "collision"
    frame = motion.events[0]["frame"]
    before, after = (moments(bodies, motion.velocities[k]) for k in (frame - 1, frame))
    assert motion.velocities[frame - 1] != motion.velocities[frame]
    units = sum(b.half**2 for b in bodies)  # a speed is rounded to one unit
    assert all(abs(p - q) <= 2 * units for p, q in zip(before[0], after[0], strict=True))
    assert abs(before[1] - after[1]) < 1e-6 * before[1]


def test_equal_discs_head_on_swap_velocities():
    motion = run(body(0.3, 0.5, 0.4, 0.0), body(0.7, 0.5, -0.2, 0.0), collide=True, ticks=range(200))
    (first, _), (second, _) = motion.velocities[0]
    (a, ay), (b, by) = motion.velocities[-1]
    assert abs(a - second) <= 1
    assert abs(b - first) <= 1
    assert abs(ay) <= 1
    assert abs(by) <= 1


def test_a_collision_pushes_along_the_line_of_centres_only():
    bodies = body(0.3, 0.45, 0.4, 0.0), body(0.6, 0.52, 0.0, 0.0)
    motion = run(*bodies, collide=True, ticks=range(200))
    frame = motion.events[0]["frame"]
    (x0, y0), (x1, y1) = motion.centres[frame]
    kick = np.array(motion.velocities[frame][1])
    normal = np.array([x1 - x0, y1 - y0]) / UNIT
    assert abs(normal[0] * kick[1] - normal[1] * kick[0]) < 2
    assert kick @ normal > 0


def test_shapes_pass_through_each_other_unless_they_collide():
    bodies = body(0.3, 0.5, 0.4, 0.0), body(0.7, 0.5, -0.4, 0.0)
    alone = [run(b) for b in bodies]
    both = run(*bodies)
    assert [frame[0] for frame in both.centres] == [frame[0] for frame in alone[0].centres]
    assert [frame[1] for frame in both.centres] == [frame[0] for frame in alone[1].centres]
    assert run(*bodies, collide=True).centres != both.centres


@pytest.mark.parametrize("level", range(len(LEVELS)))
@pytest.mark.parametrize("width", [UNIT, UNIT * 16 // 9, UNIT // 2])
def test_no_shape_ever_leaves_the_frame(level, width):
    for index in range(6):
        scene = draw_scene(level, 3, index, width)
        motion = simulate(scene, range(0, 20 * TICKS_PER_SECOND, 3))
        for i, b in enumerate(scene.bodies):
            left, right, up, down = b.reach
            x, y = np.array([frame[i] for frame in motion.centres]).T
            assert left <= x.min()
            assert x.max() <= width - right
            assert up <= y.min()
            assert y.max() <= UNIT - down


def test_colliding_shapes_never_merge():
    """Discs overlap by at most the way of one tick, through ten seconds of impacts."""
    for index in range(8):
        scene = draw_scene(3, 0, index, UNIT)
        motion = simulate(scene, TEN_SECONDS)
        for i, j in itertools.combinations(range(len(scene.bodies)), 2):
            places, speeds = (np.array(v, np.float64) for v in (motion.centres, motion.velocities))
            gap = np.hypot(*(places[:, i] - places[:, j]).T) - scene.bodies[i].half - scene.bodies[j].half
            step = np.abs(speeds).sum((1, 2)).max()
            assert gap.min() > -2 * step


def test_more_frames_only_add_frames():
    scene = draw_scene(4, 0, 2, UNIT)
    short, long = (simulate(scene, range(0, n * 20, 20)) for n in (15, 60))
    assert long.centres[:15] == short.centres
    assert [event for event in long.events if event["frame"] < 15] == short.events
