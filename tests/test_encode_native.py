# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Videos of several sizes and durations, from files to batches in buckets and packed rows."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import known_world
from dit_jax import build
from dit_jax.data.clips_io import ClipsSource
from dit_jax.data.latents_io import LatentsSource
from dit_jax.dry_run import dry_run
from dit_jax.encode import encode
from dit_jax.ingest import Ingest, IngestConfig
from dit_jax.pixels import as_pixels
from tests.data.video_files import noise, write

PICTURES = {"wide": (32, 48), "tall": (48, 32), "square": (45, 43)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Of each of three videos, four clips of 9 frames and an image."""
    folder = tmp_path_factory.mktemp("videos")
    for name, size in PICTURES.items():
        write(folder / f"{name}.mkv", noise(38, *size), codec="ffv1", pix_fmt="yuv444p")
        (folder / f"{name}.txt").write_text(name)
    made = IngestConfig(path=str(folder), num_frames=9, shorter=(1,), num_shards=1, num_workers=1)
    out = tmp_path_factory.mktemp("clips")
    work = Ingest(made, out)
    work.run()
    work.finish()
    return out


def config(clips, layout):
    made = known_world.get_config()
    made.data.update(source="clips", path=str(clips), fps=25.0)
    made.evaluate.num_clips = 3
    made.loader.update(layout=layout, batch_size=2)
    made.buckets.update(durations=(1, 9), resolutions=(40,), aspect_ratios=("3:2", "2:3", "1:1"))
    made.buckets.update(tokens_per_batch=96, unfit="list")
    made.packing.update(row_tokens=160, max_segments=8)
    return made


def test_ingested_clips_are_of_several_sizes(clips):
    source = ClipsSource(clips)
    shapes = [source[i].video.shape[:3] for i in range(len(source))]
    assert sorted(set(shapes)) == sorted((t, *size) for t in (1, 9) for size in PICTURES.values())


@pytest.mark.parametrize("layout", ["buckets", "packed"])
def test_native_sizes_go_all_the_way(clips, tmp_path, layout):
    shapes = {(t, *cells) for t in (1, 3) for cells in ((4, 6), (6, 4), (5, 5))}
    made = config(clips, layout)
    counted = {row[0]: row for row in dry_run(made)[1:]}
    encode(made, tmp_path)
    train = build.latents_source(build.latents_folder(made, tmp_path, "train"))
    held_out = build.latents_source(build.latents_folder(made, tmp_path, "validation"))
    assert len(train) + len(held_out) == 15
    sizes, others = ({tuple(shape[:3]) for shape in part.shapes.tolist()} for part in (train, held_out))
    assert sizes | others == shapes
    if layout == "buckets":
        assert sum(int(row[1]) for row in counted.values()) == 15
    batches = build.loader(made, train, seed=0)
    seen = [next(batches) for _ in range(60)]  # an image waits four epochs for its batch
    batches.close()
    if layout == "packed":
        assert {batch["tokens"].shape for batch in seen} == {(2, 160, 16)}
    else:
        assert {batch["latents"].shape[1:4] for batch in seen} == sizes
    assert sum(len(batch["latents"]) for batch in build.held_out(made, held_out)) == 3


def test_a_clip_is_encoded_as_it_would_be_alone(clips, tmp_path):
    """Whatever other sizes are encoded beside it."""
    made = config(clips, "packed")
    encode(made, tmp_path)
    part = LatentsSource(tmp_path / "latents/train/00000-of-00001")
    model, stats = build.autoencoder(made)
    source = build.encoded_clips(made, "train")
    for index in (0, len(part) - 1):
        clip = source[index]
        alone = stats.normalize(model.encode(as_pixels(jnp.asarray(clip.video[None]))))[0]
        np.testing.assert_allclose(part[index]["latents"], alone, atol=5e-3)
        assert part[index]["captions"] == dict(clip.captions)


def test_other_buckets_are_other_latents(clips, tmp_path):
    made = config(clips, "buckets")
    encode(made, tmp_path)
    made.buckets.durations = (1, 5)
    with pytest.raises(ValueError, match="was encoded with another sizes"):
        encode(made, tmp_path)


def test_clips_that_fit_no_bucket_are_left_out_of_latents_too(clips, tmp_path):
    made = config(clips, "buckets")
    made.buckets.durations = (9,)
    encode(made, tmp_path)
    parts = [LatentsSource(tmp_path / f"latents/{split}/00000-of-00001") for split in ("train", "validation")]
    assert sum(map(len, parts)) == 12
    made.buckets.unfit = "error"
    with pytest.raises(ValueError, match="3 of 15 clips fit no bucket"):
        encode(made, tmp_path / "other")
