# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What batches would hold, from the sizes of clips or latents alone: nothing is read, compiled or trained."""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.data.buckets import bucket_latents
from dit_jax.data.packing import Packed

Table = list[tuple[str, ...]]  # a heading and rows


def dry_run(config: ConfigDict, folder: str | pathlib.Path = ".") -> Table:
    """How the clips of `config.data` fall into batches, and which fall into none, with the reason.

    Ingested clips, which are yet to be encoded, go to buckets of pixels or rows; latents are as they are.

    Args:
      config: of a run; `data`, `loader`, `buckets`, `packing`, `autoencoder`, and the patch of `backbone` are
        read.
      folder: of the run.

    Raises:
      ValueError: clips fit no bucket, or no row.
    """
    if config.data.source == "clips" and config.loader.layout == "packed":
        return _packed_clips(config, folder)
    if config.data.source == "clips":
        return build.native_sizes(config, folder, "list").table()
    if config.data.source != "latents":
        shape = build.latent_shape(config, folder)
        num_clips = "endless" if build.is_endless(config) else len(build.clip_source(config, "train"))
        return _one_size(config, shape, num_clips)
    source = build.latents_source(build.latents_folder(config, folder, "train"))
    if config.loader.layout == "packed":
        return build.plan(config, source).table()
    found = bucket_latents(source.shapes, build.patch(config), build.section(config, "buckets"))
    if config.loader.layout == "buckets":
        return found.table()
    return _one_size(config, build.latent_shape(config, folder), len(source))


def _packed_clips(config: ConfigDict, folder: str | pathlib.Path) -> Table:
    found = build.native_sizes(config, folder, "list")
    (pt, ph, pw), sizes = build.patch(config), build.autoencoder_sizes(config, folder)
    space = sizes.spatial_compression
    pixels = np.array([found.buckets[k].size for k in found.bucket_of if k >= 0], np.int64).reshape(-1, 3)
    frames = (pixels[:, :1] - 1) // sizes.temporal_compression + 1
    grids = np.concatenate([frames // pt, pixels[:, 1:2] // (space * ph), pixels[:, 2:] // (space * pw)], 1)
    patch, rows = (pt, ph, pw), build.section(config, "packing")
    heading, row = Packed(grids, patch, rows, config.loader.batch_size).table()
    blank = ("",) * (len(heading) - 2)
    return [heading, row, *((f"left out: {reason}", str(n), *blank) for reason, n in found.unfit)]


def _one_size(config: ConfigDict, shape: tuple[int, ...], num_clips: int | str) -> Table:
    tokens = int(np.prod(shape[:3]) // np.prod(build.patch(config)))
    size, batch_size = "x".join(map(str, shape[:3])), config.loader.batch_size
    row = (size, str(num_clips), str(tokens), str(batch_size), str(tokens * batch_size))
    return [("latents", "clips", "tokens", "batch size", "tokens in a batch"), row]
