# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A process that reads batches from loader workers: `python loader_child.py NUM_WORKERS`.

Prints the workers' process ids after the first batches, and the error that ends it.
"""

import multiprocessing
import sys
import time

import numpy as np

from dit_jax.data.clip import Clip
from dit_jax.data.loader import Loader, LoaderConfig


class Source:
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return Clip(np.zeros((4, 64, 64, 3), np.uint8), 8.0, {}, str(index))


def to_arrays(clip, rng):
    return {"video": clip.video}


if __name__ == "__main__":
    config = LoaderConfig(8, num_workers=int(sys.argv[1]), prefetch_batches=2)
    batches = Loader(Source(), to_arrays, config)
    for _ in range(2 * config.num_workers):
        next(batches)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    try:
        for _ in batches:
            time.sleep(0.01)
    except RuntimeError as error:
        print("error:", error, flush=True)
        sys.exit(1)
