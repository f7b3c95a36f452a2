# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The network that is trained: a text encoder and a backbone."""

from flax import nnx

from dit_jax.arrays import Known, Latents, TextIds, Time


class Denoiser(nnx.Module):
    """`(x_t, t, text_ids, known) -> prediction`, in the shape of `x_t`.

    Args:
      text: `text_ids -> (text_tokens, text_mask)`.
      backbone: `(x_t, t, text_tokens, text_mask, known) -> prediction`.
    """

    def __init__(self, text: nnx.Module, backbone: nnx.Module):
        self.text = text
        self.backbone = backbone

    def __call__(self, x_t: Latents, t: Time, text_ids: TextIds, known: Known | None = None) -> Latents:
        text_tokens, text_mask = self.text(text_ids)
        return self.backbone(x_t, t, text_tokens, text_mask, known)
