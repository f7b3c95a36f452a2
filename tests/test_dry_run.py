# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import json

import numpy as np
import pytest

from configs import known_world
from dit_jax import build
from dit_jax.data.clips_io import clip_sizes
from dit_jax.data.latents_io import write_latents
from dit_jax.dry_run import dry_run

SHAPES = [(1, 4, 8, 16), (3, 4, 4, 16), (3, 4, 4, 16), (5, 8, 8, 16)] * 6


@pytest.fixture
def config():
    made = known_world.get_config()
    made.data.path = "native"
    made.data.source = "latents"
    made.buckets.tokens_per_batch = 320
    made.packing.row_tokens = 384
    return made


@pytest.fixture
def folder(tmp_path):
    """Latents of three sizes, in two parts."""
    for part in range(2):
        elements = [
            {"latents": np.full(SHAPES[k], k), "captions": {"dense": f"clip {k}"}, "key": str(k)}
            for k in range(12 * part, 12 * (part + 1))
        ]
        write_latents(tmp_path / "native/train" / f"{part:05d}-of-00002", elements, {})
    return tmp_path


def test_buckets_of_latents(config, folder):
    config.loader.layout = "buckets"
    table = dry_run(config, folder)
    assert table[1:] == [
        ("1x4x8", "6", "32", "10", "320"),
        ("3x4x4", "12", "48", "6", "288"),
        ("5x8x8", "6", "320", "1", "320"),
    ]
    config.buckets.tokens_per_batch = 100
    with pytest.raises(ValueError, match=r"6 of 24 clips fit no bucket .*set buckets\.unfit to 'list'"):
        dry_run(config, folder)
    config.buckets.unfit = "list"
    assert dry_run(config, folder)[-1][1] == "6"


def test_packed_rows(config, folder):
    config.loader.layout = "packed"
    heading, row = dry_run(config, folder)
    found = dict(zip(heading, row))
    assert (found["clips"], found["rows"], found["filled"]) == ("24", "8", "87.5%")


def test_latents_of_several_sizes_need_a_layout(config, folder):
    with pytest.raises(ValueError, match="latents of 3 sizes"):
        dry_run(config, folder)


@pytest.mark.parametrize("layout", ["buckets", "packed"])
def test_the_loader_serves_what_the_dry_run_says(config, folder, layout):
    config.loader.layout, config.loader.batch_size = layout, 2
    source = build.latents_source(build.latents_folder(config, folder, "train"))
    batches = build.loader(config, source, seed=0)
    taken = list(itertools.islice(batches, 12))
    batches.close()
    ids = np.concatenate([batch["text_ids"].reshape(-1, 96) for batch in taken]).astype(np.uint8)
    texts = {bytes(row[row > 1] - 2).decode() for row in ids}
    assert texts == {f"clip {k}" for k in range(24)}
    if layout == "buckets":
        assert {b["latents"].shape for b in taken} == {(10, *SHAPES[0]), (6, *SHAPES[1]), (1, *SHAPES[3])}
    else:
        assert {b["tokens"].shape for b in taken} == {(2, 384, 16)}


def test_held_out_clips_of_several_sizes_are_a_batch_each(config, folder):
    source = build.latents_source(build.latents_folder(config, folder, "train"))
    batches = build.held_out(config, source)
    assert [batch["latents"].shape for batch in batches] == [
        (6, 1, 4, 8, 16),
        (12, 3, 4, 4, 16),
        (6, 5, 8, 8, 16),
    ]
    np.testing.assert_array_equal(batches[1]["latents"][:3, 0, 0, 0, 0], [1, 2, 5])


def test_buckets_of_ingested_clips(config, tmp_path):
    rows = [
        {"file": "a.mp4", "clips": [{"shape": [17, 480, 854, 3]}, {"shape": [33, 480, 854, 3]}]},
        {"file": "b.mp4", "clips": []},
        {"file": "c.mp4", "clips": [{"shape": [9, 480, 854, 3]}]},
    ]
    (tmp_path / "report.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.testing.assert_array_equal(clip_sizes(tmp_path), [(17, 480, 854), (33, 480, 854), (9, 480, 854)])
    config.data.source, config.data.path = "clips", str(tmp_path)
    config.backbone.patch, config.buckets.tokens_per_batch = (1, 2, 2), 32768
    table = dry_run(config)
    assert [row[:2] for row in table[1:]] == [
        ("17x384x688", "1"),
        ("33x384x688", "1"),
        ("left out: 9 frames, too short", "1"),
    ]
    config.loader.layout, config.packing.row_tokens = "packed", 9000
    heading, row, *left_out = dry_run(config)
    found = dict(zip(heading, row))
    assert (found["clips"], found["rows"]) == ("2", "2")  # of 7950 and 4770 tokens
    assert [row[:2] for row in left_out] == [("left out: 14310 tokens, more than 9000", "1")]
    with pytest.raises(ValueError, match=r"has no report\.jsonl"):
        clip_sizes(tmp_path / "none")


def test_one_size(config):
    config.data.source = "known_world"
    assert dry_run(config)[1] == ("3x4x4", "8192", "48", "8", "384")
    config.data.num_clips = 0
    assert dry_run(config)[1][1] == "endless"
    config.loader.layout = "packed"
    with pytest.raises(ValueError, match="layout='packed' is for latents"):
        build.plan(config, build.clip_source(config, "train"))
