# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of the Wan 2.1 autoencoder: from its own repository's names and from those of diffusers, to the latter."""

import json
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.wan import WAN_LATENT_STATS, WanAutoencoder, WanAutoencoderConfig
from dit_jax.autoencoder.wan_layers import Downsample, ResidualBlock, Upsample
from dit_jax.files import write_whole
from dit_jax.interop.safetensors import check_shapes, open_tensors, save_tensors

CLASS_NAME = "AutoencoderKLWan"
_FIELDS = {  # of diffusers' config.json: ours
    "base_dim": "width",
    "dim_mult": "width_multipliers",
    "num_res_blocks": "num_blocks",
    "temperal_downsample": "halve_time",
    "z_dim": "latent_channels",
}


class Names(NamedTuple):
    """What one parameter, or a module of them, is called.

    Attributes:
      ours: the path in `WanAutoencoder`.
      diffusers: in the library of that name.
      original: in the repository of Wan.
      rank: axes in both of these.
    """

    ours: str
    diffusers: str
    original: str
    rank: int = 5

    def inside(self, ours: str, diffusers: str, original: str, rank: int = 5) -> "Names":
        """Of what lies inside this module."""
        inner = (ours, diffusers, original)
        return Names(*(f"{outside}.{name}" for outside, name in zip(self, inner)), rank)


def read_wan_config(path: str | os.PathLike) -> tuple[WanAutoencoderConfig, LatentStats]:
    """Sizes and statistics that diffusers' `config.json` beside weights tells; without one, the published ones.

    Args:
      path: as for `load_wan_autoencoder`.

    Raises:
      ValueError: one line that names the `config.json`: not JSON, sizes that are not valid, or statistics that
        are not one positive deviation, and one mean, for each channel.
    """
    folder = pathlib.Path(path)
    file = (folder if folder.is_dir() else folder.parent) / "config.json"
    try:
        found = json.loads(file.read_text()) if file.is_file() else {}
        if found.get("_class_name") != CLASS_NAME:  # another model's: Wan's own folder has the transformer's
            return WanAutoencoderConfig(), WAN_LATENT_STATS
        sizes = {ours: found[theirs] for theirs, ours in _FIELDS.items() if theirs in found}
        config = WanAutoencoderConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()})
        published = {"latents_mean": WAN_LATENT_STATS.mean, "latents_std": WAN_LATENT_STATS.std}
        mean, std = (np.asarray(found.get(name, value), np.float32) for name, value in published.items())
        if not mean.shape == std.shape == (config.latent_channels,) or not (std > 0).all():
            numbers = f"{config.latent_channels} numbers each, the latter positive"
            raise ValueError(f"latents_mean and latents_std must be {numbers}")
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file}: not the config of an autoencoder: {reason}") from None
    return config, LatentStats(mean, std)


def load_wan_autoencoder(
    path: str | os.PathLike, config: WanAutoencoderConfig | None = None
) -> WanAutoencoder:
    """Reads weights in either naming; parameters are float32. `WAN_LATENT_STATS` are those of the published ones.

    Args:
      path: a safetensors file, the index of several, or a folder that holds one of these.
      config: sizes; those of the published weights by default.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, or tensors missing, unknown, or of another shape.
    """
    model = nnx.eval_shape(lambda: WanAutoencoder(config or WanAutoencoderConfig(), rngs=nnx.Rngs(0)))
    parameters, names = _parameters(model), list(wan_names(model))
    with open_tensors(path) as tensors:
        original = [name.original for name in names]
        diffusers = [name.diffusers for name in names]
        chosen = max((diffusers, original), key=lambda naming: len(tensors.shapes.keys() & set(naming)))
        shapes = [_foreign_shape(parameters[name.ours].shape, name.rank) for name in names]
        check_shapes(tensors.shapes, dict(zip(chosen, shapes)))
        for name, foreign in zip(names, chosen):
            parameter = parameters[name.ours]
            parameter.set_value(jnp.asarray(_to_ours(tensors.read(foreign), parameter.shape)))
    return model


def export_wan_autoencoder(
    folder: str | os.PathLike, model: WanAutoencoder, stats: LatentStats = WAN_LATENT_STATS
) -> None:
    """Writes a folder that diffusers' `AutoencoderKLWan.from_pretrained` reads, and `load_wan_autoencoder`.

    Raises:
      ValueError: `stats` are of another number of channels.
    """
    if len(stats.mean) != model.config.latent_channels:
        raise ValueError(
            f"stats of {len(stats.mean)} channels do not fit latent_channels={model.config.latent_channels}: "
            "measure them with measure_latents"
        )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "diffusion_pytorch_model.safetensors", wan_tensors(model), {"format": "pt"})
    write_whole(folder / "config.json", json.dumps(_diffusers_config(model.config, stats), indent=2) + "\n")


