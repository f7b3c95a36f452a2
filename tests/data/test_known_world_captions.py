# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Captions read back give the facts of the truth, and are plain English of bounded length."""

import itertools
import math
import re

import numpy as np
import pytest

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.known_world_captions import (
    BACKGROUND,
    DIRECTIONS,
    OCCLUDER,
    PALETTE,
    REGIONS,
    SHAPES,
    SIZES,
    SPEEDS,
    colours_in,
)

CLIPS = 60
NINTHS = tuple(itertools.chain(*REGIONS))


def one_of(words):
    return "(" + "|".join(sorted(words, key=len, reverse=True)) + ")"


NAME = f"{one_of(PALETTE)} {one_of(SHAPES)}"
BODY = re.compile(
    f"A {one_of(SIZES)} {NAME} moves {one_of(SPEEDS)} {one_of(DIRECTIONS)} from the {one_of(NINTHS)}"
    r"(?: of a dark background)?(?:, bouncing off the ([a-z, ]+) walls?)?\."
)


def clips(level, count=CLIPS, **changes):
    source = KnownWorld(KnownWorldConfig(level=level, num_frames=25, height=16, width=24, seed=7, **changes))
    return [source[i] for i in range(count)]


def names(sentence):
    return [f"{colour} {shape}" for colour, shape in re.findall(NAME, sentence)]


def read_dense(text):
    """The facts a dense caption states."""
    sentences = re.findall(r"[^.]+\.", text)
    bodies = [BODY.fullmatch(s.strip()) for s in sentences]
    facts = {
        "bodies": [match.groups() for match in bodies if match],
        "gravity": None,
        "pairs": set(),
        "bar": False,
    }
    facts |= {"passes": set(), "goes": set()}
    for sentence, match in zip((s.strip() for s in sentences), bodies, strict=True):
        if match:
            continue
        if gravity := re.fullmatch(r"Gravity pulls (it|both shapes|all three shapes) down\.", sentence):
            facts["gravity"] = gravity[1]
        elif sentence == "A grey bar stands in front.":
            facts["bar"] = True
        elif re.fullmatch(f"The {NAME} and the {NAME} collide\\.", sentence):
            facts["pairs"].add(frozenset(names(sentence)))
        else:
            verb = re.fullmatch("The [a-z, ]+ (pass|passes|go|goes) behind the bar\\.", sentence)[1]
            assert verb.endswith("es") == (len(names(sentence)) == 1), sentence
            facts["passes" if "pass" in verb else "goes"] |= set(names(sentence))
    return facts


def whole_name(o):
    return f"{o['colour']} {o['shape']}"


@pytest.mark.parametrize("level", range(5))
def test_looks_and_first_motion_agree_with_the_trajectories(level):
    for clip in clips(level):
        truth = clip.truth
        read = read_dense(clip.captions["dense"])["bodies"]
        assert len(read) == len(truth["objects"])
        for i, (size, colour, shape, speed, direction, ninth, _) in enumerate(read):
            thing = truth["objects"][i]
            assert (colour, shape) == (thing["colour"], thing["shape"])
            low, high = SIZES[size]
            assert low - 1 <= 1000 * thing["size_pixels"] / 16 <= high
            velocity = truth["velocities"][i, 0]
            assert tuple(np.sign(velocity)) == DIRECTIONS[direction]
            low, high = SPEEDS[speed]
            assert low - 1 <= 1000 * math.hypot(*velocity) * clip.fps / 16 <= high + 1
            x, y = truth["positions"][i, 0]
            assert ninth == REGIONS[int(3 * y / 16)][int(3 * x / 24)]


