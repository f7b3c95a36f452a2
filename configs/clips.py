# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The quickstart's sweep, smaller, on a folder of real videos, with an autoencoder trained on them.

    python -m experiments.quickstart --config=configs/clips.py --config.data.path=DIR --workdir=runs/clips

takes about five minutes on two cores for a few short videos.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """Overlapping windows, a short training of the autoencoder, and budgets a quarter of the quickstart's."""
    config = quickstart.get_config()
    config.data.update(source="folder", path="clips")
    config.data.folder.stride_seconds = 0.1
    config.autoencoder.update(train=True, steps=1000)
    config.sweep.update(
        budgets=(4e9, 8e9, 1.6e10, 3.2e10), widths=(12, 16, 20, 24, 32), min_steps=50, num_samples=16
    )
    return config
