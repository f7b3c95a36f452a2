# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Axis letters and array types.

Legend, used in every signature:

| letter | axis |
|---|---|
| B | clips in a batch |
| T H W C | frames, height and width in pixels, colour channels |
| t h w c | latent frames, latent height and width, latent channels |
| N D | tokens of a clip, width of a token |
| L | text ids of a prompt |
| M E | text tokens of a prompt, width of one |

The types are jaxtyping's: they cost nothing under `jit`, and the tests check them with beartype.
"""

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

Video = Float[Array, "B T H W C"]  # pixels in [-1, 1]
VideoBytes = UInt8[np.ndarray, "T H W C"]  # one clip, as on disk and in loaders
Latents = Float[Array, "B t h w c"]
Tokens = Float[Array, "B N D"]
TextIds = Int[Array, "B L"]
TextTokens = Float[Array, "B M E"]
NullIds = Int[Array, "1 L"]
TextMask = Bool[Array, "B M"]
Time = Float[Array, " B"]  # 0 is data, 1 is noise
TokenTime = Float[Array, "B t h w 1"]
Known = Bool[Array, "B t h w 1"]
Scalar = Float[Array, ""]
Key = PRNGKeyArray
DType = DTypeLike
