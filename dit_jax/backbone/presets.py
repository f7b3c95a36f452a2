# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes of published diffusion transformers, as configs of ours.

| preset | source | what differs here |
|---|---|---|
| `DiT-S/8` ... `DiT-XL/2` | Peebles and Xie 2023, arXiv 2212.09748, table 1 | the head predicts no variance |
| `Latte-XL/2` | Ma et al. 2024, arXiv 2401.03048, table 1 | the head predicts no variance |
| `Latte-1` | its text-to-video model, `maxin-cn/Latte-1` | the head predicts no variance |
| `STDiT-XL/2` | Zheng et al. 2024 (Open-Sora), arXiv 2412.20404 | attention across frames has its own modulation |
| `Wan-1.3B`, `Wan-14B` | Wan 2.1, arXiv 2503.20314, table 2 | nothing |
| `CogVideoX-2B`, `CogVideoX-5B` | Yang et al. 2024, arXiv 2408.06072 | one modulation of text, video and all blocks |
| `HunyuanVideo` | Kong et al. 2024, arXiv 2412.03603, table 1 | nothing |
| `LTX` | HaCohen et al. 2024 (LTX-Video), arXiv 2501.00103 | layer norm for its root mean square |

Classes of ImageNet, and none, are the text of `DiT`: see `interop.transformers.label_text`.
"""

from typing import Any

from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.backbone.mmdit_config import MMDiTConfig

LABELED = dict(in_channels=4, text="pooled", positions="sincos", qk_norm="none", qkv_bias=True)
SHARED = dict(text_width=4096, text_projection=True, modulation="shared", qkv_bias=True)
SIZES = {  # width, depth, heads
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
}
XL = dict(width=1152, num_heads=16, in_channels=4)


def _sized(width: int, depth: int, num_heads: int) -> dict[str, int]:
    return dict(width=width, depth=depth, num_heads=num_heads)


def _dit(size: str, patch: int) -> DiTConfig:
    return DiTConfig(patch=(1, patch, patch), text_width=1001, **_sized(*SIZES[size]), **LABELED)


def _wan(width: int, depth: int, num_heads: int, mlp_hidden: int) -> DiTConfig:
    """Heads are 128 wide, of which time, rows and columns turn 44, 42 and 42."""
    return DiTConfig(
        in_channels=16,
        text_norm="affine",
        qk_norm="width",
        rope_pairs=(22, 21, 21),
        rope_base=10_000.0,
        mlp_ratio=mlp_hidden / width,
        **_sized(width, depth, num_heads),
        **SHARED,
    )


def _cogvideox(width: int, depth: int, num_heads: int, **positions: Any) -> DiTConfig:
    """Heads are 64 wide, of which time, rows and columns turn 16, 24 and 24 in the larger one."""
    return DiTConfig(
        in_channels=16,
        text_width=4096,
        text="context",
        modulation="shared",
        qkv_bias=True,
        time_features=width,
        **_sized(width, depth, num_heads),
        **positions,
    )


PRESETS = {
    **{f"DiT-{size}/{patch}": _dit(size, patch) for size in SIZES for patch in (2, 4, 8)},
    "Latte-XL/2": DiTConfig(
        patch=(1, 2, 2), attention="alternating", text_width=102, **_sized(*SIZES["XL"]), **LABELED
    ),
    "Latte-1": DiTConfig(
        attention="alternating",
        text_norm="none",
        positions="sincos",
        qk_norm="none",
        depth=56,
        **XL,
        **SHARED,
    ),
    "STDiT-XL/2": DiTConfig(
        attention="factorised", text_norm="none", positions="sincos", qk_norm="none", depth=28, **XL, **SHARED
    ),
    "Wan-1.3B": _wan(1536, 30, 12, 8960),
    "Wan-14B": _wan(5120, 40, 40, 13824),
    "CogVideoX-2B": _cogvideox(1920, 30, 30, positions="sincos"),
    "CogVideoX-5B": _cogvideox(3072, 42, 48, rope_pairs=(8, 12, 12), rope_base=10_000.0),
    "HunyuanVideo": MMDiTConfig(
        width=3072,
        depth=20,
        single_depth=40,
        num_heads=24,
        text_width=4096,
        refiner_depth=2,
        pooled_text_width=768,
        guidance=True,
        rope_pairs=(8, 28, 28),
        rope_base=256.0,
        qkv_bias=True,
    ),
    "LTX": DiTConfig(
        in_channels=128,
        patch=(1, 1, 1),
        text_norm="none",
        qk_norm="width",
        rope_base=10_000.0,
        **_sized(2048, 28, 32),
        **SHARED,
    ),
}


def preset(name: str) -> DiTConfig | MMDiTConfig:
    """The config of a published shape.

    Raises:
      ValueError: there is none of this name.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
