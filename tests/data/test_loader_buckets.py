# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import collections
import itertools
import json

import numpy as np
import pytest

from dit_jax.data.buckets import BucketConfig, bucket_latents
from dit_jax.data.loader import Loader, LoaderConfig

SIZES = [(1, 4, 4, 2), (3, 4, 8, 2), (5, 8, 4, 2)]
SHAPES = np.array([SIZES[k] for k in np.random.default_rng(0).choice(3, 101, p=[0.6, 0.35, 0.05])])
CONFIG = BucketConfig(tokens_per_batch=192, batch_multiple=4)  # batches of 48, 8 and 4


class Source:
    """Latents full of their own number."""

    def __init__(self, length=101):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {"latents": np.full(SHAPES[index], index, np.float32), "captions": {}, "key": str(index)}


def to_arrays(element, rng):
    return {"latents": element["latents"], "draw": np.array(rng.random())}


def make(host=0, hosts=1, config=CONFIG, **settings):
    settings = LoaderConfig(**{"batch_size": 1, "layout": "buckets", "num_threads": 0, **settings})
    plan = bucket_latents(SHAPES, (1, 2, 2), config).plan(config.batch_multiple)
    return Loader(Source(), to_arrays, settings, host, hosts, plan), plan


def take(batches, count):
    return list(itertools.islice(batches, count))


def numbers(batch):
    return batch["latents"][:, 0, 0, 0, 0].astype(int)


def joined(parts):
    return [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]} for batch in zip(*parts)
    ]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_a_batch_is_of_one_bucket_and_all_have_as_many_tokens():
    shapes = {batch["latents"].shape for batch in take(make()[0], 60)}
    assert shapes == {(48, 1, 4, 4, 2), (8, 3, 4, 8, 2), (4, 5, 8, 4, 2)}


def test_every_clip_is_seen_as_often_in_the_long_run():
    """In each bucket's own order every clip comes once before any comes again."""
    seen = collections.defaultdict(list)
    for batch in take(make(seed=4)[0], 400):
        seen[batch["latents"].shape[1:]].extend(numbers(batch))
    rates = []
    for shape, order in seen.items():
        members = np.flatnonzero((shape == SHAPES).all(1))
        for first in range(0, len(order) - len(members), len(members)):
            assert sorted(order[first : first + len(members)]) == list(members)
        rates.append(len(order) / len(members))
    assert max(rates) / min(rates) < 1.05


def test_buckets_are_mixed_and_the_seed_decides_how():
    sequences = [tuple(len(batch["latents"]) for batch in take(make(seed=seed)[0], 40)) for seed in (0, 0, 1)]
    assert sequences[0] == sequences[1] != sequences[2]
    changes = sum(a != b for a, b in itertools.pairwise(sequences[0]))
    assert changes > 8


def test_draws_differ_between_epochs():
    draws = np.concatenate([batch["draw"] for batch in take(make()[0], 60)])
    assert len(np.unique(draws)) == len(draws)


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_same_batches(hosts):
    parts = [take(make(host, hosts)[0], 25) for host in range(hosts)]
    assert_same(joined(parts), take(make()[0], 25))


@pytest.mark.parametrize("position", [0, 1, 9, 22])
def test_resuming_on_other_hosts_and_threads(position):
    whole = take(make(seed=2)[0], 30)
    first, _ = make(1, 2, seed=2, num_threads=2)
    take(first, position)
    state = json.loads(json.dumps(first.state()))
    first.close()
    parts = []
    for host in range(4):
        resumed, _ = make(host, 4, seed=2)
        resumed.restore(state)
        parts.append(take(resumed, 30 - position))
    assert_same(joined(parts), whole[position:])


def test_any_place_is_found_at_once():
    _, plan = make()
    far = plan.batch(10**9, 0)
    assert len(far) in (48, 8, 4)
    assert {plan.groups[row[0] % 101] for row in far} == {plan.groups[far[0][0] % 101]}


def test_one_epoch(caplog):
    batches, plan = make(repeat=False)
    taken = take(batches, 100)
    everything = np.concatenate([numbers(batch) for batch in taken])
    assert len(taken) == plan.num_batches
    assert len(np.unique(everything)) == len(everything)
    assert f"{101 - len(everything)} of 101 clips do not fill a batch" in caplog.text


@pytest.mark.slow
def test_workers_change_nothing():
    whole = take(make()[0], 6)
    first, _ = make(num_workers=2, prefetch_batches=1)
    taken = take(first, 3)
    second, _ = make()
    second.restore(first.state())
    first.close()
    assert_same(taken + take(second, 3), whole)


def test_mistakes_are_named():
    state = make()[0].state()
    other = BucketConfig(tokens_per_batch=400, batch_multiple=4)
    with pytest.raises(ValueError, match="state has plan 'buckets"):
        make(config=other)[0].restore(state)
    with pytest.raises(ValueError, match="state has plan 'fixed'"):
        make()[0].restore({name: value for name, value in state.items() if name != "plan"})
    with pytest.raises(ValueError, match="batch_multiple 4 does not divide among 3 hosts"):
        make(0, 3)
    with pytest.raises(ValueError, match="plan is of 101 clips and the source has 50"):
        Loader(Source(50), to_arrays, LoaderConfig(1, "buckets"), plan=make()[1])
