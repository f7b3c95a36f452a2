# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The autoencoder that comes with the package, for the known world.

    XLA_FLAGS=--xla_cpu_multi_thread_eigen=false python -m experiments.train \\
        --config=configs/autoencoder.py --workdir=runs/autoencoder --autoencoder_only

takes a quarter of an hour on one core. See dit_jax/autoencoder/weights/README.md for what it reached.
"""

from ml_collections import ConfigDict

from configs import known_world


def get_config() -> ConfigDict:
    """The known world's config, with fresh clips for ever and a longer training of the autoencoder."""
    config = known_world.get_config()
    config.data.update(level=1, num_clips=0)  # one or two shapes of any size: level 0 is a part of it
    config.autoencoder.update(train=True, steps=7000)
    return config
