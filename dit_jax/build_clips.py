# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The clips that a config's `data` names: the table of sources, which `build` is the rest of."""

import functools

from ml_collections import ConfigDict

from dit_jax.data.clip import ClipSource
from dit_jax.data.clips_io import ClipsSource
from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.recaptions import Recaptioned, read_recaptions
from dit_jax.data.sources import FolderConfig, FolderSource, TFDSConfig, TFDSSource
from dit_jax.data.split import Part
from dit_jax.data.transforms import drawn_levels
from dit_jax.sections import construct, nearest


def clip_source(config: ConfigDict, split: str) -> ClipSource:
    """The clips of the `train` or `validation` split of `config.data`, with its dense captions where it names
    some (`config.data.recaptions`)."""
    return recaptioned(config, _own_clips(config, split))


def recaptioned(config: ConfigDict, source: ClipSource) -> ClipSource:
    """Clips with the dense captions that `config.data.recaptions` names, if it does."""
    folder = config.data.get("recaptions")
    return Recaptioned(source, read_recaptions(folder), folder) if folder else source


def _own_clips(config: ConfigDict, split: str) -> ClipSource:
    """The clips with the captions that they came with.

    The known world's splits are streams of their own. Of each file of a folder, of ingested clips, and of the
    train split of a TFDS data set, the last are held out.
    """
    data, training = config.data, split == "train"
    size = dict(num_frames=data.num_frames, height=data.height, width=data.width)
    if data.source == "known_world":
        num_clips = (data.num_clips or None) if training else config.evaluate.num_clips
        seed = 2 * data.seed + (not training)
        return KnownWorld(
            KnownWorldConfig(level=data.level, fps=data.fps, seed=seed, num_clips=num_clips, **size)
        )
    if data.source == "folder":
        sizes = construct(FolderConfig, {**size, **data.folder, "path": data.path, "fps": data.fps}, "data")
        files = _folder_source(sizes)
        return Part(files, training, config.evaluate.num_clips, files.overlap, files.ends)
    if data.source == "clips":
        clips = ClipsSource(data.path, tuple(size.values()))
        return Part(clips, training, config.evaluate.num_clips, clips.overlap)
    if data.source == "tfds":
        source = TFDSSource(TFDSConfig(name=data.path, split="train", data_dir=data.tfds_dir, fps=data.fps))
        shape = source[0].video.shape[:3]
        if shape != tuple(size.values()):
            raise ValueError(
                f"the clips of {data.path} are {shape} (frames, height, width) and config.data asks for "
                f"{tuple(size.values())}: make them equal"
            )
        return Part(source, training, config.evaluate.num_clips, 0)
    raise ValueError(
        f"config.data.source={data.source!r} is unknown; "
        f"{nearest(data.source, ['known_world', 'folder', 'tfds', 'clips', 'latents'])}"
    )


@functools.lru_cache(maxsize=2)
def _folder_source(config: FolderConfig) -> FolderSource:
    """Scanned once in this process: a scan decodes every file."""
    return FolderSource(config)


def known_world(config: ConfigDict) -> KnownWorldConfig:
    """The known world in whose words prompts are, whichever its clips."""
    data = config.data
    size = dict(num_frames=data.num_frames, height=data.height, width=data.width)
    return KnownWorldConfig(level=data.level, fps=data.fps or KnownWorldConfig.fps, **size)


def caption_level(config: ConfigDict) -> str:
    """The level of captions that is trained on most, and so validated and sampled with."""
    weights = config.data.caption_weights.to_dict()
    return max(weights, key=weights.get)


def caption_levels(config: ConfigDict) -> tuple[str, ...]:
    """The levels of captions that are trained on."""
    return drawn_levels(config.data.caption_weights.to_dict())


def is_endless(config: ConfigDict) -> bool:
    """Whether training reads fresh clips for ever, and so encodes them as it goes."""
    return config.data.source == "known_world" and not config.data.num_clips
