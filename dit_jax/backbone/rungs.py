# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a backbone's width decides of its other sizes, on a ladder of sizes."""

from collections.abc import Mapping
from typing import Any

from dit_jax.backbone.dit_config import ATTENTION

ASPECT = 24  # width over depth
HEAD_DIM = 16
LEAST_WIDTH = 12
LEAST_HEADS = 2  # one head costs 4 % of the loss at width 24

Given = Mapping[str, Any]  # the rest of the config


def transformer_rung(width: int, given: Given) -> dict[str, int]:
    """Depth is `width / 24` (at least 2, and whole units of blocks), heads are 16 wide (but two at least), the
    text is as wide.

    Raises:
      ValueError: `width` is below 12, where three axes of position do not fit into two heads.
    """
    _check_least(width)
    unit = len(ATTENTION[given.get("attention", "joint")])
    depth = max(2, round(width / ASPECT / unit) * unit)
    return dict(width=width, depth=depth, num_heads=num_heads(width), text_width=width)


def mmdit_rung(width: int, given: Given) -> dict[str, int]:
    """As a transformer's, a third of the blocks with two streams and the others with one."""
    _check_least(width)
    depth = max(2, round(width / ASPECT))
    double = max(1, depth // 3)
    sizes = dict(depth=double, single_depth=depth - double, num_heads=num_heads(width))
    return dict(width=width, text_width=width, **sizes)


def unet_rung(width: int, given: Given) -> dict[str, int]:
    """The width is that of the first level, the text twice as wide; levels and blocks are the config's."""
    return dict(width=width, text_width=2 * width)


def pseudo3d_rung(width: int, given: Given) -> dict[str, int]:
    """As the other U-Net's, with heads of the first level 16 wide (but two at least)."""
    return dict(unet_rung(width, given), num_heads=num_heads(width))


def num_heads(width: int) -> int:
    """Heads on the ladder: as near to 16 wide as fills `width`, which is even, and two at least."""
    most = max(LEAST_HEADS, width // HEAD_DIM)
    return max(count for count in range(1, most + 1) if width % (2 * count) == 0)


def _check_least(width: int) -> None:
    if width < LEAST_WIDTH:
        raise ValueError(f"width={width} is below {LEAST_WIDTH}, the least on a transformer's ladder")