@pytest.mark.parametrize("level", range(5))
def test_happenings_agree_with_the_truth(level):
    seen = {"wall": 0, "collision": 0, "gravity": 0, "passes": 0}
    for clip in clips(level):
        truth, read = clip.truth, read_dense(clip.captions["dense"])
        objects, events = truth["objects"], truth["events"]
        for i, (*_, walls) in enumerate(read["bodies"]):
            hit = [e["wall"] for e in events if e["kind"] == "wall" and e["object"] == i]
            assert set(re.findall("left|right|top|bottom", walls or "")) == set(hit)
            assert (f"off the {walls} walls" in clip.captions["dense"]) == (len(set(hit)) > 1)
            seen["wall"] += len(hit)
        whom = {1: "it", 2: "both shapes", 3: "all three shapes"}[len(objects)]
        assert read["gravity"] == (whom if truth["gravity"] else None)
        pairs = {
            frozenset(whole_name(objects[i]) for i in e["objects"])
            for e in events
            if e["kind"] == "collision"
        }
        assert read["pairs"] == pairs
        assert read["bar"] == (truth["occluder"] is not None) == (level == 4)
        hidden = behind_bar(truth)
        ever = {whole_name(o) for o, row in zip(objects, hidden) if row.any()}
        still = {whole_name(o) for o, row in zip(objects, hidden) if row[-1]}
        assert (read["passes"], read["goes"]) == (ever - still, still)
        seen["collision"] += len(pairs)
        seen["gravity"] += truth["gravity"] > 0
        seen["passes"] += len(read["passes"])
    happens = {"wall": level >= 0, "gravity": level >= 2, "collision": level >= 3, "passes": level == 4}
    assert {kind: count > 0 for kind, count in seen.items()} == happens


def behind_bar(truth):
    """By object and frame, whether its box overlaps the bar."""
    x, half = truth["positions"][..., 0], np.array([[o["size_pixels"] / 2] for o in truth["objects"]])
    if truth["occluder"] is None:
        return np.zeros(x.shape, bool)
    left, _, right, _ = truth["occluder"]
    return (x + half > left) & (x - half < right)


@pytest.mark.parametrize("level", range(5))
def test_tag_and_short_name_every_shape_and_its_direction(level):
    for clip in clips(level, count=20):
        moves = [(whole_name(o), o["direction"]) for o in clip.truth["objects"]]
        assert clip.captions["tag"].split(", ") == [f"{name} moving {way}" for name, way in moves]
        parts = re.split(r", (?=a )| and (?=a )", clip.captions["short"].removesuffix(".").lower())
        assert parts == [f"a {name} moves {way}" for name, way in moves]
        assert clip.captions["short"][0] == "A"


def test_colours_in_reads_whole_words_of_any_case():
    assert colours_in("A Red circle and a mint cross, discovered, bluegreen, redden") == {"red", "mint"}
    assert colours_in("A grey bar stands in front of a dark background.") == frozenset()
    for clip in clips(3, count=20):
        expected = {o["colour"] for o in clip.truth["objects"]}
        assert all(colours_in(text) == expected for text in clip.captions.values())


def test_dense_captions_are_short_enough_for_small_text_encoders():
    default = KnownWorld(KnownWorldConfig(height=8, width=8))
    lengths = [len(default[i].captions["dense"].encode()) for i in range(200)]
    assert min(lengths) >= 60
    assert max(lengths) <= 90
    for level in (0, 1):
        alone = [clip for clip in clips(level, count=40, fps=2.0) if len(clip.truth["objects"]) == 1]
        assert any(len(clip.truth["events"]) > 3 for clip in alone)
        assert max(len(clip.captions["dense"].encode()) for clip in alone) <= 160


def test_the_longest_sentence_of_one_shape_fits_too():
    longest = [max(words, key=len) for words in (SIZES, PALETTE, SHAPES, SPEEDS, DIRECTIONS, NINTHS)]
    size, colour, shape, speed, direction, ninth = longest
    text = f"A {size} {colour} {shape} moves {speed} {direction} from the {ninth} of a dark background"
    text += ", bouncing off the left, right, top and bottom walls."
    assert BODY.fullmatch(text)
    assert len(text) <= 160


def test_palette_is_well_separated():
    assert len(PALETTE) == 10
    colours = np.array([*PALETTE.values(), BACKGROUND, OCCLUDER], float)
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1) + 1000 * np.eye(12)
    assert distances[:10, :10].min() >= 179
    assert distances[:10, 10].min() >= 230
    assert distances[11].min() >= 150


def test_dimming_by_a_fifth_leaves_the_nearest_colour():
    palette, background = np.array(list(PALETTE.values()), float), np.array(BACKGROUND, float)
    for share in np.linspace(0.8, 1, 5):
        dimmed = background + share * (palette - background)
        distances = np.linalg.norm(dimmed[:, None] - palette, axis=-1)
        assert (distances.argmin(1) == np.arange(10)).all()
