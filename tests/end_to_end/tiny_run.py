# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run of twenty steps, and of eight for the autoencoder under it."""

from ml_collections import ConfigDict

from configs import known_world


def get_config() -> ConfigDict:
    """Clips of five frames of 16 x 16 pixels."""
    config = known_world.get_config()
    config.data.update(num_clips=40, num_frames=5, height=16, width=16)
    config.loader.batch_size = 4
    config.text.update(max_bytes=32, width=8, num_heads=1)
    config.backbone.update(width=8, depth=1, num_heads=1, text_width=8, time_features=8, unroll=1)
    config.evaluate.update(num_clips=4, num_times=2)
    config.train.update(total_steps=20, chunk_steps=5, save_every_steps=10)
    config.autoencoder.update(train=True, steps=8, batch_size=4)
    config.autoencoder.model.update(
        encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0, 1)
    )
    return config
