# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which published text encoder reads the captions, where its tokens are stored beside the latents."""

import dataclasses

from dit_jax.text.t5 import DTYPES


@dataclasses.dataclass(frozen=True)
class FrozenTextConfig:
    """A T5 v1.1 or UMT5 that is not trained.

    Attributes:
      weights: a safetensors file, the index of several, or a folder that holds one of these.
      tokenizer: the `spiece.model` that comes with them.
      num_tokens: of a prompt, its end mark included; what is longer is cut.
      dtype: of the encoder's matrix products; its tokens are stored in float16.
    """

    weights: str = ""
    tokenizer: str = ""
    num_tokens: int = 128
    dtype: str = "bfloat16"

    def __post_init__(self):
        if self.num_tokens < 2:
            raise ValueError(f"num_tokens={self.num_tokens} must be at least 2: a piece and the end mark")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r} is not one of {', '.join(DTYPES)}")
