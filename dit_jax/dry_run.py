# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What batches would hold, from the sizes of clips or latents alone: nothing is read, compiled or trained."""

import json
import pathlib

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.autoencoder.files import read_autoencoder_config
from dit_jax.data.buckets import assign, bucket_latents, make_buckets
from dit_jax.ingest import REPORT

Table = list[tuple[str, ...]]  # a heading and rows


def dry_run(config: ConfigDict, folder: str | pathlib.Path = ".") -> Table:
    """How the clips of `config.data` fall into batches, and which fall into none, with the reason.

    Ingested clips go to buckets of pixels, latents to those of `config.loader.layout`.

    Args:
      config: of a run; `data`, `loader`, `buckets`, `packing`, and the patch of `backbone` are read.
      folder: of the run.

    Raises:
      ValueError: clips fit no bucket, or no row.
    """
    if config.data.source == "clips":
        return assign(clip_sizes(config.data.path), _buckets(config, folder), "list").table()
    if config.data.source != "latents":
        shape = build.latent_shape(config, folder)
        num_clips = "endless" if build.is_endless(config) else len(build.clip_source(config, "train"))
        return _one_size(config, shape, num_clips)
    source = build.latents_source(build.latents_folder(config, folder, "train"))
    if config.loader.layout == "packed":
        return build.plan(config, source).table()
    found = bucket_latents(
        source.shapes, build.backbone_config(config).patch, build.section(config, "buckets")
    )
    if config.loader.layout == "buckets":
        return found.table()
    return _one_size(config, build.latent_shape(config, folder), len(source))


def clip_sizes(folder: str | pathlib.Path) -> Int[np.ndarray, "N 3"]:
    """Frames, height and width of each clip that was ingested into a folder, in their order.

    Raises:
      ValueError: the folder has no report of its clips.
    """
    path = pathlib.Path(folder) / REPORT
    if not path.is_file():
        raise ValueError(f"{folder} has no {REPORT}: run experiments.encode with --config.stage=clips")
    rows = map(json.loads, path.read_text().splitlines())
    return np.array([clip["shape"][:3] for row in rows for clip in row["clips"]], np.int32).reshape(-1, 3)


def _buckets(config: ConfigDict, folder: str | pathlib.Path) -> tuple:
    sizes = build.autoencoder_config(config)
    if not config.autoencoder.train:
        sizes = read_autoencoder_config(build.autoencoder_path(config, folder))
    space = sizes.spatial_compression
    compression = (sizes.temporal_compression, space, space)
    return make_buckets(build.section(config, "buckets"), compression, build.backbone_config(config).patch)


def _one_size(config: ConfigDict, shape: tuple[int, ...], num_clips: int | str) -> Table:
    tokens = int(np.prod(shape[:3]) // np.prod(build.backbone_config(config).patch))
    size, batch_size = "x".join(map(str, shape[:3])), config.loader.batch_size
    row = (size, str(num_clips), str(tokens), str(batch_size), str(tokens * batch_size))
    return [("latents", "clips", "tokens", "batch size", "tokens in a batch"), row]
