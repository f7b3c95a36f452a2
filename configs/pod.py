# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Large spacetime DiTs for pods, by name: SIZE_TOKENS, such as `xl_4k` or `2.6b_16k`.

python -m experiments.plan --config=configs/pod.py:xl_4k --config.mesh.fsdp=16 --topology=v5e:4x4

| size | width x depth, heads of 128 | parameters |
|---|---|---|
| xl | 1152 x 28, 9 | 0.8 billion |
| 2.6b | 2048 x 28, 16 | 2.6 billion |
| 14b | Wan-14B's: 5120 x 40, 40 | 14.3 billion |

With full remat and one video a chip, by their plans (docs/plan.md):

| | chips | peak GiB of a chip | step, ms | MFU |
|---|---|---|---|---|
| xl_4k | v5e:4x4, fsdp=16 | 1.6 | 191 | 53 % |
| xl_16k | v5e:4x4, fsdp=16 | 3.0 | 1297 | 61 % |
| 2.6b_4k | v5e:4x4, fsdp=16 | 4.1 | 477 | 56 % |
| 2.6b_16k | v5e:4x4, fsdp=16 | 6.5 | 2723 | 65 % |
| xl_4k | v6e:4x4, fsdp=16 | 1.5 | 67 | 32 % |
| xl_16k | v6e:4x4, fsdp=16 | 2.8 | 377 | 45 % |
| 2.6b_4k | v6e:4x4, fsdp=16 | 4.1 | 154 | 37 % |
| 2.6b_16k | v6e:4x4, fsdp=16 | 6.3 | 762 | 50 % |
| xl_4k | v5p:2x2x2, fsdp=8 | 2.5 | 95 | 46 % |
| xl_16k | v5p:2x2x2, fsdp=8 | 3.8 | 550 | 62 % |
| 2.6b_4k | v5p:2x2x2, fsdp=8 | 7.1 | 211 | 55 % |
| 2.6b_16k | v5p:2x2x2, fsdp=8 | 9.3 | 1160 | 66 % |
| 2.6b_16k | h100:8, fsdp=8 | 16.2, by XLA for CPUs | | |
| 14b_16k | h200:8, fsdp=8 | 60.5, by XLA for CPUs | | |

Clips have 16 frames of 32 x 32 (4k tokens) or 64 x 64 (16k) latents; text comes as 256 tokens of a T5-XXL.
Training one reads stored latents of such clips: see experiments.encode and `config.data.path`.
"""

from dataclasses import asdict

from ml_collections import ConfigDict

from configs import known_world
from dit_jax.backbone.presets import PRESETS

CHANNELS = 16
SIZES = {
    "xl": dict(width=1152, depth=28, num_heads=9),
    "2.6b": dict(width=2048, depth=28, num_heads=16),
    "14b": asdict(PRESETS["Wan-14B"]),
}
ALL = dict(in_channels=CHANNELS, patch=(1, 2, 2), text_width=4096, text_projection=True, time_features=256)
SIDES = {"4k": 32, "16k": 64}


def get_config(name: str = "xl_4k") -> ConfigDict:
    """The config of a size and a number of tokens.

    Raises:
      ValueError: there is none of this name.
    """
    names = [f"{size}_{tokens}" for size in SIZES for tokens in SIDES]
    if name not in names:
        raise ValueError(f"no preset {name!r}: choose one of {', '.join(names)}")
    size, tokens = name.split("_")
    config = known_world.get_config()
    config.data.update(source="latents", path="latents")
    config.text.name = "t5"
    config.frozen_text.num_tokens = 256
    how = dict(unroll=1, remat="full", dtype="bfloat16")
    config.backbone.update(ALL | SIZES[size] | how)
    config.optimizer.update(lr=1e-4, warmup_steps=1000)
    config.mesh.sparse_cores = True
    config.train.chunk_steps = 1
    config.loader.batch_size = 256
    config.plan = ConfigDict(
        {"latent_shape": (16, SIDES[tokens], SIDES[tokens], CHANNELS), "batch_per_chip": 1.0}
    )
    return config
