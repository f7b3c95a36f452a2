# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Dense captions of a data set's clips, for runs with --config.data.recaptions=WORKDIR. Resumable.

python -m experiments.recaption --config=configs/clips.py --config.data.path=DIR --workdir=runs/recaptions \
    --config.recaption.captioner=endpoint --config.endpoint.base_url=http://localhost:8000/v1 \
    --config.endpoint.model=MODEL
"""

import sys

from absl import flags
from rich.console import Console

from dit_jax.recaption import recaption
from experiments.cli import define_config, run

CONFIG = define_config("known_world.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/recaptions", "folder for recaptions.json and the shards")


def main() -> None:
    failed = recaption(CONFIG.value, WORKDIR.value)
    if failed:
        print(
            f"{len(failed)} clips failed, such as {failed[0]['key']}: {failed[0]['error']}; the same command "
            "tries them again",
            file=sys.stderr,
        )
    Console().print(f"written: {WORKDIR.value}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
