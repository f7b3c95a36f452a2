# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One dial, the width, sets everything that grows with a model."""

import copy
import math

from ml_collections import ConfigDict

from dit_jax.layers.attention import check_heads

ASPECT = 24  # width over depth
HEAD_DIM = 16
LEAST_HEADS = 2  # one head costs 4 % of the loss at width 24
LEAST_WIDTH = 12
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

    Depth is `width / 24` (at least 2), heads are 16 wide (but two at least), the byte text encoder has the
    backbone's width (a frozen one keeps its own), and the learning rate is `config.optimizer.lr` at width 32,
    falling with the root of the width. A depth or number of heads that is not 0 in the config is kept as it is.

    Args:
      config: of the sweep; left as it is.
      width: even.

    Raises:
      ValueError: no heads of even width fill `width`, or the config sets what only the ladder may set.
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
    if width < LEAST_WIDTH:
        raise ValueError(f"width={width} is below {LEAST_WIDTH}, the least on the ladder")
    num_heads = config.backbone.num_heads or max(LEAST_HEADS, width // HEAD_DIM)
    depth = config.backbone.depth or max(2, round(width / ASPECT))
    check_heads(width, num_heads)
    rung = copy.deepcopy(config)
    text_width = config.backbone.text_width if frozen else width
    rung.backbone.update(width=width, depth=depth, num_heads=num_heads, text_width=text_width)
    rung.backbone.unroll = min(depth, rung.backbone.unroll)
    rung.text.update(width=width, num_heads=num_heads)
    rung.optimizer.lr = float(config.optimizer.lr * math.sqrt(REFERENCE_WIDTH / width))
    return rung
