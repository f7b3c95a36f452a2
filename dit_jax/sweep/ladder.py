# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One dial, the width, sets everything that grows with a model."""

import copy
import math

from ml_collections import ConfigDict

ASPECT = 16  # width over depth
HEAD_DIM = 16
REFERENCE_WIDTH = 32  # at which config.optimizer.lr holds


def ladder(config: ConfigDict, width: int) -> ConfigDict:
    """The config of the ladder's rung of `width`.

    Depth is `width / 16` (at least 2), heads are 16 wide (one head below 32), the text encoder has the
    backbone's width, and the learning rate is `config.optimizer.lr` at width 32, falling with the root of
    the width.

    Args:
      config: of the sweep; left as it is.
      width: even.

    Raises:
      ValueError: no heads of even width fill `width`.
    """
    if width < 6 or width % 2 or (width > HEAD_DIM and width % max(1, width // HEAD_DIM)):
        raise ValueError(f"width={width} is not on the ladder: choose 8, 12, 16, 24 or a multiple of 16")
    rung = copy.deepcopy(config)
    num_heads, depth = max(1, width // HEAD_DIM), max(2, round(width / ASPECT))
    rung.backbone.update(width=width, depth=depth, num_heads=num_heads, text_width=width)
    rung.backbone.unroll = min(depth, rung.backbone.unroll)
    rung.text.update(width=width, num_heads=num_heads)
    rung.optimizer.lr = float(config.optimizer.lr * math.sqrt(REFERENCE_WIDTH / width))
    return rung
