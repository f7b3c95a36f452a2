# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs on latents of several sizes, packed or in buckets, and on stored text tokens."""

import json

import numpy as np
import pytest

from configs import known_world
from dit_jax import build
from dit_jax.data.latents_io import write_latents
from dit_jax.run import run
from dit_jax.sweep.flops import training_flops

SIZES = [(1, 2, 2, 16), (2, 2, 4, 16), (3, 4, 2, 16)]


def write(folder, count, seed):
    rng = np.random.default_rng(seed)
    elements = [
        {
            "latents": rng.normal(size=SIZES[i % 3]).astype(np.float32),
            "captions": {"dense": f"clip {i}", "short": "", "tag": ""},
            "key": f"{seed}-{i}",
        }
        for i in range(count)
    ]
    write_latents(folder / "00000-of-00001", iter(elements), {"source": {}})


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    write(folder / "train", 24, 0)
    write(folder / "validation", 6, 1)
    return folder


def config(latents, layout, **train):
    made = known_world.get_config()
    made.data.update(source="latents", path=str(latents))
    made.loader.update(layout=layout, batch_size=2)
    made.text.update(max_bytes=16, width=12, num_heads=2)
    made.backbone.update(width=12, depth=1, num_heads=2, text_width=12, time_features=8, unroll=1)
    made.evaluate.update(num_clips=6, num_times=2)
    made.packing.update(row_tokens=48, max_segments=4)
    made.buckets.update(tokens_per_batch=48)
    made.train.update(total_steps=4, chunk_steps=2, save_every_steps=2)
    made.train.update(train)
    return made


@pytest.mark.parametrize(("layout", "chunk_steps"), [("packed", 2), ("buckets", 1)])
def test_clips_of_several_sizes_train_and_are_validated(latents, tmp_path, layout, chunk_steps):
    made = config(latents, layout, chunk_steps=chunk_steps)
    row = run(made, tmp_path)
    assert row["status"] == "finished"
    assert np.isfinite(row["loss"])
    assert row["loss_se"] > 0
    assert row["damaged_clips"] == 0
    plan = build.plan(made, build.latents_source(build.latents_folder(made, tmp_path, "train")))
    clips = round(4 * 24 / plan.num_batches)
    per_clip = np.mean([sum(training_flops(made, size).values()) for size in SIZES])
    assert row["flops"] == pytest.approx(clips * per_clip, rel=1e-3)
    assert row["tokens_seen"] == pytest.approx(clips * np.mean([4, 16, 24]), abs=0.5)
    json.dumps(row)


def test_buckets_run_step_by_step(latents, tmp_path):
    with pytest.raises(ValueError, match="chunk_steps=2 takes batches of one shape"):
        run(config(latents, "buckets"), tmp_path)


def test_one_size_is_asked_for_where_there_are_several(latents):
    with pytest.raises(ValueError, match=r"has latents of 3 sizes.*use 'packed' or 'buckets'"):
        build.latent_shape(config(latents, "fixed"))


def test_a_unet_has_no_packed_rows(latents):
    made = config(latents, "packed")
    made.backbone = {"name": "unet_pseudo3d", "width": 8, "depth": 1, "num_heads": 2, "text_width": 12}
    with pytest.raises(ValueError, match="'unet_pseudo3d' works on a grid"):
        build.check(made, build.latent_shape(made))
