# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What an autoencoder keeps of clips that it was not trained on, beside codecs that learn nothing."""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.arrays import Video
from dit_jax.evaluate.fidelity import flicker, psnr, ssim
from dit_jax.evaluate.frechet import frechet_distance
from dit_jax.evaluate.transform_coding import baseline_bicubic, baseline_dct, baseline_dct_clip
from dit_jax.pixels import as_bytes, as_pixels

BATCH = 8
BASELINES = {f.__name__: f for f in (baseline_dct, baseline_dct_clip, baseline_bicubic)}

Clips = UInt8[np.ndarray, "B T H W C"]
Network = Callable[[Video], Float[Array, "B features"]]


def evaluate_autoencoder(
    config: ConfigDict, folder: str | pathlib.Path, networks: dict[str, Network] | None = None
) -> dict[str, Any]:
    """Scores the autoencoder of `config` and the baselines, at as many values to a clip, on held-out clips.

    Clips that share frames are thinned until none do, so that standard errors are honest.

    Args:
      config: its `autoencoder`, `data` and `evaluate` are read.
      folder: of the run, to which the autoencoder's path may be relative.
      networks: video networks by name, for a Fréchet distance of each, `fvd_NAME`.

    Returns:
      `compression` (as `4x8x8`), `latent_channels`, `latent_values` and `pixel_values` of a clip, `clips`, and for
      `autoencoder` and each of the baselines: `psnr` (dB), `ssim`, and for more than a frame `flicker` (grey
      levels), each with its standard error over clips, such as `psnr_se`, and `fvd_NAME`; for baselines also
      `psnr_gain`, by which the autoencoder is better, paired by clip.

    Raises:
      ValueError: fewer than two clips that share no frame are held out, or the data do not suit the autoencoder.
    """
    model, _ = build.autoencoder(config, folder)
    real = _held_out(config)
    sizes, shape = model.config, real.shape[1:4]
    values = math.prod(model.config.latent_shape(shape)) * sizes.latent_channels
    reconstruct = jax.jit(lambda video: model(as_pixels(video)))
    decoded = np.concatenate([as_bytes(reconstruct(batch)) for batch in _batches(real)])
    coded = {"autoencoder": decoded} | {name: code(real, values) for name, code in BASELINES.items()}
    scores = {name: _scores(video, real) for name, video in coded.items()}
    report = {name: _summary(score) for name, score in scores.items()}
    for name in BASELINES:
        report[name] |= _summary({"psnr_gain": scores["autoencoder"]["psnr"] - scores[name]["psnr"]})
    for network, features in (networks or {}).items():
        for name, video in coded.items():
            pair = (_features(features, v) for v in (video, real))
            report[name][f"fvd_{network}"] = frechet_distance(*pair)
    space = sizes.spatial_compression
    return {
        "compression": f"{sizes.temporal_compression}x{space}x{space}",
        "latent_channels": sizes.latent_channels,
        "latent_values": values,
        "pixel_values": int(np.prod(real.shape[1:])),
        "clips": len(real),
        **report,
    }


def _held_out(config: ConfigDict) -> Clips:
    silent = ConfigDict(config.to_dict())
    silent.data.recaptions = ""
    source = build.clip_source(silent, "validation")
    apart = range(0, len(source), getattr(source, "gap", 0) + 1)
    if len(apart) < 2:
        raise ValueError(
            f"of {len(source)} clips held out one alone shares no frame with another, and has no standard error: "
            "raise config.evaluate.num_clips or give more video"
        )
    return np.stack([source[i].video for i in apart])


def _batches(video: Clips) -> list[UInt8[Array, "_ T H W C"]]:
    return [jnp.asarray(video[i : i + BATCH]) for i in range(0, len(video), BATCH)]


def _scores(video: Clips, real: Clips) -> dict[str, np.ndarray]:
    """Per clip."""
    metrics = {"psnr": psnr, "ssim": ssim} | ({"flicker": flicker} if real.shape[1] > 1 else {})
    pairs = [(as_pixels(a), as_pixels(b)) for a, b in zip(_batches(video), _batches(real))]
    return {
        name: np.concatenate([np.asarray(jax.jit(metric)(*pair), np.float64) for pair in pairs])
        for name, metric in metrics.items()
    }


def _summary(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Means and standard errors over clips."""
    summary = {}
    for name, values in scores.items():
        summary[name] = float(values.mean())
        summary[f"{name}_se"] = float(values.std(ddof=1) / np.sqrt(len(values)))
    return summary


def _features(network: Network, video: Clips) -> np.ndarray:
    compute = jax.jit(lambda batch: network(as_pixels(batch)))
    return np.concatenate([np.asarray(compute(batch)) for batch in _batches(video)])