def wan_tensors(model: WanAutoencoder) -> Iterator[tuple[str, np.ndarray]]:
    """Every parameter of `model`, or of its gradient, by diffusers' names and in PyTorch's layout."""
    parameters = _parameters(model)
    for name in wan_names(model):
        ours = np.asarray(parameters[name.ours][...])
        foreign = np.moveaxis(ours, (-1, -2), (0, 1)) if ours.ndim > 1 else ours
        yield name.diffusers, foreign.reshape(_foreign_shape(ours.shape, name.rank))


def wan_names(model: WanAutoencoder) -> Iterator[Names]:
    """The names of every parameter of `model`."""
    yield from _conv(Names("to_moments", "quant_conv", "conv1"))
    yield from _conv(Names("from_latents", "post_quant_conv", "conv2"))
    for ours in ("encoder", "decoder"):
        side = Names(ours, ours, ours)
        yield from _conv(side.inside("conv", "conv_in", "conv1"))
        yield from _middle(side)
        yield from _gain(side.inside("head.gain", "norm_out", "head.0", 4))
        yield from _conv(side.inside("head.conv", "conv_out", "head.2"))
    for i, layer in enumerate(model.encoder.layers):
        at = Names(f"encoder.layers.{i}", f"encoder.down_blocks.{i}", f"encoder.downsamples.{i}")
        yield from _layer(at, layer)
    per_level = model.config.num_blocks + 2  # blocks, then what doubles the size
    for i, layer in enumerate(model.decoder.layers):
        level, place = divmod(i, per_level)
        inner = "upsamplers.0" if isinstance(layer, Upsample) else f"resnets.{place}"
        up = f"decoder.up_blocks.{level}.{inner}"
        yield from _layer(Names(f"decoder.layers.{i}", up, f"decoder.upsamples.{i}"), layer)


def _layer(at: Names, layer: ResidualBlock | Downsample | Upsample) -> Iterator[Names]:
    if isinstance(layer, ResidualBlock):
        yield from _block(at, layer.shortcut is not None)
    else:
        yield from _conv(at.inside("space", "resample.1", "resample.1", 4))
        if layer.time is not None:
            yield from _conv(at.inside("time", "time_conv", "time_conv"))


def _block(at: Names, has_shortcut: bool) -> Iterator[Names]:
    for i, (norm, conv) in enumerate(((0, 2), (3, 6)), 1):
        yield from _gain(at.inside(f"gain{i}", f"norm{i}", f"residual.{norm}", 4))
        yield from _conv(at.inside(f"conv{i}", f"conv{i}", f"residual.{conv}"))
    if has_shortcut:
        yield from _conv(at.inside("shortcut", "conv_shortcut", "shortcut"))


def _middle(side: Names) -> Iterator[Names]:
    yield from _block(side.inside("middle.before", "mid_block.resnets.0", "middle.0"), False)
    attention = side.inside("middle.attention", "mid_block.attentions.0", "middle.1")
    yield from _gain(attention.inside("gain", "norm", "norm", 3))
    yield from _conv(attention.inside("query_key_value", "to_qkv", "to_qkv", 4))
    yield from _conv(attention.inside("out", "proj", "proj", 4))
    yield from _block(side.inside("middle.after", "mid_block.resnets.1", "middle.2"), False)


def _conv(at: Names) -> Iterator[Names]:
    yield at.inside("kernel", "weight", "weight", at.rank)
    yield at.inside("bias", "bias", "bias", 1)


def _gain(at: Names) -> Iterator[Names]:
    yield Names(at.ours, f"{at.diffusers}.gamma", f"{at.original}.gamma", at.rank)


def _parameters(model: WanAutoencoder) -> dict[str, nnx.Param]:
    nodes = nnx.iter_graph(model)
    return {".".join(map(str, path)): node for path, node in nodes if isinstance(node, nnx.Param)}


def _foreign_shape(ours: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Of a kernel `(time, height, width, in, out)`: `(out, in, ...)`; of a gain: `(channels, 1, ...)`."""
    if len(ours) == 1:
        return ours + (1,) * (rank - 1)
    return (ours[-1], ours[-2], *ours[5 - rank : 3])


def _to_ours(foreign: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return foreign.reshape(shape)
    return np.moveaxis(foreign.reshape(shape[-1], shape[-2], *shape[:-2]), (0, 1), (-1, -2))


def _diffusers_config(config: WanAutoencoderConfig, stats: LatentStats) -> dict[str, object]:
    return {
        "_class_name": CLASS_NAME,
        **{theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()},
        "attn_scales": [],
        "dropout": 0.0,
        "latents_mean": np.asarray(stats.mean).tolist(),
        "latents_std": np.asarray(stats.std).tolist(),
        "scale_factor_spatial": config.spatial_compression,
        "scale_factor_temporal": config.temporal_compression,
    }
