# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The renderer draws what the simulator says, where it says."""

import math

import numpy as np
import pytest

from dit_jax.data import known_world_render
from dit_jax.data.known_world_captions import BACKGROUND, OCCLUDER, PALETTE, SHAPES
from dit_jax.data.known_world_physics import UNIT, Body, Motion, Scene
from dit_jax.data.known_world_render import render

AREAS = {"circle": math.pi, "square": 4, "triangle": 2, "diamond": 2, "cross": 20 / 9}  # of half size 1


def body(shape="square", colour="red", half=0.2):
    return Body(shape, colour, "medium", "right", "slowly", int(half * UNIT), 0, 0, 0, 0)


def draw(bodies, places, size=32, occluder=None, width=None):
    """Renders bodies at places (in heights), one list of places per frame."""
    width = width or size
    bar = occluder and tuple(int(edge * UNIT) for edge in occluder)
    scene = Scene(UNIT * width // size, tuple(bodies), 0, False, bar)
    centres = [[(int(x * UNIT), int(y * UNIT)) for x, y in frame] for frame in places]
    return render(scene, Motion(centres, centres, []), size, width)


def coverage(video, colour):
    """The part of each pixel that a colour covers, read from the pixels."""
    step = np.array(PALETTE[colour], float) - BACKGROUND
    return (video - np.array(BACKGROUND, float)) @ step / (step @ step)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("size", "half"), [(32, 0.08), (32, 0.2), (90, 0.2)])
def test_centroid_and_area_of_every_shape(shape, size, half):
    places = [[(0.3 + 0.037 * k, 0.5 + 0.019 * k)] for k in range(5)]
    video, visible = draw([body(shape, "lavender", half)], places, size)
    assert visible.tolist() == [[1.0] * 5]
    columns = np.arange(size) + 0.5
    for frame, [(x, y)] in zip(coverage(video, "lavender"), places, strict=True):
        area = frame.sum()
        assert frame.sum(0) @ columns / area == pytest.approx(x * size, abs=0.2)
        assert frame.sum(1) @ columns / area == pytest.approx(y * size, abs=0.2)
        assert area == pytest.approx(AREAS[shape] * (half * size) ** 2, rel=0.1 if size * half < 3 else 0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fills_exactly_the_box_it_reaches(shape):
    thing = body(shape, half=0.25)
    video, _ = draw([thing], [[(0.5, 0.5)]], size=96)
    rows, columns = np.nonzero((video[0] != BACKGROUND).any(-1))
    left, right, up, down = (96 * reach / UNIT for reach in thing.reach)
    for seen, expected in (
        (columns.min(), 48 - left),
        (columns.max() + 1, 48 + right),
        (rows.min(), 48 - up),
        (rows.max() + 1, 48 + down),
    ):
        assert seen == pytest.approx(expected, abs=1)


def test_interiors_have_the_palette_colour_and_the_rest_the_background():
    for colour, rgb in PALETTE.items():
        video, _ = draw([body("square", colour)], [[(0.5, 0.5)]])
        assert tuple(video[0, 16, 16]) == rgb
        assert tuple(video[0, 0, 0]) == BACKGROUND


def test_an_edge_through_a_pixel_mixes_by_coverage():
    video, _ = draw([body("square", "white", half=0.25)], [[(16.5 / 32, 16 / 32)]])
    half_covered = (BACKGROUND[0] * 8 + 255 * 8 + 8) // 16
    assert video[0, 16, 8].tolist() == [half_covered] * 3
    assert video[0, 16, 24].tolist() == [half_covered] * 3
    assert video[0, 16, 9].tolist() == [255] * 3


def test_the_later_body_is_in_front_and_visibility_is_its_share():
    back, front = body("square", "red", 0.1), body("square", "blue", 0.2)
    places = [[(0.5, 0.5), (0.5, 0.5)], [(0.5, 0.5), (0.7, 0.5)], [(0.2, 0.5), (0.7, 0.5)]]
    video, visible = draw([back, front], places)
    assert visible[0] == pytest.approx([0.0, 0.5, 1.0], abs=0.05)
    assert visible[1].tolist() == [1.0, 1.0, 1.0]
    assert not coverage(video[0], "red").max() > 0
    assert tuple(video[1, 16, 14]) == PALETTE["red"]
    assert tuple(video[1, 16, 17]) == PALETTE["blue"]


def test_the_occluder_hides_what_is_behind():
    thing = body("circle", "yellow", 0.1)
    places = [[(0.15, 0.5)], [(0.375, 0.5)], [(0.5, 0.5)]]
    video, visible = draw([thing], places, occluder=(0.375, 0.625))
    assert visible[0] == pytest.approx([1.0, 0.5, 0.0], abs=0.03)
    assert (video[:, :, 12:20] == OCCLUDER).all()
    empty, _ = draw([], [[]], occluder=(0.375, 0.625))
    assert (video[2] == empty[0]).all()


def test_a_shape_against_the_far_walls_is_drawn_whole():
    places = [[(0.2, 0.2)], [(16 / 9 - 0.2, 0.8)]]
    video, visible = draw([body("square", "white")], places, size=36, width=64)
    areas = coverage(video, "white").sum((1, 2))
    assert areas == pytest.approx((0.4 * 36) ** 2, rel=0.02)
    assert visible.min() == 1.0
    assert tuple(video[1, -1, -1]) == PALETTE["white"]


def test_frames_in_chunks_are_the_same(monkeypatch):
    places = [[(0.3 + k / 50, 0.4), (0.5, 0.5)] for k in range(9)]
    bodies = [body("circle"), body("cross", "green")]
    whole = draw(bodies, places, occluder=(0.4, 0.5))
    monkeypatch.setattr(known_world_render, "_CHUNK_SAMPLES", 16 * 32 * 32 * 2)
    parts = draw(bodies, places, occluder=(0.4, 0.5))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
