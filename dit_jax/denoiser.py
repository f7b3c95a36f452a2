# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The network that is trained: a text encoder and a backbone."""

import jax.numpy as jnp
from flax import nnx

from dit_jax.arrays import Cond, KnownSites, Sites, TextMask, TextTokens, Times

TEXT = ("text_ids", "text_tokens", "text_mask")
PACKED = ("positions", "segment_ids", "text_segment_ids")
IMAGE_ONLY = "image_only"


class Denoiser(nnx.Module):
    """`(x_t, t, cond, known) -> prediction`, in the shape of `x_t`.

    `cond` has `text_ids`, or `text_tokens` and `text_mask` of an encoder that is not trained; of packed rows
    (see `data.packing`) `positions`, `segment_ids` and `text_segment_ids`; and whatever else the backbone
    reads of a clip, such as its frame rate, or whether its frames are unrelated images (`image_only`).

    Args:
      text: `text_ids -> (text_tokens, text_mask)`; None where the tokens are stored.
      backbone: `(x_t, t, text_tokens, text_mask, known) -> prediction`.
    """

    def __init__(self, text: nnx.Module | None, backbone: nnx.Module):
        self.text = text
        self.backbone = backbone

    def __call__(self, x_t: Sites, t: Times, cond: Cond, known: KnownSites | None = None) -> Sites:
        if "segment_ids" in cond:
            return self._packed(x_t, t, cond, known)
        return self.backbone(x_t, t, *self._text(cond), known, **_mode(cond), **_micro(cond))

    def _packed(self, tokens: Sites, t: Times, cond: Cond, known: KnownSites | None) -> Sites:
        """All segments' texts in one row, each with the number of its segment."""
        rows = len(cond["text_segment_ids"])
        flat = {name: cond[name].reshape(-1, *cond[name].shape[2:]) for name in TEXT if name in cond}
        text, mask = self._text(flat)
        text_ids = jnp.repeat(cond["text_segment_ids"], mask.shape[1], 1)
        text, mask = text.reshape(rows, -1, text.shape[-1]), mask.reshape(rows, -1)
        where = (cond["positions"], cond["segment_ids"], jnp.where(mask, text_ids, -1))
        return self.backbone.packed(tokens, t, text, mask, *where, known, **_micro(cond))

    def _text(self, cond: Cond) -> tuple[TextTokens, TextMask]:
        if self.text is None:
            return cond["text_tokens"], cond["text_mask"]
        return self.text(cond["text_ids"])


def _mode(cond: Cond) -> Cond:
    """Which clips are images, as the argument that video U-Nets have."""
    return {IMAGE_ONLY: cond[IMAGE_ONLY]} if IMAGE_ONLY in cond else {}


def _micro(cond: Cond) -> dict[str, Cond]:
    """What else there is, as the argument that backbones which read it have."""
    micro = {name: value for name, value in cond.items() if name not in (*TEXT, *PACKED, IMAGE_ONLY)}
    return {"micro": micro} if micro else {}
