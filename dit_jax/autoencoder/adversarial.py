# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The autoencoder's loss with an adversary, and the adversary's own: one gradient trains both.

Each part of the sum sees the other's parameters as constants, so its gradient with respect to all parameters is
the autoencoder's step for its own and the discriminator's step for its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from dit_jax.arrays import Key, Scalar, Video
from dit_jax.autoencoder.discriminator import Discriminator, Logits
from dit_jax.autoencoder.losses import (
    AutoencoderLossConfig,
    Distance,
    Metrics,
    latent_kl,
    latent_noise,
    video_error,
)
from dit_jax.autoencoder.model import Autoencoder

LARGEST_WEIGHT = 1e4
hold = jax.lax.stop_gradient


def adversarial_loss(
    make_autoencoder: Callable[[PyTree], Autoencoder],
    make_discriminator: Callable[[PyTree], Discriminator],
    params: Mapping[str, PyTree],
    video: Video,
    key: Key,
    config: AutoencoderLossConfig,
    distances: Mapping[str, Distance] | None = None,
) -> tuple[Scalar, Metrics]:
    """The training loss of a batch for the autoencoder and its discriminator together.

    Args:
      make_autoencoder, make_discriminator: modules of their parameters.
      params: both, as `autoencoder` and `discriminator`.
      video, key, config, distances: as `autoencoder_loss`.

    Returns:
      The sum of both losses, and metrics: those of `autoencoder_loss`, with `discriminator_loss`, mean
      `logits_real` and `logits_fake`, `discriminator_accuracy` (0.5 is chance), `adaptive_weight`, and the norms
      of the gradients whose ratio that is, `last_layer_error` and `last_layer_adversarial`.
    """
    model = make_autoencoder(params["autoencoder"])
    latents = model.encode(video)
    noisy = latents + latent_noise(key, latents, config.latent_noise)
    decoded = model.decode(noisy)
    critic = make_discriminator(hold(params["discriminator"]))

    errors = lambda x: video_error(x, video, config, distances)  # noqa: E731
    (error, metrics), towards_video = jax.value_and_grad(errors, has_aux=True)(hold(decoded))
    misjudged, towards_real = jax.value_and_grad(lambda x: -jnp.mean(critic(x)))(hold(decoded))
    norms = _last_layer_norms(
        make_autoencoder, hold(params["autoencoder"]), hold(noisy), (towards_video, towards_real)
    )
    weight = config.adversarial * adaptive_weight(*norms)
    divergence = latent_kl(latents)
    value = error + weight * misjudged + config.latent_kl * divergence
    # The gradients at the pixels are known by now: backwards from there, and not through the critic again.
    slope = jnp.vdot(decoded, towards_video + weight * towards_real) + config.latent_kl * divergence
    judged, judgement = discriminator_loss(
        *(make_discriminator(params["discriminator"])(x) for x in (video, hold(decoded)))
    )
    names = ("last_layer_error", "last_layer_adversarial")
    metrics |= {"latent_kl": divergence, "adaptive_weight": weight, **dict(zip(names, norms)), **judgement}
    return slope + hold(value - slope) + judged, metrics


def discriminator_loss(real: Logits, fake: Logits) -> tuple[Scalar, Metrics]:
    """The hinge loss of a discriminator (Lim and Ye 2017, arXiv 1705.02894), half for each kind, and its metrics.

    Patches judged rightly by a margin of one cost nothing.
    """
    loss = 0.5 * (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)))
    accuracy = 0.5 * (jnp.mean(real > 0) + jnp.mean(fake < 0))
    return loss, {
        "discriminator_loss": loss,
        "discriminator_accuracy": accuracy,
        "logits_real": jnp.mean(real),
        "logits_fake": jnp.mean(fake),
    }


def adaptive_weight(error_norm: Scalar, adversarial_norm: Scalar) -> Scalar:
    """What makes the adversary pull at the decoder's last layer as hard as all other errors.

    The ratio of the norms of their gradients: Esser et al. 2021, "Taming Transformers for High-Resolution Image
    Synthesis", arXiv 2012.09841, section 3.2; no more than 10,000.
    """
    return hold(jnp.clip(error_norm / (adversarial_norm + 1e-4), 0.0, LARGEST_WEIGHT))


def _last_layer_norms(
    make: Callable[[PyTree], Autoencoder], params: PyTree, latents: Any, cotangents: tuple[Video, ...]
) -> tuple[Scalar, ...]:
    """Norms of the gradients of the decoder's last kernel, from those at the pixels."""
    levels = params["decoder"]
    last = max(levels)

    def decode(kernel: jax.Array) -> Video:
        project = levels[last]["project"] | {"kernel": kernel}
        level = levels[last] | {"project": project}
        return make(params | {"decoder": levels | {last: level}}).decode(latents)

    _, pull = jax.vjp(decode, levels[last]["project"]["kernel"])
    return tuple(optax.global_norm(pull(cotangent)) for cotangent in cotangents)
