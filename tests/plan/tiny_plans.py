# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Plans of a tiny model, in a process of its own: how many devices there are is settled once in each.

python tests/plan/tiny_plans.py OUT.json
"""

import json
import sys

from ml_collections import ConfigDict

from configs import known_world
from dit_jax.plan.plan import make_plan
from dit_jax.plan.search import search
from dit_jax.plan.topology import topology


def tiny(**backbone):
    config = known_world.get_config()
    config.data.source, config.text.name, config.frozen_text.num_tokens = "latents", "t5", 8
    config.backbone.update(width=128, depth=3, unroll=1, remat="full", text_width=32, **backbone)
    config.plan = ConfigDict({"latent_shape": (2, 3, 4, 16), "batch_per_chip": 0.0})
    return config


def tiny_tpu_plan():
    """With heads and tokens that fill the tiles of kernels."""
    where, config = topology("v5e:2x2"), tiny(dtype="bfloat16", num_heads=1)
    config.plan.latent_shape = (2, 8, 16, 16)
    config.mesh.fsdp = 4
    return make_plan(config, where, tokens=1e6)


def main(out):
    eight, told = topology("cpu:8"), []
    sharded = tiny()
    sharded.mesh.fsdp = 8
    plans = {
        "one": make_plan(tiny(), topology("cpu:1")),
        "eight": make_plan(sharded, eight),
        "sample": make_plan(sharded, eight, what="sample"),
        "decode": make_plan(sharded, eight, what="decode"),
        "search": search(
            tiny(dtype="bfloat16"),
            topology("h100:2"),
            {"data": 1, "model": 1},
            remats=("full",),
            report=told.append,
            tokens=2.4e6,
            dollars_per_chip_hour=3.0,
        ),
        "told": told,
    }
    with open(out, "w") as file:
        json.dump(plans, file)


if __name__ == "__main__":
    main(sys.argv[1])
