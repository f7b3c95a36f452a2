# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts are made dense as the world's own clips are, and say what the short ones say."""

import collections
import re

import pytest

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.known_world_captions import PALETTE, SHAPES
from dit_jax.data.known_world_prompts import PromptError, densify

NAME = f"({'|'.join(PALETTE)}) ({'|'.join(SHAPES)})"
BODY = re.compile(rf"A (\w+) {NAME} moves (\w+) ([a-z ]+?) from the ([a-z ]+?)(?: of a dark background)?[.,]")


def world(level, **changes):
    return KnownWorldConfig(level=level, **{"height": 16, "width": 16, **changes})


def short_of(dense):
    """The short caption that goes with a dense one."""
    moves = [f"a {colour} {shape} moves {way}" for _, colour, shape, _, way, _ in BODY.findall(dense)]
    text = moves[0] if len(moves) == 1 else ", ".join(moves[:-1]) + " and " + moves[-1]
    return text[0].upper() + text[1:] + "."


@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_a_dense_prompt_says_what_the_short_one_says(level):
    source, done = KnownWorld(world(level)), 0
    for index in range(12):
        short = source[index].captions["short"]
        if short.count(" moves ") > 1 and (done > 1 or "triangle" in short):
            continue  # rarer, and so looked for for longer
        done += short.count(" moves ") > 1
        dense = densify(short, world(level), index)
        assert short_of(dense) == short
        assert dense == densify(short.upper().rstrip("."), world(level), index)


def test_three_shapes_that_collide():
    prompt = "A red circle moves up, a blue square moves up and right and a mint cross moves down and left."
    drawn = [densify(prompt, world(3), seed) for seed in (1, 2)]
    assert {short_of(dense) for dense in drawn} == {prompt}
    assert len(set(drawn)) == 2


def test_colours_and_shapes_change_nothing_else_but_for_triangles():
    """Which turn elsewhere at walls, so that they need scenes of their own."""
    rest = {}
    for name in ("red circle", "mint cross", "red triangle"):
        texts = [densify(f"A {name} moves up", world(1), seed) for seed in range(8)]
        rest[name] = [text.replace(name, "") for text in texts]
    assert rest["red circle"] == rest["mint cross"]
    assert rest["red circle"] != rest["red triangle"]


@pytest.mark.parametrize(
    "prompt",
    [
        "a yellow triangle moving quickly down",
        "A large yellow triangle moves down.",
        "A yellow triangle moves down from the top.",
        "A medium yellow triangle moves slowly down",
    ],
)
def test_what_a_prompt_states_beyond_is_kept(prompt):
    stated = set(re.findall("quickly|slowly|large|medium|top", prompt))
    for seed in range(3):
        dense = densify(prompt, world(1), seed)
        [(size, colour, shape, speed, way, start)] = BODY.findall(dense)
        assert (colour, shape, way) == ("yellow", "triangle", "down")
        assert stated <= {size, speed, start}


def test_a_dense_prompt_stays_as_it_is():
    source = KnownWorld(world(4))
    for index in range(20):
        dense = source[index].captions["dense"]
        assert densify(dense, world(4), 3) == dense


def test_what_is_left_open_is_drawn_as_in_the_world():
    """Sizes and starts of a prompt's dense versions are spread as those of all clips with that direction."""
    source = KnownWorld(world(1, seed=5, num_frames=1, height=8, width=8))
    drawn = [
        BODY.findall(densify("A red circle moves up and left", world(1), seed))[0] for seed in range(100)
    ]
    whole = []
    for index in range(2500):
        objects = source[index].truth["objects"]
        if (
            len(objects) == 1
            and objects[0]["direction"] == "up and left"
            and objects[0]["shape"] != "triangle"
        ):
            whole.append((objects[0]["size"], objects[0]["speed"], objects[0]["region"]))
    assert len(whole) > 80
    for place, pick in ((0, 0), (3, 1), (5, 2)):
        ours = collections.Counter(body[place] for body in drawn)
        theirs = collections.Counter(body[pick] for body in whole)
        for word in set(ours) | set(theirs):
            a, b = ours[word] / len(drawn), theirs[word] / len(whole)
            p = (ours[word] + theirs[word]) / (len(drawn) + len(whole))
            assert abs(a - b) < 4 * (p * (1 - p) * (1 / len(drawn) + 1 / len(whole))) ** 0.5, word


@pytest.mark.parametrize(
    ("prompt", "level", "says"),
    [
        ("a dog runs", 1, "'a dog runs' is not in the known world's words: write prompts such as"),
        ("A red circle moves up. A dog runs.", 1, "not in the known world's words"),
        ("A red circle moves up and left.", 0, "direction 'up and left' is not in level 0: choose right"),
        ("A small red circle moves up.", 0, "size 'small' is not in level 0: choose large"),
        ("A red circle moves up and a red cross moves up", 1, "two shapes are red"),
        ("A red circle moves up and a blue cross moves up", 0, "2 shapes, and level 0 has 1"),
        ("A red circle moves up", 3, "1 shapes, and level 3 has 2 or 3"),
        ("A red circle moves up", 4, "let it move right or left"),
        ("", 1, "not in the known world's words"),
        ("../../etc $(id)\n", 1, "not in the known world's words"),
    ],
)
def test_prompts_that_the_world_cannot_show(prompt, level, says):
    with pytest.raises(PromptError, match=says) as caught:
        densify(prompt, world(level))
    assert "\n" not in str(caught.value)
