# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from dit_jax.data.buckets import BucketConfig, Fitted, assign, bucket_latents, make_buckets, own_sizes
from dit_jax.data.clip import Clip

COMPRESSION, PATCH = (4, 8, 8), (1, 2, 2)
CONFIG = BucketConfig()
BUCKETS = make_buckets(CONFIG, COMPRESSION, PATCH)


def sizes(count, seed=0):
    """Frames, height and width of all kinds of clips."""
    rng = np.random.default_rng(seed)
    frames = rng.choice([1, 17, 20, 33, 64, 65, 300], count)
    area, ratio = rng.uniform(160, 900, count), np.exp(rng.uniform(-0.8, 0.8, count))
    return np.stack([frames, area / np.sqrt(ratio), area * np.sqrt(ratio)], axis=1).astype(int)


def kept(size, bucket):
    """Share of a picture's area that is left after covering a bucket, by drawing it."""
    scale = max(bucket[1] / size[1], bucket[2] / size[2])
    return (bucket[1] / scale) * (bucket[2] / scale) / (size[1] * size[2])


def test_sizes_are_whole_tokens_near_their_area_and_shape():
    assert len(BUCKETS) == len({bucket.size for bucket in BUCKETS}) == 4 * 3 * 5
    for bucket in BUCKETS:
        frames, height, width = bucket.size
        assert height % 16 == width % 16 == 0
        assert bucket.tokens == (1 + (frames - 1) // 4) * (height // 16) * (width // 16)
        assert abs(height * width / bucket.resolution**2 - 1) < 0.15
    shapes = {bucket.size[2] / bucket.size[1] for bucket in BUCKETS if bucket.resolution == 512}
    np.testing.assert_allclose(sorted(shapes), [9 / 16, 3 / 4, 1, 4 / 3, 16 / 9], rtol=0.06)


def test_batches_hold_as_many_tokens_whatever_the_bucket():
    config = dataclasses.replace(CONFIG, tokens_per_batch=2**17, batch_multiple=2)
    for bucket in make_buckets(config, COMPRESSION, PATCH):
        assert bucket.batch_size % 2 == 0
        assert 0 <= 2**17 - bucket.batch_size * bucket.tokens < 2 * bucket.tokens


def test_nothing_is_enlarged_and_no_better_bucket_is_passed_over():
    clips = sizes(2000)
    found = assign(clips, BUCKETS)
    assert not found.unfit
    for size, number in zip(clips, found.bucket_of):
        mine = BUCKETS[number]
        assert mine.size[1] <= size[1]
        assert mine.size[2] <= size[2]
        assert (mine.size[0] == 1) == (size[0] == 1)
        for other in BUCKETS:
            usable = (other.size[0] == 1) == (size[0] == 1) and all(np.array(other.size) <= size)
            if usable:
                assert mine.size[0] >= other.size[0]
                if other.size[0] == mine.size[0]:
                    assert mine.resolution >= other.resolution
                if (other.size[0], other.resolution) == (mine.size[0], mine.resolution):
                    assert kept(size, mine.size) >= kept(size, other.size) - 1e-9


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((33, 720, 1280), (33, 384, 688)),
        ((64, 1280, 720), (33, 688, 384)),
        ((1, 512, 512), (1, 512, 512)),
        ((300, 511, 511), (65, 256, 256)),
        ((17, 448, 592), (17, 448, 592)),
        ((17, 128, 4000), (17, 96, 176)),
    ],
)
def test_known_cases(size, expected):
    number = assign(np.array([size]), BUCKETS).bucket_of[0]
    assert BUCKETS[number].size == expected


def test_what_fits_nowhere_is_an_error_or_is_listed(caplog):
    clips = np.array([(33, 720, 1280), (9, 720, 1280), (33, 90, 1280), (9, 720, 700), (1, 90, 90)])
    with pytest.raises(ValueError, match=r"4 of 5 clips fit no bucket .*2 x 9 frames, too short") as caught:
        assign(clips, BUCKETS)
    assert "\n" not in str(caught.value)
    found = assign(clips, BUCKETS, unfit="list")
    assert "4 of 5 clips fit no bucket" in caplog.text
    assert dict(found.unfit) == {
        "9 frames, too short": 2,
        "33 frames of 90x1280 pixels, too small": 1,
        "an image of 90x90 pixels, too small": 1,
    }
    assert list(found.bucket_of < 0) == [False, True, True, True, True]
    assert found.plan(1).num_clips == 5
    no_images = make_buckets(dataclasses.replace(CONFIG, durations=(17,)), COMPRESSION, PATCH)
    assert assign(clips[4:], no_images, "list").unfit == (("an image, and no bucket is of images", 1),)


def test_the_table_accounts_for_every_clip():
    clips = np.concatenate([sizes(500), [(9, 720, 1280)] * 3])
    table = assign(clips, BUCKETS, "list").table()
    assert sum(int(row[1]) for row in table[1:]) == 503
    assert table[-1][:2] == ("left out: 9 frames, too short", "3")
    for _, _, tokens, batch_size, product in table[1:-1]:
        assert int(tokens) * int(batch_size) == int(product) <= CONFIG.tokens_per_batch


