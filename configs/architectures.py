# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every backbone at equal FLOPs on the known world, in one sweep.

python -m experiments.sweep --config=configs/architectures.py --workdir=runs/architectures
"""

from dataclasses import asdict

from ml_collections import ConfigDict

from configs import quickstart
from dit_jax.backbone.mmdit_config import MMDiTConfig
from dit_jax.backbone.pseudo3d_plan import UNetPseudo3DConfig
from dit_jax.backbone.unet_latent_config import UNetLatentConfig


def get_config() -> ConfigDict:
    """The quickstart's data and training, with a section for each architecture."""
    config = quickstart.get_config()
    dit = {"name": "dit", **config.backbone.to_dict()}
    unet_sweep = {"widths": (4, 6, 8, 12, 16)}
    # convolutions are slow inside a loop on a CPU, so that U-Nets run one step at a time
    single_steps = {"chunk_steps": 1}
    mmdit = MMDiTConfig(
        width=12, depth=1, num_heads=2, text_width=12, patch=(1, 1, 1), time_features=64, unroll=2
    )
    unet = UNetLatentConfig(
        in_channels=16,
        width=8,
        depth=1,
        channel_multipliers=(1, 2),
        attention_levels=(0, 1),
        head_dim=2,
        num_groups=2,
        text_width=8,
        micro=(),
        known_input="none",
    )
    pseudo3d = UNetPseudo3DConfig(
        width=8,
        depth=1,
        num_heads=2,
        text_width=8,
        channel_multipliers=(1, 2),
        attention_levels=(0, 1),
        time_features=64,
    )
    config.architectures = ConfigDict(
        {
            "dit": {"backbone": dit},
            "dit_factorised": {"backbone": {**dit, "attention": "factorised"}},
            "mmdit": {
                "backbone": {"name": "mmdit", **asdict(mmdit), "width": 0, "depth": 0, "num_heads": 0}
                | {"single_depth": 0, "text_width": 0}
            },
            "unet_latent": {
                "backbone": {"name": "unet_latent", **asdict(unet), "width": 0, "text_width": 0},
                "train": single_steps,
                "sweep": unet_sweep,
            },
            "unet_pseudo3d": {
                "backbone": {
                    "name": "unet_pseudo3d",
                    **asdict(pseudo3d),
                    "width": 0,
                    "num_heads": 0,
                    "text_width": 0,
                },
                "train": single_steps,
                "sweep": {"widths": (4, 6, 8, 12, 16, 24)},
            },
        }
    )
    config.reference = "dit"
    config.sweep.update(budgets=(1.5e10, 4e10, 1.1e11), widths=(12, 16, 24, 32, 48), seeds=2, max_steps=2500)
    return config
