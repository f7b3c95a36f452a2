# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import collections
import pickle

import numpy as np
import pytest

from dit_jax.data.captions import caption_at
from dit_jax.data.clip import Clip
from dit_jax.data.transforms import Stored, ToElement, Tokenized, no_text

CAPTIONS = {"tag": "t", "short": "s", "dense": "d"}
VIDEO = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def codes(text):
    return np.array([ord(text[0]) if text else 0, len(text)])


def clip(captions):
    return Clip(VIDEO, 8.0, captions, "key")


@pytest.mark.parametrize(
    ("has", "level", "expected"),
    [
        ("tag short dense", "short", "s"),
        ("dense", "tag", "d"),
        ("tag", "dense", "t"),
        ("tag dense", "short", "d"),  # of two as near, the wordier
        ("tag short", "dense", "s"),
        ("short dense", "tag", "s"),
        ("", "dense", ""),
    ],
)
def test_the_nearest_level_serves(has, level, expected):
    assert caption_at({name: CAPTIONS[name] for name in has.split()}, level) == expected


def test_clip_and_latents():
    transform, rng = ToElement({"dense": 1.0}, Tokenized(codes)), np.random.default_rng(0)
    element = transform.random_map(clip(CAPTIONS), rng)
    assert set(element) == {"video", "text_ids"}
    np.testing.assert_array_equal(element["video"], VIDEO)
    assert element["text_ids"].dtype == np.int32
    np.testing.assert_array_equal(element["text_ids"], [ord("d"), 1])
    latents = np.ones((1, 2, 2, 4), np.float32)
    element = transform.random_map({"latents": latents, "captions": CAPTIONS, "key": "k"}, rng)
    assert set(element) == {"latents", "text_ids"}
    np.testing.assert_array_equal(element["latents"], latents)


def test_levels_are_drawn_by_their_weights():
    transform = ToElement({"tag": 1.0, "short": 0.0, "dense": 3.0}, Tokenized(codes))
    rng = np.random.default_rng(0)
    drawn = [chr(transform.random_map(clip(CAPTIONS), rng)["text_ids"][0]) for _ in range(4000)]
    counts = collections.Counter(drawn)
    assert set(counts) == {"t", "d"}
    assert abs(counts["d"] / 4000 - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5


def test_the_draw_is_the_generators():
    transform = pickle.loads(
        pickle.dumps(ToElement({"tag": 1.0, "short": 1.0, "dense": 1.0}, Tokenized(codes)))
    )
    draws = [
        [transform.random_map(clip(CAPTIONS), np.random.default_rng(s))["text_ids"][0] for s in range(50)]
        for _ in range(2)
    ]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"long": 1.0}, "level 'long'; the levels are tag, short, dense"),
        ({"dense": -1.0, "tag": 2.0}, "above 0"),
        ({"dense": 0.0}, "above 0"),
        ({}, "above 0"),
        ({"dense": float("nan")}, "above 0"),
    ],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(ValueError, match=message):
        ToElement(weights, Tokenized(codes))


def test_stored_text_is_padded_and_masked():
    tokens = {"short": np.ones((2, 3), np.float16), "dense": np.full((4, 3), 2, np.float16)}
    element = {"latents": np.zeros((1, 2, 2, 4), np.float32), "captions": CAPTIONS, "text": tokens}
    read = ToElement({"short": 1.0}, Stored(4)).random_map(element, np.random.default_rng(0))
    assert set(read) == {"latents", "text_tokens", "text_mask"}
    np.testing.assert_array_equal(read["text_tokens"], [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(read["text_mask"], [True, True, False, False])
    assert read["text_tokens"].dtype == np.float32
    full = ToElement({"dense": 1.0}, Stored(4)).random_map(element, np.random.default_rng(0))
    assert full["text_mask"].all()


def test_what_is_trained_without_text_reads_none():
    assert set(ToElement({"dense": 1.0}, no_text).random_map(clip({}), np.random.default_rng(0))) == {"video"}


def test_numbers_of_a_clip_are_read_of_the_clip_or_of_its_latents():
    moving = np.zeros((3, 4, 4, 3), np.uint8)
    moving[1] = 10
    seen = Clip(moving, 12.0, CAPTIONS, "moving")
    transform = ToElement({"dense": 1.0}, Tokenized(codes), ("fps", "motion"))
    element = transform.random_map(seen, np.random.default_rng(0))
    assert element["fps"] == 12
    assert element["motion"] == pytest.approx(10, rel=1e-3)
    stored = {"latents": np.zeros((1, 1, 1, 2), np.float32), "captions": CAPTIONS, "key": "moving"}
    numbers = {"fps": 12.0, "motion": 10.0}
    assert transform.random_map(stored | numbers, np.random.default_rng(0))["motion"] == 10
    with pytest.raises(ValueError, match="latents of moving were stored without 'fps'"):
        transform.random_map(stored, np.random.default_rng(0))
