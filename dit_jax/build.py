# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The one table from a config to objects.

A config is a `ConfigDict` with one section per component; below this module nothing sees one.
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from flax import nnx
from ml_collections import ConfigDict

from dit_jax import prompts
from dit_jax.autoencoder.discriminator import DiscriminatorConfig
from dit_jax.autoencoder.files import load_autoencoder, read_autoencoder_config
from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.losses import AutoencoderLossConfig
from dit_jax.autoencoder.model import AutoencoderConfig
from dit_jax.autoencoder.stages import StageConfig
from dit_jax.autoencoder.streaming import CausalAutoencoder
from dit_jax.backbone.patchify import Patch, token_grid
from dit_jax.backbone.registry import BACKBONES, Backbone
from dit_jax.build_clips import (
    caption_level,
    caption_levels,
    clip_source,
    is_endless,
    known_world,
    recaptioned,
)
from dit_jax.data.batches import by_size
from dit_jax.data.buckets import (
    Assignment,
    BucketConfig,
    Fitted,
    assign,
    bucket_latents,
    make_buckets,
    own_sizes,
)
from dit_jax.data.captioner import Captioner, KnownWorldCaptioner
from dit_jax.data.captions import caption_at
from dit_jax.data.clip import ClipSource
from dit_jax.data.clips_io import ClipsSource, clip_sizes
from dit_jax.data.latents_io import latents_source
from dit_jax.data.loader import Loader, LoaderConfig
from dit_jax.data.packing import Packed, PackingConfig, token_grids
from dit_jax.data.plan import Plan
from dit_jax.data.recaptions import RecaptionConfig
from dit_jax.data.split import Part
from dit_jax.data.transforms import MICRO, Cut, ToElement, no_text, padded_text
from dit_jax.data.vision_endpoint import VisionEndpoint, VisionEndpointConfig
from dit_jax.denoiser import Denoiser
from dit_jax.diffusion.objective import ObjectiveConfig
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.evaluate.loss_grid import LossGridConfig
from dit_jax.mesh import MeshConfig
from dit_jax.prompts import ByteText, FrozenText
from dit_jax.sections import construct, nearest
from dit_jax.text.byte import ByteTextEncoder, byte_text_flops
from dit_jax.text.frozen import FrozenTextConfig
from dit_jax.train.loop import LoopConfig
from dit_jax.train.optimizer import OptimizerConfig

CAPTIONERS = {  # name: maker
    "known_world": lambda config: KnownWorldCaptioner(known_world(config)),
    "endpoint": lambda config: VisionEndpoint(section(config, "endpoint")),
}
SECTIONS = {
    "autoencoder_loss": AutoencoderLossConfig,
    "autoencoder_optimizer": OptimizerConfig,
    "buckets": BucketConfig,
    "discriminator": DiscriminatorConfig,
    "endpoint": VisionEndpointConfig,
    "evaluate": LossGridConfig,
    "frozen_text": FrozenTextConfig,
    "loader": LoaderConfig,
    "mesh": MeshConfig,
    "objective": ObjectiveConfig,
    "optimizer": OptimizerConfig,
    "packing": PackingConfig,
    "recaption": RecaptionConfig,
    "sampler": SamplerConfig,
    "train": LoopConfig,
}
EMBEDDED = "known_world"
TRAINED = "autoencoder.safetensors"  # in the folder of the run or sweep that trains one
WEIGHTS = pathlib.Path(__file__).parent / "autoencoder" / "weights"


def section(config: ConfigDict, name: str) -> Any:
    """The validated dataclass of a section in `SECTIONS`."""
    return construct(SECTIONS[name], config.get(name, {}), name)


def backbone(config: ConfigDict) -> Backbone:
    """What `config.backbone.name` names."""
    name = config.backbone.name
    if name not in BACKBONES:
        raise ValueError(f"config.backbone.name={name!r} is unknown; {nearest(name, list(BACKBONES))}")
    return BACKBONES[name]


def backbone_config(config: ConfigDict) -> Any:
    """The validated config of the backbone that `config.backbone.name` names."""
    kind = backbone(config)
    values = {key: value for key, value in config.backbone.to_dict().items() if key != "name"}
    return construct(kind.config, values, "backbone")


def patch(config: ConfigDict) -> Patch:
    """Of the backbone; a U-Net takes every latent by itself."""
    return tuple(getattr(backbone_config(config), "patch", (1, 1, 1)))


