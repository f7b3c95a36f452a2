# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What needs no learning: clips kept as a given number of values, for an autoencoder to be compared with.

Each codec keeps no more real numbers than an autoencoder's latents hold, unquantised, in luma and chroma
(JPEG's YCbCr). Where it has a free choice, how much luma gets, it takes for each clip what turns out best.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.fft import dctn, idctn

Clips = UInt8[np.ndarray, "B T H W 3"]
Planes = Float[np.ndarray, "3 T H W"]

# ITU-T T.871 (JFIF), section 7
TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
TO_RGB = np.linalg.inv(TO_YCBCR)
LUMA_SHARES = (0.6, 0.7, 0.8, 0.9)


def baseline_dct(video: Clips, num_values: int) -> Clips:
    """Each frame by the lowest frequencies of its discrete cosine transform, alike many for every frame.

    Args:
      video: clips.
      num_values: of a clip.
    """
    return _each(video, lambda planes: _best(planes, num_values // planes.shape[1], (-2, -1)))


def baseline_dct_clip(video: Clips, num_values: int) -> Clips:
    """Each clip, whole, by the lowest frequencies of time and space; as `baseline_dct`.

    No causal code can do this: it waits for the last frame before it gives the first.
    """
    return _each(video, lambda planes: _best(planes, num_values, (-3, -2, -1)))


def baseline_bicubic(video: Clips, num_values: int) -> Clips:
    """Each frame made smaller, and large again, by bicubic interpolation; chroma at half of luma's size.

    Args:
      video: clips.
      num_values: of a clip.
    """
    return _each(video, lambda planes: _smaller(planes, num_values // planes.shape[1]))


def _each(video: Clips, code: Callable[[Planes], Planes]) -> Clips:
    coded = np.stack([code(np.moveaxis(clip.astype(np.float64) @ TO_YCBCR.T, -1, 0)) for clip in video])
    return np.clip(np.round(np.moveaxis(coded, 1, -1) @ TO_RGB.T), 0, 255).astype(np.uint8)


def _best(planes: Planes, num_values: int, axes: tuple[int, ...]) -> Planes:
    tried = [_low_frequencies(planes, num_values, share, axes) for share in LUMA_SHARES]
    errors = [np.square(np.moveaxis(coded - planes, 0, -1) @ TO_RGB.T).mean() for coded in tried]
    return tried[int(np.argmin(errors))]


def _low_frequencies(planes: Planes, num_values: int, share: float, axes: tuple[int, ...]) -> Planes:
    sizes = [planes.shape[axis] for axis in axes]
    grid = np.meshgrid(*[np.arange(size) / size for size in sizes], indexing="ij")
    rank = np.argsort(np.argsort(sum(grid), axis=None, kind="stable")).reshape(sizes)  # as JPEG's zigzag
    chroma = int(num_values * (1 - share) / 2)
    coded = []
    for plane, kept in zip(planes, (num_values - 2 * chroma, chroma, chroma)):
        spectrum = dctn(plane, axes=axes, norm="ortho")
        coded.append(idctn(spectrum * (rank < kept), axes=axes, norm="ortho"))
    return np.stack(coded)


def _smaller(planes: Planes, num_values: int) -> Planes:
    height, width = planes.shape[2:]
    scale = np.sqrt(num_values / (1.5 * height * width))  # luma, and twice a quarter of it
    coded = []
    for plane, factor in zip(planes, (scale, scale / 2, scale / 2)):
        size = (max(1, int(width * factor)), max(1, int(height * factor)))
        coded.append([_resize(_resize(frame, size), (width, height)) for frame in plane])
    return np.array(coded)


def _resize(frame: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    return np.asarray(Image.fromarray(frame.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
