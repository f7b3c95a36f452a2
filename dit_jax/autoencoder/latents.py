# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The scale of latents: a flow model learns them with zero mean and unit deviation."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Array, Float

from dit_jax.arrays import Latents


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LatentStats:
    """Mean and standard deviation of raw latents, by channel `c`."""

    mean: Float[Array, " c"] | Float[np.ndarray, " c"]
    std: Float[Array, " c"] | Float[np.ndarray, " c"]

    def normalize(self, latents: Latents) -> Latents:
        """Raw latents `B t h w c` to zero mean and unit deviation."""
        return (latents - self.mean) / self.std

    def denormalize(self, latents: Latents) -> Latents:
        """The inverse of `normalize`: what `Autoencoder.decode` takes."""
        return latents * self.std + self.mean


def measure_latents(batches: Iterable[Latents]) -> LatentStats:
    """The statistics of every latent in `batches` of raw latents `B t h w c`.

    Raises:
      ValueError: without a batch, for a channel that never varies, and for one that is not finite.
    """
    count, total, squares = 0, 0.0, 0.0
    for batch in batches:
        values = np.asarray(batch, np.float64).reshape(-1, batch.shape[-1])
        count += len(values)
        total += values.sum(0)
        squares += np.square(values).sum(0)
    if not count:
        raise ValueError("no latents to measure: give at least one batch")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    if not np.isfinite(std).all():
        raise ValueError(
            f"channels {np.flatnonzero(~np.isfinite(std)).tolist()} of the latents are not finite"
        )
    if (std < 1e-6).any():
        raise ValueError(
            f"channels {np.flatnonzero(std < 1e-6).tolist()} of the latents never vary: "
            "train the autoencoder longer or lower latent_channels"
        )
    return LatentStats(mean.astype(np.float32), std.astype(np.float32))
