# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep small enough for a test: seconds of training, and every stage of the main job."""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """Nine runs of at most a hundred steps, on clips of five frames of 16 x 16 pixels."""
    config = quickstart.get_config()
    config.data.update(num_clips=96, num_frames=5, height=16, width=16)
    config.loader.batch_size = 4
    config.train.chunk_steps = 2
    config.text.max_bytes = 32
    config.backbone.update(depth=1, time_features=16)
    config.sampler.num_steps = 2
    config.evaluate.update(num_clips=8, num_times=2)
    config.autoencoder.update(steps=20, batch_size=4)
    config.autoencoder.model.update(
        encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0, 1)
    )
    config.sweep.update(
        budgets=(4e7, 8e7, 1.6e8),
        widths=(12, 16, 20),
        min_steps=10,
        max_steps=400,
        num_samples=8,
        num_shown=2,
        heldout_widths=1,
    )
    return config
