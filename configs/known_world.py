# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One small spacetime DiT on the known world.

python -m experiments.train --config=configs/known_world.py --workdir=runs/known_world
"""

from dataclasses import asdict

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from dit_jax.autoencoder.discriminator import DiscriminatorConfig
from dit_jax.autoencoder.losses import AutoencoderLossConfig
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.data.buckets import BucketConfig
from dit_jax.data.packing import PackingConfig
from dit_jax.data.recaptions import RecaptionConfig
from dit_jax.data.vision_endpoint import VisionEndpointConfig
from dit_jax.diffusion.known import TASKS
from dit_jax.diffusion.objective import ObjectiveConfig
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.evaluate.loss_grid import LossGridConfig
from dit_jax.mesh import MeshConfig
from dit_jax.text.byte import ByteTextConfig
from dit_jax.text.frozen import FrozenTextConfig
from dit_jax.train.loop import LoopConfig
from dit_jax.train.optimizer import OptimizerConfig


def get_config() -> ConfigDict:
    """Every section with its defaults."""
    return ConfigDict(
        {
            "seed": 0,
            "init": "",  # begin with the parameters of a run (its folder) or of a file of experiments.weights
            "stage": "latents",  # of experiments.encode; or clips
            "data": {
                "source": "known_world",  # or folder, tfds, clips
                "path": "",  # of the folder of videos or ingested clips, or the name of the TFDS data set
                "tfds_dir": placeholder(str),
                "seed": 0,
                "level": 0,
                "num_clips": 8192,  # 0: fresh clips for ever
                "num_frames": 9,
                "height": 32,
                "width": 32,
                "fps": 8.0,
                "caption_weights": {"dense": 1.0, "short": 0.0, "tag": 0.0},
                "recaptions": "",  # folder of dense captions that experiments.recaption wrote
                "folder": {"stride_seconds": placeholder(float), "max_windows_per_file": 1000},
            },
            "ingest": {  # what stage=clips reads and makes
                "path": "",  # a folder, a .csv or .jsonl manifest, or the name of a TFDS data set
                "split": "train",
                "tfds_dir": placeholder(str),
                "source_fps": placeholder(float),  # of a TFDS data set that does not say
                "num_frames": 17,
                "shorter": (),  # lengths that what is left of a shot is cut into
                "fps": placeholder(float),  # each video's own by default
                "stride_seconds": placeholder(float),
                "max_windows_per_file": 1000,
                "max_side": 512,
                "height": placeholder(int),  # with width: one size for all clips
                "width": placeholder(int),
                "num_shards": 0,
                "num_workers": 0,
                "seconds_per_file": 1800.0,
                "memory_bytes": 2**32,
            },
            "loader": {
                "layout": "fixed",  # one size; or buckets, packed
                "batch_size": 8,
                "num_workers": 0,
                "num_threads": 1,
                "prefetch_batches": 4,
            },
            "buckets": asdict(BucketConfig()),
            "packing": asdict(PackingConfig()),
            "autoencoder": {
                "path": "known_world",  # comes with the package; or a safetensors file
                "train": False,  # on this data, first
                "steps": 3000,
                "batch_size": 8,
                "stages": (),  # of StageConfig's keys each; none: all steps on whole clips
                "perceptual_weights": "",  # a safetensors file, for autoencoder_loss.perceptual
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
            "autoencoder_loss": asdict(AutoencoderLossConfig()),
            "discriminator": asdict(DiscriminatorConfig()),  # for adversarial stages
            "autoencoder_optimizer": asdict(OptimizerConfig(lr=4e-3, warmup_steps=200)),
            "text": {"name": "byte", **asdict(ByteTextConfig(max_bytes=96, width=32, num_heads=2))},
            "frozen_text": asdict(FrozenTextConfig()),  # for text.name=t5 or umt5
            "backbone": {
                "name": "dit",
                **asdict(
                    DiTConfig(
                        width=32,
                        depth=2,
                        num_heads=2,
                        text_width=32,
                        patch=(1, 1, 1),
                        time_features=64,
                        unroll=2,  # the loop costs more than such small blocks
                    )
                ),
            },
            "objective": {
                **asdict(ObjectiveConfig()),
                "known": {task: float(task == "none") for task in TASKS},
            },
            "sampler": {**asdict(SamplerConfig()), "guidance_last": placeholder(float)},
            "optimizer": asdict(OptimizerConfig(lr=1e-2, warmup_steps=20)),
            "train": asdict(LoopConfig(total_steps=1000, chunk_steps=20)),
            "mesh": asdict(MeshConfig()),
            "evaluate": asdict(LossGridConfig()),
            "recaption": asdict(RecaptionConfig()),
            "endpoint": asdict(VisionEndpointConfig()),  # for recaption.captioner=endpoint
        }
    )