def micro(config: ConfigDict) -> tuple[str, ...]:
    """What the backbone is told of a clip besides its text, and clips know."""
    return tuple(name for name in getattr(backbone_config(config), "micro", ()) if name in MICRO)


def denoiser(config: ConfigDict) -> Callable[[nnx.Rngs], Denoiser]:
    """A maker of the text encoder and backbone."""
    text, sizes, module = prompts.text(config), backbone_config(config), backbone(config).module
    if not isinstance(text, ByteText):
        return lambda rngs: Denoiser(None, module(sizes, rngs=rngs))
    if sizes.text_width != text.config.width:
        raise ValueError(
            f"config.backbone.text_width={sizes.text_width} differs from config.text.width="
            f"{text.config.width}: make them equal"
        )
    return lambda rngs: Denoiser(ByteTextEncoder(text.config, rngs=rngs), module(sizes, rngs=rngs))


def forward_flops(config: ConfigDict, latent_shape: tuple[int, ...]) -> dict[str, int]:
    """FLOPs of one clip's forward pass, by part."""
    text = prompts.text(config)
    parts = backbone(config).flops(backbone_config(config), latent_shape, text.num_tokens)
    return {**parts, "text_encoder": byte_text_flops(text.config) if isinstance(text, ByteText) else 0}


def null_text(config: ConfigDict, folder: str | pathlib.Path = ".") -> dict[str, np.ndarray]:
    """What the empty prompt conditions with, by name, of one row: as the latents of `config.data` were stored
    with it, else as it is encoded now.

    Raises:
      ValueError: its tokens are not `config.backbone.text_width` wide.
    """
    text = prompts.text(config)
    if isinstance(text, ByteText):
        return text([""])
    if config.data.source == "latents":
        tokens = latents_source(latents_folder(config, folder, "train")).sources[0].null_text
    else:
        tokens = text.tokens([""])[0]
    if tokens.shape[1] != config.backbone.text_width:
        raise ValueError(
            f"config.backbone.text_width={config.backbone.text_width} differs from the {tokens.shape[1]} of the "
            f"{config.text.name}: make them equal"
        )
    return {name: array[None] for name, array in padded_text(tokens, text.num_tokens).items()}


def encode_prompts(config: ConfigDict) -> Callable[[Sequence[str]], dict[str, np.ndarray]]:
    """What prompts condition with, by name; an encoder's weights are read when it is first called."""
    return prompts.text(config)


def captioner(config: ConfigDict) -> Captioner:
    """What `config.recaption.captioner` names."""
    name = section(config, "recaption").captioner
    if name not in CAPTIONERS:
        raise ValueError(f"config.recaption.captioner={name!r} is unknown; {nearest(name, list(CAPTIONERS))}")
    return CAPTIONERS[name](config)


def encoded_clips(config: ConfigDict, split: str, folder: str | pathlib.Path = ".") -> ClipSource:
    """The clips that latents are made of: those of `clip_source`, or, where `config.loader.layout` takes clips
    of several sizes and ingested ones have them, these at the sizes that they train with."""
    if config.data.source != "clips" or config.loader.layout == "fixed":
        return clip_source(config, split)
    clips = ClipsSource(config.data.path)
    source = Fitted(clips, native_sizes(config, folder))
    part = Part(source, split == "train", config.evaluate.num_clips, clips.overlap)
    return recaptioned(config, part)


def native_sizes(
    config: ConfigDict, folder: str | pathlib.Path = ".", unfit: str | None = None
) -> Assignment:
    """The size that each ingested clip of `config.data` trains with: its bucket's, or in packed rows its own.

    Args:
      config: `data`, `loader`, `buckets`, `packing`, and the patch of `backbone` are read.
      folder: of the run, to which the autoencoder's path may be relative.
      unfit: in the place of `config.buckets.unfit`.

    Raises:
      ValueError: clips fit no bucket, or no row.
    """
    sizes, cell = autoencoder_sizes(config, folder), patch(config)
    compression = (sizes.temporal_compression, *[sizes.spatial_compression] * 2)
    buckets, clips = section(config, "buckets"), clip_sizes(config.data.path)
    unfit = unfit or buckets.unfit
    if config.loader.layout == "packed":
        return own_sizes(clips, compression, cell, section(config, "packing").row_tokens, unfit)
    return assign(clips, make_buckets(buckets, compression, cell), unfit)


