# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How close a video is to a reference: pixel by pixel, in structure, and from frame to frame.

Pixels are in [-1, 1]. Structural measures are taken of each frame and colour on its own and averaged over them.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.arrays import Video

WINDOW, SIGMA = 11, 1.5  # pixels along a side of the Gaussian window, and its deviation
K1, K2 = 0.01, 0.03  # of the range: keep the quotients finite
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest

PerClip = Float[Array, " B"]
Windows = Float[Array, "B T h w C"]


def psnr(video: Video, reference: Video) -> PerClip:
    """Peak signal-to-noise ratio of each clip in dB, for pixels in [-1, 1] (peak-to-peak 2).

    Identical clips give infinity.
    """
    return 10 * jnp.log10(4.0 / jnp.square(video - reference).mean((1, 2, 3, 4)))


def ssim(video: Video, reference: Video) -> PerClip:
    """Structural similarity of each clip, at most 1, over the windows that lie within the frame.

    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", eq. 13, with
    its Gaussian window of 11 pixels and deviation 1.5.

    Raises:
      ValueError: for frames smaller than the window.
    """
    luminance, contrast = _similarities(video, reference)
    return (luminance * contrast).mean((1, 2, 3, 4))


def ms_ssim(video: Video, reference: Video) -> PerClip:
    """Structural similarity of each clip over several scales, from 0 to 1.

    Wang et al. 2003, "Multi-scale Structural Similarity for Image Quality Assessment", eq. 7: contrast and
    structure at every scale, luminance at the coarsest. Frames that are too small for five scales (176 pixels)
    have as many as fit, with the weights of these normalised. Negative contrasts count as none.

    Raises:
      ValueError: for frames smaller than the window.
    """
    scales = min(len(SCALE_WEIGHTS), int(np.log2(max(1, min(video.shape[2:4]) / WINDOW))) + 1)
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            video, reference = _halve(video), _halve(reference)
        luminance, contrast = _similarities(video, reference)
        factor = contrast if scale < scales - 1 else luminance * contrast
        # A root's slope is infinite at zero, and the gradient of the whole would not be finite.
        product *= jnp.maximum(factor.mean((2, 3)), 1e-6) ** weight
    return product.mean((1, 2))


def flicker(video: Video, reference: Video) -> PerClip:
    """Error of the change from frame to frame of each clip, root mean square, in grey levels of 255.

    A reconstruction that is wrong in the same way in every frame has none; one whose errors come and go has.

    Raises:
      ValueError: for clips of one frame.
    """
    if video.shape[1] < 2:
        raise ValueError("flicker is a change between frames: give clips of two or more")
    error = video - reference
    return 127.5 * jnp.sqrt(jnp.square(error[:, 1:] - error[:, :-1]).mean((1, 2, 3, 4)))


def _similarities(video: Video, reference: Video) -> tuple[Windows, Windows]:
    """Luminance, and contrast with structure, of every window: eqs. 6 and 13 of Wang et al. 2004."""
    if min(video.shape[2:4]) < WINDOW:
        raise ValueError(
            f"frames of {video.shape[2]} x {video.shape[3]} pixels are smaller than the window of {WINDOW}: "
            "give larger ones"
        )
    video, reference = (video + 1) / 2, (reference + 1) / 2  # luminance is counted from black
    c1, c2 = K1**2, K2**2
    mean1, mean2 = _blur(video), _blur(reference)
    variance1 = _blur(video * video) - mean1 * mean1
    variance2 = _blur(reference * reference) - mean2 * mean2
    covariance = _blur(video * reference) - mean1 * mean2
    luminance = (2 * mean1 * mean2 + c1) / (mean1 * mean1 + mean2 * mean2 + c1)
    return luminance, (2 * covariance + c2) / (variance1 + variance2 + c2)


def _blur(x: Video) -> Windows:
    """The Gaussian mean of every window. Shifted sums: XLA fuses them, and has no fast one-channel convolution."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * np.square(offsets / SIGMA))
    weights = (weights / weights.sum()).tolist()
    height, width = (size - WINDOW + 1 for size in x.shape[2:4])
    x = sum(weight * x[:, :, i : i + height] for i, weight in enumerate(weights))
    return sum(weight * x[:, :, :, i : i + width] for i, weight in enumerate(weights))


def _halve(x: Video) -> Windows:
    """Means of two by two pixels; an odd last row or column is left out."""
    batch, frames, height, width, channels = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, frames, height // 2, 2, width // 2, 2, channels).mean((3, 5))
