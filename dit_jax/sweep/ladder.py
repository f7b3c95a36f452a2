# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One dial, the width, sets everything that grows with a model."""

import copy
import math

from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.backbone.rungs import num_heads

SET_HERE = (
    "backbone.width",
    "backbone.text_width",
    "text.width",
    "text.num_heads",
    "train.total_steps",
    "train.save_every_steps",
)
REFERENCE_WIDTH = 32  # at which config.optimizer.lr holds


def ladder(config: ConfigDict, width: int) -> ConfigDict:
    """The config of the ladder's rung of `width`.

    The backbone's rule gives its other sizes (see `backbone.rungs`), where they are 0 in the config. The byte
    text encoder has the width that the backbone reads (a frozen one keeps its own), and the learning rate is
    `config.optimizer.lr` at width 32, falling with the root of the width (where `config.optimizer.base_width` is
    set it is the same at every width, see `train.transfer`). The batch stays the config's: at
    the sizes of a ladder the smallest that a device runs well is the best at every width, and where it should
    grow, compute decides of it and not the width (`sweep.batch_exponent`).

    Args:
      config: of the sweep; left as it is.
      width: even.

    Raises:
      ValueError: no backbone has this width, or the config sets what only the ladder may set.
    """
    frozen = config.text.get("name", "byte") != "byte"
    for name in SET_HERE:
        section, key = name.split(".")
        if frozen and name.endswith("text_width"):
            continue
        if config[section][key]:
            raise ValueError(
                f"config.{name}={config[section][key]}: a sweep sets it from config.sweep; leave it 0"
            )
    rung = copy.deepcopy(config)
    for name, value in build.backbone(config).rung(width, config.backbone.to_dict()).items():
        rung.backbone[name] = config.backbone[name] or value
    if "unroll" in rung.backbone:
        rung.backbone.unroll = min(rung.backbone.depth, rung.backbone.unroll)
    if not frozen:
        text_width = rung.backbone.text_width
        rung.text.update(width=text_width, num_heads=num_heads(text_width))
    build.backbone_config(rung)
    if not config.optimizer.get("base_width"):  # else the optimizer transfers the rate by itself
        rung.optimizer.lr = float(config.optimizer.lr * math.sqrt(REFERENCE_WIDTH / width))
    return rung