def sizes_identity(config: ConfigDict) -> dict[str, Any] | None:
    """What the sizes of `encoded_clips` depend on beside `config.data`, as JSON; None where they are of one."""
    if config.data.source != "clips" or config.loader.layout == "fixed":
        return None
    name = "packing" if config.loader.layout == "packed" else "buckets"
    values = json.loads(json.dumps(config[name].to_dict()))
    return {"layout": config.loader.layout, "patch": list(patch(config)), **values}


def warn_of_cut_captions(config: ConfigDict, folder: str | pathlib.Path = ".") -> None:
    """Says how many held-out captions are longer than the text encoder reads."""
    source, level, text = (
        encoded_clips(config, "validation", folder),
        caption_level(config),
        prompts.text(config),
    )
    count = min(len(source), config.evaluate.num_clips)
    excess = [text.excess(caption_at(source[i].captions, level)) for i in range(count)]
    if cut := sum(map(bool, excess)):
        logging.warning(
            "%d of %d captions are cut, the longest by %d: raise config.%s",
            *(cut, count, max(excess)),
            "text.max_bytes" if isinstance(text, ByteText) else "frozen_text.num_tokens",
        )


def loader(
    config: ConfigDict, source: Any, seed: int, stage: StageConfig | None = None, **hosts: int
) -> Loader:
    """Shuffled batches of a source's elements, for ever; as an autoencoder's `stage` wants them, if given."""
    values = config.loader.to_dict() | {"seed": seed}
    read_text = no_text if stage else prompts.text(config).reader
    transform = ToElement(config.data.caption_weights.to_dict(), read_text, () if stage else micro(config))
    if stage:
        values |= dict(batch_size=stage.batch_size or config.autoencoder.batch_size, layout="fixed")
        transform = Cut(transform, stage.num_frames, stage.side)
    settings = construct(LoaderConfig, values, "loader")
    return Loader(source, transform, settings, **hosts, plan=None if stage else plan(config, source))


def held_out(config: ConfigDict, source: Any) -> list[dict[str, np.ndarray]]:
    """The first `config.evaluate.num_clips` elements of a source whole, as arrays by name, with the captions that
    are trained on most: one batch, or where clips are of several sizes, one for each size."""
    transform = ToElement({caption_level(config): 1.0}, prompts.text(config).reader, micro(config))
    count, rng = min(len(source), config.evaluate.num_clips), np.random.default_rng(0)
    return by_size([transform.random_map(source[index], rng) for index in range(count)])


def plan(config: ConfigDict, source: Any) -> Plan | None:
    """What is in which batch of latents of several sizes; None where they are of one."""
    settings = section(config, "loader")
    if settings.layout == "fixed":
        return None
    if not hasattr(source, "shapes"):
        raise ValueError(f"config.loader.layout={settings.layout!r} is for latents: encode the clips first")
    cell = patch(config)
    if settings.layout == "packed":
        return Packed(token_grids(source.shapes, cell), cell, section(config, "packing"), settings.batch_size)
    buckets = section(config, "buckets")
    return bucket_latents(source.shapes, cell, buckets).plan(buckets.batch_multiple)


def latents_folder(config: ConfigDict, folder: str | pathlib.Path, split: str) -> pathlib.Path:
    """Where the latents of a split lie: those that `config.data.path` names, or the run's own."""
    folder = pathlib.Path(folder)
    folder = folder / config.data.path if config.data.source == "latents" else folder / "latents"
    return (folder / split).resolve()  # one name for it, however a run's folder leads there


def autoencoder_config(config: ConfigDict) -> AutoencoderConfig:
    """Sizes of the autoencoder that is to be trained."""
    return construct(AutoencoderConfig, config.autoencoder.model, "autoencoder.model")


def autoencoder_stages(config: ConfigDict) -> list[StageConfig]:
    """The stages of its training; one of everything where the config names none."""
    stages = config.autoencoder.get("stages") or ({},)
    return [construct(StageConfig, stage, f"autoencoder.stages[{i}]") for i, stage in enumerate(stages)]


def stage_loss(config: ConfigDict, stage: StageConfig) -> AutoencoderLossConfig:
    """The weights of a stage."""
    weights = config.autoencoder_loss.to_dict() | dict(stage.loss)
    return construct(AutoencoderLossConfig, weights, "autoencoder.stages.loss")


