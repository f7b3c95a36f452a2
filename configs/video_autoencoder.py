# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An autoencoder of real video, trained on a folder of it.

    python -m experiments.train --config=configs/video_autoencoder.py --config.data.path=DIR \\
        --workdir=runs/video_autoencoder --autoencoder_only
    python -m experiments.evaluate --config=configs/video_autoencoder.py --config.data.path=DIR \\
        --workdir=runs/video_autoencoder

`--config=configs/video_autoencoder.py:NAME` takes another compression, NAME being one of `PRESETS`.

On one core, with XLA_FLAGS=--xla_cpu_multi_thread_eigen=false, the default trains in 5 minutes of CPU time, and in 14
on a core three times as slow beside other work.
"""

from ml_collections import ConfigDict

from configs import known_world

# Frames x pixels x pixels to a latent cell. Widths are those of a CPU; on an accelerator take four times as wide.
PRESETS = {
    "4x8x8": dict(
        temporal_compression=4,
        spatial_compression=8,
        latent_channels=16,
        patch_size=4,
        encoder_widths=(32, 64, 96),
        decoder_widths=(64, 96, 128),
        encoder_blocks=(1, 1, 1),
        decoder_blocks=(1, 1, 1),
    ),
    "1x8x8": dict(
        temporal_compression=1,
        spatial_compression=8,
        latent_channels=16,
        patch_size=4,
        encoder_widths=(32, 64),
        decoder_widths=(64, 96),
        encoder_blocks=(1, 1),
        decoder_blocks=(1, 1),
    ),
    "8x8x8": dict(
        temporal_compression=8,
        spatial_compression=8,
        latent_channels=16,
        patch_size=4,
        encoder_widths=(32, 64, 96, 128),
        decoder_widths=(64, 96, 128, 160),
        encoder_blocks=(1, 1, 1, 1),
        decoder_blocks=(1, 1, 1, 1),
    ),
    "8x32x32": dict(
        temporal_compression=8,
        spatial_compression=32,
        latent_channels=128,
        patch_size=4,
        encoder_widths=(32, 64, 128, 192),
        decoder_widths=(64, 96, 160, 256),
        encoder_blocks=(1, 1, 1, 1),
        decoder_blocks=(1, 1, 1, 1),
    ),
}


def get_config(compression: str = "4x8x8") -> ConfigDict:
    """A folder's overlapping windows, the end of each file held out, and a training on crops.

    Raises:
      ValueError: an unknown compression.
    """
    if compression not in PRESETS:
        raise ValueError(f"compression {compression!r} is not one of {', '.join(PRESETS)}")
    config = known_world.get_config()
    config.data.update(source="folder", path="clips", num_frames=9, height=64, width=64, fps=25.0)
    config.data.folder.stride_seconds = 0.04
    # Crops lie anywhere: cells see every alignment of the picture, and little video is not learnt by heart.
    config.autoencoder.update(train=True, steps=4500, batch_size=6, stages=({"side": 48},))
    config.autoencoder.model.update(PRESETS[compression])
    config.autoencoder_loss.update(latent_kl=0.01, latent_noise=0.05)
    config.autoencoder_optimizer.update(lr=4e-3, warmup_steps=100)
    config.backbone.in_channels = config.autoencoder.model.latent_channels
    return config
