# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import collections
import itertools
import json
import threading

import numpy as np
import pytest

from dit_jax.data.clip import Clip
from dit_jax.data.loader import Loader, LoaderConfig
from dit_jax.data.order import ENDLESS, permuted


class Numbered:
    """Clip i is i everywhere."""

    def __init__(self, length, broken=None, prefix="clip"):
        self.length, self.broken, self.prefix = length, broken, prefix

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.broken:
            raise ValueError(f"clip {index} is damaged")
        video = np.full((1, 2, 2, 3), index % 256, np.uint8)
        return Clip(video, 8.0, {"dense": "text"}, f"{self.prefix}/{index}")


def numbered(clip, rng):
    """The clip's number, and a draw that is different for each sample."""
    return {"number": np.array(int(clip.key.split("/")[1])), "draw": np.array(rng.random())}


def loader(length=20, host=0, hosts=1, **config):
    config = {"batch_size": 4, "num_threads": 0, **config}
    return Loader(Numbered(length), numbered, LoaderConfig(**config), host, hosts)


def take(batches, count):
    taken = list(itertools.islice(batches, count))
    return np.stack([batch["number"] for batch in taken]), np.stack([batch["draw"] for batch in taken])


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right))


def test_each_epoch_has_each_clip_once_in_another_order():
    numbers, draws = take(loader(), 15)
    epochs = numbers.reshape(3, 20)
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len(np.unique(draws)) == 60


def test_epochs_go_on_within_a_batch():
    numbers, _ = take(loader(length=6), 6)
    for epoch in numbers.reshape(4, 6):
        assert sorted(epoch) == list(range(6))
    numbers, _ = take(loader(length=3, batch_size=9), 2)  # a batch of three epochs
    assert all(sorted(epoch) == [0, 1, 2] for epoch in numbers.reshape(6, 3))


def test_the_seed_decides_everything():
    assert same(take(loader(seed=3), 9), take(loader(seed=3), 9))
    numbers = [tuple(take(loader(seed=seed), 5)[0].ravel()) for seed in range(20)]
    assert len(set(numbers)) == 20
    draws = np.concatenate([take(loader(seed=seed), 5)[1].ravel() for seed in range(20)])
    assert len(np.unique(draws)) == draws.size
    first_epoch_of_the_next, second_epoch = numbers[1], tuple(take(loader(), 10)[0][5:].ravel())
    assert first_epoch_of_the_next != second_epoch


def test_shuffling_is_uniform():
    """Over seeds, every clip is as often at every place."""
    counts = collections.Counter(
        (place, number)
        for seed in range(1000)
        for place, number in enumerate(take(loader(5, seed=seed, batch_size=5), 1)[0][0])
    )
    chi_squared = sum((counts[cell] - 200) ** 2 / 200 for cell in itertools.product(range(5), repeat=2))
    assert chi_squared < 39.3  # 16 degrees of freedom: one in a thousand


def test_a_large_source_is_shuffled():
    length = 2**16 + 3
    epoch, first = np.array([permuted(k, length, seed=0) for k in range(length)]).T
    assert not epoch.any()
    assert sorted(first) == list(range(length))
    assert np.corrcoef(first, np.arange(length))[0, 1] < 0.02
    assert first[:100].tolist() != [permuted(length + k, length, seed=0)[1] for k in range(100)]


def test_without_shuffling():
    numbers, draws = take(loader(length=6, shuffle=False), 3)
    np.testing.assert_array_equal(numbers.ravel(), np.arange(12) % 6)
    assert len(np.unique(draws)) == 12


def test_an_endless_source_keeps_its_order():
    numbers, _ = take(loader(length=ENDLESS), 3)
    np.testing.assert_array_equal(numbers.ravel(), np.arange(12))


@pytest.mark.parametrize("hosts", [1, 2, 3, 6])
def test_hosts_get_contiguous_rows_of_the_same_batches(hosts):
    whole = take(loader(batch_size=6), 7)
    parts = [take(loader(batch_size=6, host=host, hosts=hosts), 7) for host in range(hosts)]
    assert parts[0][0].shape == (7, 6 // hosts)
    assert same(whole, [np.concatenate(rows, axis=1) for rows in zip(*parts)])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads):
    batches = loader(num_threads=threads)
    assert same(take(batches, 12), take(loader(), 12))
    batches.close()


@pytest.mark.parametrize(("before", "after"), [((0, 1), (0, 1)), ((0, 2), (2, 1)), ((1, 1), (0, 2))])
@pytest.mark.parametrize("position", [0, 3, 5, 7])
def test_resuming_is_exact_on_other_hosts_and_threads(before, after, position):
    whole = take(loader(seed=5), 12)
    (threads, hosts), (other_threads, other_hosts) = before, after
    first = loader(seed=5, hosts=hosts, num_threads=threads)
    take(first, position) if position else None
    state = json.loads(json.dumps(first.state()))
    first.close()
    parts = []
    for host in range(other_hosts):
        resumed = loader(seed=5, host=host, hosts=other_hosts, num_threads=other_threads)
        next(resumed)  # restoring also leaves a place it was at
        resumed.restore(state)
        parts.append(take(resumed, 12 - position))
        assert resumed.state()["position"] == 48
        resumed.close()
    rest = [np.concatenate(rows, axis=1) for rows in zip(*parts)]
    assert same([values[position:] for values in whole], rest)


