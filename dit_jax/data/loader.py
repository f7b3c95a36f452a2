# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Batches for this host, in an order that depends on the seed alone.

Everything random is decided in one global order (see `plan` for what is in batch k, and the random transform
of a sample by its number), and only then are a host's rows cut out, so the number of hosts, workers and
threads cannot change what is in a batch. A position is how far that order has been taken: to resume is to
start reading there.
"""

import dataclasses
import gc
import hashlib
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np
from absl import flags, logging
from grain.sources import RandomAccessDataSource

from dit_jax.data.batches import DAMAGED, HostBatches, Transform, samples
from dit_jax.data.plan import Bucketed, OneSize, Plan
from dit_jax.data.quarantine import DamagedClip, Quarantine, check_damage
from dit_jax.data.workers import StoppedWorkers, begin_worker

LAYOUTS = (OneSize.name, Bucketed.name, "packed")


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
    """How to batch.

    Attributes:
      batch_size: clips or packed rows in a batch, over all hosts; buckets have their own.
      layout: how clips of several sizes share batches: `fixed` (there is one size), `buckets` or `packed`.
      seed: of the shuffle and of the random transform.
      shuffle: anew each epoch; an endless source keeps its own order, which is random already.
      repeat: for ever; else one epoch, and the clips that do not fill a last batch are left out.
      num_workers: processes that make batches; 0 makes them in this process, best unless decoding is slow.
        They are spawned, so a script that has them guards its entry with `if __name__ == "__main__"`.
      num_threads: per process; 0 makes each batch when it is asked for.
      prefetch_batches: made ahead, per process.
    """

    batch_size: int
    layout: str = "fixed"
    seed: int = 0
    shuffle: bool = True
    repeat: bool = True
    num_workers: int = 0
    num_threads: int = 1
    prefetch_batches: int = 4

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("num_workers", 0), ("num_threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout is {self.layout!r}; give one of {', '.join(LAYOUTS)}")
        if self.prefetch_batches < max(1, self.num_threads):
            raise ValueError(
                f"prefetch_batches is {self.prefetch_batches}; give {max(1, self.num_threads)} or more, "
                f"for {self.num_threads} threads"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; give one from 0 to 2**32 - 1")


class Loader:
    """Iterates over dicts of numpy arrays, this host's rows of each global batch stacked.

    Global batch k holds the same clips in the same order for any number of hosts; host h of n gets the h-th
    of n contiguous blocks of its rows. A damaged clip is replaced by another and counted, see `quarantine`.

    Args:
      source: random access to clips or latents elements; picklable when there are workers.
      transform: `(element, generator) -> dict of arrays`, such as `ToElement`.
      config: see `LoaderConfig`.
      process_index: this host, from 0.
      process_count: hosts.
      plan: what is in which batch, for clips of several sizes; by default they are of one.

    Attributes:
      damaged: numbers of the clips that were found damaged, in what this host has read.

    Raises:
      ValueError: when the batch does not divide among the hosts, or one epoch does not fill a batch.
    """

    def __init__(
        self,
        source: RandomAccessDataSource,
        transform: Transform,
        config: LoaderConfig,
        process_index: int = 0,
        process_count: int = 1,
        plan: Plan | None = None,
    ):
        plan = OneSize(len(source), config.batch_size) if plan is None else plan
        _check(len(source), config, plan, process_index, process_count)
        self._config, self._plan = config, plan
        self._hosts = process_index, process_count
        shuffle_seed, transform_seed = map(int, np.random.SeedSequence(config.seed).generate_state(2))
        self._seed = shuffle_seed if config.shuffle else None
        self._samples = samples(Quarantine(source, plan.groups), transform, transform_seed)
        self._identity = {"seed": config.seed, "shuffle": config.shuffle, "num_clips": len(source)}
        self._identity |= {"digest": _digest(source), "plan": f"{plan.name} {plan.digest}".strip()}
        self._position = 0
        self._batches = self._watch = None
        self.damaged: set[int] = set()

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """This host's rows of the next global batch.

        Raises:
          StopIteration: after the last full batch of the epoch, if not repeating.
          ValueError: too many clips are damaged, see `check_damage`.
          RuntimeError: a worker was killed, or was stopped for `workers.STOPPED_SECONDS`.
        """
        if self._batches is None:
            self._batches = self._open()
        try:
            batch = next(self._batches, None)
            if batch is not None:
                self._count_damaged(batch.pop(DAMAGED))
        except BaseException as error:
            killed = list(self._watch.killed) if self._watch else []
            self.close()  # Grain would go on after the batch that failed, and the position would be wrong
            if killed:
                raise RuntimeError(f"{'; '.join(killed)}: start again from the last checkpoint") from error
            raise
        if batch is None:
            self.close()
            raise StopIteration
        self._position += self._plan.stride
        # Workers hand over shared memory, which is not freed if a batch outlives the program's end.
        return {name: np.array(array) for name, array in batch.items()} if self._config.num_workers else batch

    def state(self) -> dict[str, Any]:
        """The position and what it refers to, as JSON; the same on every host."""
        return {"position": self._position, **self._identity}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues after the batches that `state` had seen, with any number of hosts and workers.

        Raises:
          ValueError: if the state is of another seed, shuffle, data set or plan.
        """
        state = {"plan": OneSize.name, **state}  # of before there were others
        for name, mine in self._identity.items():
            if state.get(name) != mine and not (name == "digest" and None in (mine, state.get(name))):
                raise ValueError(
                    f"the loader's state has {name} {state.get(name)!r} and this loader has {mine!r}; "
                    "restore with the seed, the data set and the sizes that the run began with"
                )
        self.close()
        self._position = int(state["position"])

    def counts(self) -> dict[str, int]:
        """What a run should tell of its data beside its losses: `damaged_clips`, replaced by others."""
        return {"damaged_clips": len(self.damaged)}

    def close(self) -> None:
        """Ends threads and worker processes; the next batch starts them again."""
        if self._batches is None:
            return
        self._batches.close()
        self._batches = None
        if self._watch:
            self._watch.close()
            self._watch = None
        if self._config.num_workers:
            gc.collect()  # Grain leaves each worker's last batch, shared memory, in a cycle of references

    def _count_damaged(self, numbers: np.ndarray) -> None:
        self.damaged.update(numbers.tolist())
        check_damage(self.damaged, self._plan.num_clips)

    def _open(self) -> grain.DatasetIterator:
        config = self._config
        batches = HostBatches(
            self._samples, self._plan, self._seed, self._position, config.repeat, *self._hosts
        )
        read = grain.ReadOptions(num_threads=config.num_threads, prefetch_buffer_size=config.prefetch_batches)
        dataset = batches.to_iter_dataset(read)
        if config.num_workers:
            # Workers are told Grain's flags, which cannot be read before absl has parsed the command line:
            # a notebook or a script without absl.app never does.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(config.num_workers, config.prefetch_batches)
            dataset = dataset.mp_prefetch(options, begin_worker)
            self._watch = StoppedWorkers()
        return iter(dataset)