def test_clips_are_covered_and_cropped_to_their_buckets():
    """Stripes across the middle stay where they are, and frames are the first."""
    video = np.zeros((20, 200, 300, 3), np.uint8)
    video[..., 150:, :] = 200
    video[17:] = 90
    clips = [Clip(video[:5], 8.0, {}, "b"), Clip(video, 8.0, {}, "a")]
    found = assign(np.array([clip.video.shape[:3] for clip in clips]), BUCKETS, "list")
    kept = Fitted(clips, found)
    assert [clip.key for clip in map(kept.__getitem__, range(len(kept)))] == ["a"]
    first = kept[0].video
    assert first.shape[:3] == BUCKETS[found.bucket_of[1]].size == (17, 112, 144)
    assert (first[:, :, :70] == 0).all()
    assert (first[:, :, 74:] == 200).all()
    with pytest.raises(ValueError, match="the report is of 2 clips and there are 1"):
        Fitted(clips[:1], found)


def test_clips_keep_their_own_sizes_in_whole_tokens():
    clips = np.array([(20, 200, 300), (1, 64, 64), (3, 200, 300), (17, 10, 300), (33, 512, 512)])
    found = own_sizes(clips, (4, 8, 8), (1, 2, 2), 2048, "list")
    sizes = [found.buckets[k].size if k >= 0 else None for k in found.bucket_of]
    assert sizes == [(17, 192, 288), (1, 64, 64), (1, 192, 288), None, None]
    assert found.buckets[found.bucket_of[0]].tokens == 5 * 12 * 18
    assert dict(found.unfit) == {"smaller than a token": 1, "9216 tokens, more than 2048": 1}
    twice = own_sizes(clips[:1], (4, 8, 8), (2, 2, 2), 5000).buckets[0]
    assert twice.size == (13, 192, 288)  # 5 latent frames are two patches of 2 and one over
    with pytest.raises(ValueError, match=r"2 of 5 clips fit no bucket .*set buckets\.unfit"):
        own_sizes(clips, (4, 8, 8), (1, 2, 2), 2048)


def test_latents_are_in_the_bucket_of_their_size():
    shapes = np.array([(5, 8, 8, 16), (1, 8, 8, 16), (5, 8, 8, 16), (5, 4, 16, 16)])
    found = bucket_latents(shapes, PATCH, dataclasses.replace(CONFIG, tokens_per_batch=200))
    assert [found.buckets[number].size for number in found.bucket_of] == [
        tuple(s[:3]) for s in shapes.tolist()
    ]
    assert {bucket.size: (bucket.tokens, bucket.batch_size) for bucket in found.buckets} == {
        (1, 8, 8): (16, 12),
        (5, 4, 16): (80, 2),
        (5, 8, 8): (80, 2),
    }


def test_a_clip_that_no_batch_holds_is_not_dropped_in_silence():
    small = dataclasses.replace(CONFIG, tokens_per_batch=1000)
    clips = np.array([(17, 512, 512), (17, 128, 128)])
    assert list(assign(clips, make_buckets(small, COMPRESSION, PATCH), "list").bucket_of < 0) == [True, False]
    with pytest.raises(ValueError, match="17x512x512 has 5120 tokens, and a batch of them more than"):
        assign(clips, make_buckets(small, COMPRESSION, PATCH))
    shapes = np.array([(5, 64, 64, 4), (5, 8, 8, 4)])
    with pytest.raises(ValueError, match=r"1 of 2 clips fit no bucket .*5x64x64 has 5120 tokens"):
        bucket_latents(shapes, PATCH, small)
    found = bucket_latents(shapes, PATCH, dataclasses.replace(small, unfit="list"))
    assert [row[1] for row in found.table()[1:]] == ["1", "1"]
    assert found.plan(1).num_batches == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BucketConfig(tokens_per_batch=0), "tokens_per_batch is 0"),
        (lambda: BucketConfig(aspect_ratios=("16x9",)), "'16x9'; write width:height"),
        (lambda: BucketConfig(aspect_ratios=("0:9",)), "'0:9'; write"),
        (lambda: BucketConfig(durations=()), "durations is empty"),
        (lambda: BucketConfig(durations=(0,)), "must be 1 or more"),
        (lambda: BucketConfig(unfit="drop"), "unfit is 'drop'; give 'error' or 'list'"),
        (lambda: make_buckets(BucketConfig(durations=(16,)), COMPRESSION, PATCH), "duration of 16 frames"),
        (
            lambda: make_buckets(BucketConfig(durations=(17,)), COMPRESSION, (2, 2, 2)),
            "duration of 17 frames",
        ),
        (lambda: bucket_latents(np.array([(5, 7, 8, 4)]), PATCH, CONFIG), r"latents of \(5, 7, 8\)"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