def test_resuming_with_another_batch_size():
    whole, _ = take(loader(), 6)
    first = loader()
    take(first, 3)
    resumed = loader(batch_size=6)
    resumed.restore(first.state())
    np.testing.assert_array_equal(take(resumed, 2)[0].ravel(), whole.ravel()[12:])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (loader(seed=1), "seed 0 and this loader has 1"),
        (loader(length=21), "num_clips 20 and this loader has 21"),
        (loader(shuffle=False), "shuffle True and this loader has False"),
        (Loader(Numbered(20, prefix="x"), numbered, LoaderConfig(4)), "digest"),
    ],
)
def test_a_state_of_another_run_is_refused(other, message):
    with pytest.raises(ValueError, match=message) as caught:
        other.restore(loader().state())
    assert "\n" not in str(caught.value)


def test_one_epoch(caplog):
    batches = loader(length=10, repeat=False)
    assert "2 of 10 clips do not fill a batch" in caplog.text
    numbers, _ = take(batches, 100)
    assert numbers.shape == (2, 4)
    assert len(np.unique(numbers)) == 8
    assert next(batches, None) is None
    batches.restore({**batches.state(), "position": 4})
    np.testing.assert_array_equal(take(batches, 100)[0], numbers[1:])


@pytest.mark.parametrize("threads", [0, 2])
def test_a_failure_does_not_lose_the_place(threads):
    source = Numbered(20, broken=5)
    batches = Loader(source, numbered, LoaderConfig(4, shuffle=False, num_threads=threads))
    np.testing.assert_array_equal(next(batches)["number"], [0, 1, 2, 3])
    for _ in range(2):
        with pytest.raises(ValueError, match="clip 5 is damaged"):
            next(batches)
        assert batches.state()["position"] == 4
    source.broken = None
    np.testing.assert_array_equal(next(batches)["number"], [4, 5, 6, 7])
    batches.close()


def test_closing_ends_threads():
    before = set(threading.enumerate())
    batches = loader(num_threads=2)
    whole, _ = take(loader(), 4)
    np.testing.assert_array_equal(take(batches, 2)[0], whole[:2])
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()
    np.testing.assert_array_equal(take(batches, 2)[0], whole[2:])  # and it goes on where it was
    batches.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: loader(batch_size=4, hosts=3), "batch_size 4 does not divide among 3 hosts"),
        (lambda: loader(length=3, repeat=False), "batch_size 4 is more than the 3 clips"),
        (lambda: loader(length=0), "no clips"),
        (lambda: loader(host=2, hosts=2), "process_index is 2; give one below process_count=2"),
        (lambda: LoaderConfig(0), "batch_size is 0"),
        (lambda: LoaderConfig(1, seed=-1), "seed is -1"),
        (lambda: LoaderConfig(1, num_workers=-1), "num_workers is -1"),
        (lambda: LoaderConfig(1, num_threads=8, prefetch_batches=4), "prefetch_batches is 4; give 8"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _with_workers(workers, count, state=None, **config):
    batches = loader(num_workers=workers, prefetch_batches=1, **config)
    if state:
        batches.restore(state)
    taken = take(batches, count)
    after = batches.state()
    batches.close()
    return taken, after


def test_a_worker_process_changes_nothing():
    whole = take(loader(), 7)
    first, state = _with_workers(1, 3)
    assert same(first, [values[:3] for values in whole])
    rest, _ = _with_workers(0, 4, state)
    assert same(rest, [values[3:] for values in whole])


@pytest.mark.slow
def test_any_number_of_worker_processes_changes_nothing():
    whole = take(loader(), 7)
    first, state = _with_workers(2, 3)
    rest, _ = _with_workers(3, 4, state)
    assert same([np.concatenate(pair) for pair in zip(first, rest)], whole)
    epoch, _ = _with_workers(3, 100, length=11, repeat=False)  # two batches among three workers
    assert same(epoch, take(loader(length=11, repeat=False), 100))


@pytest.mark.slow
def test_the_order_is_one_for_any_hosts_and_workers_in_turn():
    """Each part of a run goes on where other hosts and workers left off."""
    whole, state, taken = take(loader(), 8), None, []
    for hosts, workers in ((1, 1), (2, 2), (4, 0), (1, 2)):
        parts = [_with_workers(workers, 2, state, host=host, hosts=hosts) for host in range(hosts)]
        assert len({json.dumps(after) for _, after in parts}) == 1
        state = json.loads(json.dumps(parts[0][1]))
        taken.append([np.concatenate(rows, axis=1) for rows in zip(*(part for part, _ in parts))])
    assert same([np.concatenate(pair) for pair in zip(*taken)], whole)
