# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import collections
import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.backbone import patchify
from dit_jax.data.loader import Loader, LoaderConfig
from dit_jax.data.packing import Packed, PackingConfig, fold, grid_positions, pack, token_grids, unfold

PATCH = (1, 2, 2)
CHANNELS = 3


def mixed_shapes(count, seed=0):
    """Latents of five durations (images too), three resolutions and five aspect ratios."""
    rng = np.random.default_rng(seed)
    frames = rng.choice([1, 3, 5, 9, 17], count, p=[0.3, 0.2, 0.2, 0.2, 0.1])
    side, ratio = rng.choice([8, 16, 24], count), rng.choice([9 / 16, 3 / 4, 1, 4 / 3, 16 / 9], count)
    height, width = (np.maximum(1, np.round(side * ratio**power / 2)) * 2 for power in (-0.5, 0.5))
    return np.stack([frames, height, width, np.full(count, CHANNELS)], axis=1).astype(np.int32)


class Source:
    """Latents whose every cell is known from the clip's number."""

    def __init__(self, shapes):
        self.shapes = shapes

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, index):
        latents = np.random.default_rng(index).normal(size=self.shapes[index]).astype(np.float32)
        return {"latents": latents, "captions": {}, "key": str(index)}


def to_arrays(element, rng):
    return {"latents": element["latents"], "text_ids": np.array([int(element["key"]), 7], np.int32)}


SHAPES = mixed_shapes(60)
CONFIG = PackingConfig(row_tokens=3000, max_segments=8)


def loader(shapes=SHAPES, host=0, hosts=1, config=CONFIG, **settings):
    settings = LoaderConfig(**{"batch_size": 4, "layout": "packed", "num_threads": 0, **settings})
    plan = Packed(token_grids(shapes, PATCH), PATCH, config, settings.batch_size)
    return Loader(Source(shapes), to_arrays, settings, host, hosts, plan), plan


def clips_of(batch):
    """The numbers of the clips in each row."""
    used = batch["text_segment_ids"] > 0
    return [tuple(row[mask, 0]) for row, mask in zip(batch["text_ids"], used)]


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("patch", [(1, 1, 1), (1, 2, 2), (2, 3, 1), (3, 2, 6)])
def test_patches_are_those_of_the_backbone(patch):
    latents = np.random.default_rng(0).normal(size=(6, 6, 12, 5)).astype(np.float32)
    tokens = fold(latents, patch)
    np.testing.assert_array_equal(tokens, patchify.patchify(jnp.asarray(latents)[None], patch)[0])
    grid = patchify.token_grid(latents.shape, patch)
    np.testing.assert_array_equal(unfold(tokens, patch, grid), latents)
    np.testing.assert_array_equal(grid_positions(grid), patchify.grid_positions(grid))


def test_a_row_holds_its_clips_whole():
    batch = next(loader()[0])
    rows, row_tokens = 4, CONFIG.row_tokens
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "tokens": ((rows, row_tokens, CHANNELS * 4), "float32"),
        "positions": ((rows, row_tokens, 3), "float32"),
        "segment_ids": ((rows, row_tokens), "int32"),
        "text_ids": ((rows, 8, 2), "int32"),
        "text_segment_ids": ((rows, 8), "int32"),
    }
    for row, numbers in enumerate(clips_of(batch)):
        ids = batch["segment_ids"][row]
        for segment, number in enumerate(numbers, 1):
            mine = np.flatnonzero(ids == segment)
            np.testing.assert_array_equal(mine, np.arange(mine[0], mine[0] + len(mine)))
            latents = Source(SHAPES)[number]["latents"]
            grid = tuple(map(int, token_grids(SHAPES[number][None], PATCH)[0]))
            np.testing.assert_array_equal(unfold(batch["tokens"][row, mine], PATCH, grid), latents)
            np.testing.assert_array_equal(batch["positions"][row, mine], grid_positions(grid))
            assert batch["text_segment_ids"][row, segment - 1] == segment
        rest = ids == 0
        assert (np.diff(np.flatnonzero(rest)) == 1).all()
        assert not rest[: sum(ids > 0)].any()
        assert not batch["tokens"][row, rest].any()
        assert not batch["positions"][row, rest].any()
        assert (batch["text_ids"][row, len(numbers) :] == batch["text_ids"][row, 0]).all()
        assert not batch["text_segment_ids"][row, len(numbers) :].any()


