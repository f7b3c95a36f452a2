# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What an autoencoder is trained to do: give back the video, from latents that a flow model can learn.

Two regularisers make the latents learnable. Noise added before decoding makes the decoder forgive the
errors of a generative model. A divergence to the unit Gaussian gives every channel the same scale, so
the noise means the same to each.

The two together stand in for the Gaussian posterior of a variational autoencoder. There every latent has a
learnt variance of its own, which training drives towards nothing at the small weights in use, and sampling
ignores. Here the variance is set, and the encoder stays a function: an encoded clip is one array.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from dit_jax.arrays import Key, Latents, Scalar, Video
from dit_jax.autoencoder.model import Autoencoder

Metrics = dict[str, Scalar]
Distance = Callable[[Video, Video], Scalar]  # of a decoded video from the real one
PIXEL_ERRORS = ("l1", "l2")
DISTANCES = ("structural", "perceptual")  # those that `terms` may hold


@dataclasses.dataclass(frozen=True)
class AutoencoderLossConfig:
    """Weights of `autoencoder_loss`.

    Attributes:
      l1, l2: weights of the mean absolute and mean squared error of pixels in [-1, 1].
      latent_kl: weight of the channels' divergence from the unit Gaussian.
      latent_noise: largest standard deviation of the noise on the latents; each clip draws its own.
      structural: weight of one minus the multi-scale structural similarity of frames.
      perceptual: weight of the distance in the features of a network whose weights a user supplies.
      adversarial: weight of the discriminator's judgement, as a share of the gradient of all other errors at the
        decoder's last layer (see `adversarial.adaptive_weight`); in adversarial stages only.

    Raises:
      ValueError: for a negative weight.
    """

    l1: float = 0.1
    l2: float = 1.0
    latent_kl: float = 0.03
    latent_noise: float = 0.2
    structural: float = 0.0
    perceptual: float = 0.0
    adversarial: float = 0.1

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)} must not be negative")


def autoencoder_loss(
    model: Autoencoder,
    video: Video,
    key: Key,
    config: AutoencoderLossConfig,
    distances: Mapping[str, Distance] | None = None,
) -> tuple[Scalar, Metrics]:
    """The training loss of a batch, without an adversary.

    Args:
      model: the autoencoder.
      video: `B T H W C` in [-1, 1].
      key: draws the noise on the latents.
      config: weights.
      distances: `structural` and `perceptual`, where their weights are not zero.

    Returns:
      The loss, and metrics: `psnr` (dB, of the batch as one, decoded from noisy latents), and every part.
    """
    latents = model.encode(video)
    decoded = model.decode(latents + latent_noise(key, latents, config.latent_noise))
    error, metrics = video_error(decoded, video, config, distances)
    divergence = latent_kl(latents)
    return error + config.latent_kl * divergence, metrics | {"latent_kl": divergence}


def video_error(
    decoded: Video,
    video: Video,
    config: AutoencoderLossConfig,
    distances: Mapping[str, Distance] | None = None,
) -> tuple[Scalar, Metrics]:
    """The weighted sum of all errors of a decoded video, and as metrics each of them, with `psnr`.

    Raises:
      ValueError: a distance has a weight and is not among `distances`.
    """
    error = decoded - video
    parts = {"l1": jnp.mean(jnp.abs(error)), "l2": jnp.mean(jnp.square(error))}
    for name in DISTANCES:
        if getattr(config, name):
            if name not in (distances or {}):
                raise ValueError(f"{name}={getattr(config, name)} has no distance: give one, or the weight 0")
            parts[name] = distances[name](decoded, video)
    total = sum(getattr(config, name) * value for name, value in parts.items())
    return total, {"psnr": 10 * jnp.log10(4 / parts["l2"]), **parts}  # pixels are 2 from peak to peak


def latent_noise(key: Key, latents: Latents, largest: float) -> Latents:
    """Gaussian noise for `latents`, its standard deviation uniform in [0, largest] from clip to clip."""
    level_key, noise_key = jax.random.split(key)
    level = largest * jax.random.uniform(level_key, (len(latents), 1, 1, 1, 1), latents.dtype)
    return level * jax.random.normal(noise_key, latents.shape, latents.dtype)


def latent_kl(latents: Latents) -> Scalar:
    """KL divergence from the unit Gaussian of a Gaussian with each channel's moments, mean over channels.

    Taken over the batch, not per sample: it fixes scale and offset and leaves the information alone.
    """
    mean = jnp.mean(latents, axis=(0, 1, 2, 3))
    variance = jnp.var(latents, axis=(0, 1, 2, 3)) + 1e-6  # a lone latent has none
    return 0.5 * jnp.mean(jnp.square(mean) + variance - 1 - jnp.log(variance))