def autoencoder(
    config: ConfigDict, folder: str | pathlib.Path = "."
) -> tuple[CausalAutoencoder, LatentStats]:
    """The trained autoencoder that `config.autoencoder.path` names: a file, relative to `folder` or absolute,
    or `known_world`, which comes with the package; or the one that was trained in `folder`."""
    return load_autoencoder(autoencoder_path(config, folder))


def autoencoder_path(config: ConfigDict, folder: str | pathlib.Path = ".") -> pathlib.Path:
    """The file of `autoencoder`."""
    if config.autoencoder.train:
        return pathlib.Path(folder) / TRAINED
    if config.autoencoder.path == EMBEDDED:
        return WEIGHTS / f"{EMBEDDED}.safetensors"
    return pathlib.Path(folder) / config.autoencoder.path


def autoencoder_sizes(config: ConfigDict, folder: str | pathlib.Path = ".") -> Any:
    """The config of the autoencoder that is to be trained, or is there."""
    if config.autoencoder.train:
        return autoencoder_config(config)
    return read_autoencoder_config(autoencoder_path(config, folder))


def latent_shape(config: ConfigDict, folder: str | pathlib.Path = ".") -> tuple[int, int, int, int]:
    """(t, h, w, c) of the latents of `config.data`; where they are of several sizes, the most frequent.

    Raises:
      ValueError: the clips' size does not suit the autoencoder, or the sizes are several and the loader's layout
        is for one.
    """
    if config.data.source == "latents":
        source = latents_source(latents_folder(config, folder, "train"))
        metadata = source.sources[0].metadata
        _check_recaptions(config, metadata)
        if isinstance(text := prompts.text(config), FrozenText):
            text.check_stored(metadata, caption_levels(config), config.data.path)
        shapes, counts = np.unique(source.shapes, axis=0, return_counts=True)
        if len(shapes) > 1 and config.loader.layout == "fixed":
            raise ValueError(
                f"{config.data.path} has latents of {len(shapes)} sizes, and config.loader.layout='fixed' is for "
                "one: use 'packed' or 'buckets'"
            )
        return tuple(map(int, shapes[counts.argmax()]))
    data, sizes = config.data, autoencoder_sizes(config, folder)
    return (*sizes.latent_shape((data.num_frames, data.height, data.width)), sizes.latent_channels)


def _check_recaptions(config: ConfigDict, metadata: Mapping[str, Any]) -> None:
    """Latents have the captions that they were encoded with."""
    mine, theirs = config.data.get("recaptions", ""), metadata.get("source", {}).get("recaptions", "")
    if mine and mine != theirs:
        raise ValueError(
            f"config.data.recaptions={mine!r}, and the latents were encoded with {theirs!r}: encode the clips "
            "again with these captions"
        )


def check(config: ConfigDict, shape: tuple[int, ...]) -> None:
    """Validates every section against the others, before anything is compiled.

    Args:
      config: of a run.
      shape: `(t, h, w, c)` of its latents.

    Raises:
      ValueError: a section is not valid, or does not suit another.
    """
    for name in SECTIONS:
        section(config, name)
    construct(LoaderConfig, config.loader.to_dict() | {"seed": config.seed}, "loader")
    if isinstance(prompts.text(config), FrozenText) and is_endless(config):
        raise ValueError(
            f"config.data.num_clips=0 makes clips for ever, whose captions no {config.text.name} can read in time: "
            "give a number of clips, or set config.text.name='byte'"
        )
    caption_levels(config)
    for stage in autoencoder_stages(config):
        stage_loss(config, stage)
    denoiser(config)
    if config.loader.layout == "packed" and not hasattr(backbone(config).module, "packed"):
        raise ValueError(
            f"config.backbone.name={config.backbone.name!r} works on a grid, and config.loader.layout='packed' "
            "has none: use 'buckets' or 'fixed', or a transformer"
        )
    if config.loader.layout == "packed" and config.objective.get("per_frame_time"):
        raise ValueError(
            "config.objective.per_frame_time=True needs a grid, and config.loader.layout='packed' has none: use "
            "'buckets' or 'fixed'"
        )
    token_grid(shape, patch(config))
    if (channels := backbone_config(config).in_channels) != shape[-1]:
        raise ValueError(
            f"config.backbone.in_channels={channels} differs from the latents' {shape[-1]} "
            "channels: make them equal"
        )