def test_every_epoch_has_every_clip_once_in_other_rows():
    _, plan = loader(batch_size=1)
    epochs = [[plan.batch(e * plan.num_rows + k, 0)[0] for k in range(plan.num_rows)] for e in range(3)]
    for epoch, rows in enumerate(epochs):
        assert sorted(sample for row in rows for sample in row) == list(range(60 * epoch, 60 * (epoch + 1)))
    together = [{frozenset(sample % 60 for sample in row) for row in rows} for rows in epochs]
    assert len(together[0] & together[1]) < len(together[0]) / 3
    patterns = [
        collections.Counter(tuple(sorted(plan.groups[sample % 60] for sample in row)) for row in rows)
        for rows in epochs
    ]
    assert patterns[0] == patterns[1] == patterns[2]


@pytest.mark.parametrize("row_tokens", [3072, 4096, 8192])
@pytest.mark.parametrize("max_segments", [32, 64])
def test_less_than_five_percent_is_wasted(row_tokens, max_segments):
    grids = token_grids(mixed_shapes(5000), PATCH)
    plan = Packed(grids, PATCH, PackingConfig(row_tokens, max_segments), 4)
    used = [sum(np.prod(grids[clip]) for clip in plan.batch(4 * k, 3)[0]) for k in range(plan.num_rows // 4)]
    assert max(used) <= row_tokens
    assert plan.fill > 0.985
    assert abs(np.mean(used) / row_tokens - plan.fill) < 0.02


def test_no_row_has_too_many_clips():
    for max_segments in (1, 2, 5):
        _, plan = loader(config=PackingConfig(3000, max_segments))
        rows = [plan.batch(4 * k, 1) for k in range(plan.num_batches)]
        assert max(len(row) for batch in rows for row in batch) == max_segments
        assert plan.num_rows >= 60 / max_segments


@pytest.mark.parametrize("seed", range(20))
def test_packing_keeps_to_its_bounds(seed):
    """On any lengths: everything is in one slot, no row is too long, and few rows are used."""
    rng = np.random.default_rng(seed)
    lengths = rng.choice(np.arange(1, 101), rng.integers(1, 30), replace=False)
    counts = rng.integers(1, 50, len(lengths))
    config = PackingConfig(int(rng.integers(100, 400)), int(rng.integers(1, 20)))
    slots, ends = pack(lengths, counts, config)
    np.testing.assert_array_equal(np.bincount(slots, minlength=len(lengths)), counts)
    rows = np.split(slots, ends[:-1])
    assert max(lengths[row].sum() for row in rows) <= config.row_tokens
    assert max(len(row) for row in rows) <= config.max_segments
    needed = max((lengths * counts).sum() / config.row_tokens, counts.sum() / config.max_segments)
    assert len(rows) <= 1.25 * needed + 2


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_same_rows(hosts):
    whole = take(loader()[0], 9)
    parts = [take(loader(host=host, hosts=hosts)[0], 9) for host in range(hosts)]
    joined = [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]} for batch in zip(*parts)
    ]
    assert_same(joined, whole)


@pytest.mark.parametrize("position", [0, 2, 7])
def test_resuming_on_other_hosts(position):
    whole = take(loader(seed=3)[0], 12)
    first, _ = loader(host=1, hosts=2, seed=3, num_threads=2)
    take(first, position)
    state = json.loads(json.dumps(first.state()))
    first.close()
    parts = []
    for host in range(4):
        resumed, _ = loader(host=host, hosts=4, seed=3)
        resumed.restore(state)
        parts.append(take(resumed, 12 - position))
    rest = [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]} for batch in zip(*parts)
    ]
    assert_same(rest, whole[position:])


@pytest.mark.slow
def test_resuming_without_workers():
    whole = take(loader()[0], 5)
    first, _ = loader(num_workers=2, prefetch_batches=1)
    taken = take(first, 2)
    state = first.state()
    first.close()
    second, _ = loader()
    second.restore(state)
    assert_same(taken + take(second, 3), whole)


def test_one_epoch_leaves_out_whole_rows_and_says_so(caplog):
    batches, plan = loader(repeat=False, shuffle=False)
    assert len(take(batches, 100)) == plan.num_batches
    assert f"{plan.num_rows % 4} of {plan.num_rows} rows do not fill a batch" in caplog.text


def test_mistakes_are_named():
    state = loader()[0].state()
    with pytest.raises(ValueError, match="state has plan 'packed"):
        loader(config=PackingConfig(3000, 9))[0].restore(state)
    with pytest.raises(ValueError, match=r"clips are longer than row_tokens=500, .* give 2448 or more"):
        loader(config=PackingConfig(500, 9))
    with pytest.raises(ValueError, match=r"patch=\(1, 3, 2\) does not divide the latents"):
        token_grids(SHAPES, (1, 3, 2))
    with pytest.raises(ValueError, match="row_tokens is 0"):
        PackingConfig(0)
    with pytest.raises(ValueError, match="no clips to pack"):
        Packed(np.zeros((0, 3), int), PATCH, CONFIG, 1)
