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

from collections.abc import Mapping

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped, UInt8

Video = Float[Array, "B T H W C"]  # pixels in [-1, 1]
VideoBytes = UInt8[np.ndarray, "T H W C"]  # one clip, as on disk and in loaders
Latents = Float[Array, "B t h w c"]
Tokens = Float[Array, "B N D"]
Sites = Float[Array, "B *sites c"]  # latents `B t h w c`, or packed tokens `B N D`
TextIds = Int[Array, "B L"]
TextTokens = Float[Array, "B M E"]
TextMask = Bool[Array, "B M"]
Time = Float[Array, " B"]  # 0 is data, 1 is noise
Times = Float[Array, "B *times"]  # of each clip; of each frame `B t`; of each segment of a packed row `B S`
PerClip = Bool[Array, "B *clips"]  # of clips, or of the segments of packed rows
Known = Bool[Array, "B t h w 1"]
KnownSites = Bool[Array, "B *sites 1"]
Cond = Mapping[str, Shaped[Array, "_ ..."]]  # all that conditions a clip (or packed row), by name
Scalar = Float[Array, ""]
Key = PRNGKeyArray
DType = DTypeLike
