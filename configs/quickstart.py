# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The main job, small: an isoFLOP sweep on the known world, its law, and a held-out budget.

python -m experiments.quickstart --config=configs/quickstart.py --workdir=runs/quickstart
"""

from ml_collections import ConfigDict

from configs import known_world


def get_config() -> ConfigDict:
    """The known world's config and a sweep."""
    config = known_world.get_config()
    config.train.chunk_steps = 10
    # 0: the ladder sets it
    config.backbone.update(width=0, depth=0, num_heads=0, text_width=0)
    config.text.update(width=0, num_heads=0)
    config.train.update(total_steps=0, save_every_steps=0)
    config.sweep = ConfigDict(
        {
            "budgets": (1e10, 2e10, 4e10, 8e10, 1.6e11),
            "widths": (12, 16, 20, 24, 32, 40, 48),
            "min_steps": 120,
            "max_steps": 3200,
            "seeds": 1,
            "heldout_factor": 3.0,
            "heldout_widths": 2,
            "num_samples": 128,
            "num_shown": 6,
            "workers": 0,
        }
    )
    return config
