# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One small spacetime DiT on the known world.

python -m experiments.train --config=configs/known_world.py --workdir=runs/known_world
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """Every section with its defaults."""
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "source": "known_world",  # or folder, tfds
                "path": "",  # of the folder, or the name of the TFDS data set
                "tfds_dir": placeholder(str),
                "seed": 0,
                "level": 0,
                "num_clips": 8192,  # 0: fresh clips for ever
                "num_frames": 9,
                "height": 32,
                "width": 32,
                "fps": 8.0,
                "caption_weights": {"dense": 1.0, "short": 0.0, "tag": 0.0},
                "folder": {"stride_seconds": placeholder(float), "max_windows_per_file": 1000},
            },
            "loader": {"batch_size": 8, "num_workers": 0},
            "autoencoder": {
                "path": "known_world",  # comes with the package; or a safetensors file
                "train": False,  # on this data, first
                "steps": 3000,
                "batch_size": 8,
                "model": {
                    "temporal_compression": 4,
                    "spatial_compression": 8,
                    "latent_channels": 16,
                    "patch_size": 2,
                    "encoder_widths": (16, 48, 80),
                    "decoder_widths": (24, 48, 96),
                    "encoder_blocks": (0, 1, 1),
                    "decoder_blocks": (2, 2, 1),
                },
            },
            "autoencoder_loss": {},
            "autoencoder_optimizer": {"lr": 4e-3, "warmup_steps": 200, "schedule": "cosine"},
            "text": {"max_bytes": 96, "width": 32, "depth": 1, "num_heads": 2, "stride": 4},
            "backbone": {
                "name": "dit",
                "in_channels": 16,
                "width": 32,
                "depth": 2,
                "num_heads": 2,
                "text_width": 32,
                "patch": (1, 1, 1),
                "attention": "joint",
                "time_features": 64,
                "remat": "none",
                "unroll": 2,
                "dtype": "float32",
            },
            "objective": {
                "output": "residual",
                "time_law": "uniform",
                "shift": 1.0,
                "caption_dropout": 0.1,
                "known": {"none": 1.0},
            },
            "sampler": {"method": "heun", "num_steps": 16, "guidance_scale": 2.5},
            "optimizer": {"lr": 1e-2, "warmup_steps": 20, "schedule": "cosine"},
            "train": {"total_steps": 1000, "chunk_steps": 20, "save_every_steps": 1000},
            "mesh": {"data": -1, "fsdp": 1, "model": 1, "seq": 1},
            "evaluate": {"num_clips": 128, "num_times": 8, "seed": 0},
        }
    )