def _check(num_clips: int, config: LoaderConfig, plan: Plan, process_index: int, process_count: int) -> None:
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index is {process_index}; give one below process_count={process_count}")
    if num_clips == 0:
        raise ValueError("the source has no clips; give one that has")
    if plan.name != config.layout:
        raise ValueError(
            f"layout is {config.layout!r} and the plan is {plan.name!r}: give a plan of that layout"
        )
    if plan.num_clips != num_clips:
        raise ValueError(f"the plan is of {plan.num_clips} clips and the source has {num_clips}: plan anew")
    if plan.batch_multiple % process_count:
        name = "batch_multiple" if isinstance(plan, Bucketed) else "batch_size"
        raise ValueError(
            f"{name} {plan.batch_multiple} does not divide among {process_count} hosts; give a multiple"
        )
    if config.repeat:
        return
    if not plan.num_batches:
        raise ValueError(
            f"batch_size {config.batch_size} is more than the {num_clips} clips of the one epoch; lower it"
        )
    if plan.left_out:
        logging.warning("%s do not fill a batch and are left out", plan.left_out)


def _digest(source: RandomAccessDataSource) -> str | None:
    """Tells data sets of one length apart by the names of three clips; None where one of them is damaged."""
    try:
        elements = [source[index] for index in (0, len(source) // 2, len(source) - 1)]
    except DamagedClip:
        return None
    keys = [element["key"] if isinstance(element, Mapping) else element.key for element in elements]
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
