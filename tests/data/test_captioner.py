# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The known world's captioner is exact."""

import dataclasses

import numpy as np
import pytest

from dit_jax.data.captioner import Captioner, CaptionError, KnownWorldCaptioner
from dit_jax.data.clip import Clip
from dit_jax.data.known_world import KnownWorld, KnownWorldConfig


def world(level, **changes):
    return KnownWorldConfig(level=level, **{"height": 16, "width": 16, **changes})


@pytest.mark.parametrize("level", range(5))
def test_captions_are_the_worlds_own(level):
    captioner, source = KnownWorldCaptioner(world(0)), KnownWorld(world(level))
    assert isinstance(captioner, Captioner)
    for index in range(10):
        clip = source[index]
        assert captioner.describe(dataclasses.replace(clip, captions={})) == clip.captions["dense"]


def test_a_clip_without_truth_is_the_users_mistake():
    clip = Clip(np.zeros((1, 2, 2, 3), np.uint8), 8.0, {}, "dog.mp4")
    with pytest.raises(
        ValueError, match=r"dog\.mp4 is no clip of a known world.*captioner=endpoint"
    ) as caught:
        KnownWorldCaptioner(world(0)).describe(clip)
    assert not isinstance(caught.value, CaptionError)


def test_prompts_are_made_dense():
    captioner = KnownWorldCaptioner(world(0))
    dense = captioner.upsample("A red circle moves right.")
    assert dense.startswith("A large red circle moves ")
    assert captioner.upsample(dense) == dense
    drawn = {captioner.upsample("A red circle moves right.", seed) for seed in range(20)}
    assert len(drawn) > 4


def test_a_prompt_in_other_words_is_that_prompts_failure():
    with pytest.raises(CaptionError, match="'a dog runs' is not in the known world's words: write prompts"):
        KnownWorldCaptioner(world(0)).upsample("a dog runs")
