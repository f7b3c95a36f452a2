# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Published weights into files of ours, which say what they hold, and back into their publishers' layouts."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flax import nnx

from dit_jax.autoencoder.files import load_autoencoder, save_autoencoder
from dit_jax.denoiser import Denoiser
from dit_jax.files import write_whole
from dit_jax.interop.hunyuan_video import export_hunyuan_video, load_hunyuan_video
from dit_jax.interop.own import load_backbone, load_run, save_backbone
from dit_jax.interop.safetensors import INDEX, open_tensors, save_tensors, weight_files
from dit_jax.interop.svd import export_svd, load_svd
from dit_jax.interop.t5 import export_t5, load_t5, t5_tensors
from dit_jax.interop.transformers import LAYOUTS, Published, export_transformer, load_transformer
from dit_jax.interop.wan_autoencoder import export_wan_autoencoder, load_wan_autoencoder, read_wan_config
from dit_jax.text.t5 import T5Config

Path = str | os.PathLike


class Kind(NamedTuple):
    """How weights of one kind come in and go out.

    Attributes:
      load: from a path, published weights and what else our file keeps, checked.
      save: these to a file of ours.
      export: from a file of ours to a folder.
    """

    load: Callable[[Path], tuple]
    save: Callable[..., None]
    export: Callable[[Path, pathlib.Path], None]


def import_weights(kind: str, path: Path, out: Path, digests: Sequence[str] = ()) -> pathlib.Path:
    """Writes published weights, once their names, shapes and values are checked, to a file of ours.

    Args:
      kind: a name in `KINDS`.
      path: a safetensors file, the index of several, or a folder that holds one of these.
      out: ends in `.safetensors`; made with its folder, or replaced.
      digests: SHA-256 that the files of `path` must have, in the order of their names; none are not checked.

    Returns:
      What to read: `out`, or the index beside it of weights too large for one file.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: one line: an unknown ending, a pickle, other weights than `kind`, or another digest.
    """
    out = pathlib.Path(out)
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: the name must end in .safetensors")
    if digests:
        _check_digests(weight_files(path), digests)
    held = KINDS[kind].load(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind].save(out, *held)
    return out if out.exists() else out.with_name(out.name + INDEX)


def export_weights(kind: str, path: Path, folder: Path) -> pathlib.Path:
    """Writes what `import_weights` wrote as its publisher's library reads it.

    Args:
      kind: a name in `KINDS`.
      path: of ours.
      folder: made, and given weights and a `config.json`.

    Returns:
      The folder.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: one line that names the file: not one of ours, or of another kind.
    """
    held = _read_config(path).get("kind", "")
    if held != kind:
        raise ValueError(
            f"{os.fspath(path)}: it holds kind={held!r}, not {kind!r}: import_weights writes that"
        )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind].export(path, folder)
    return folder


def _check_digests(files: Sequence[pathlib.Path], expected: Sequence[str]) -> None:
    if len(files) != len(expected):
        raise ValueError(
            f"{len(expected)} digests for {len(files)} files: {', '.join(f.name for f in files)}"
        )
    for file, wanted in zip(files, expected):
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != wanted.lower():
            raise ValueError(f"{file} has SHA-256 {found}, not {wanted}: fetch it again")


def _read_config(path: Path) -> dict[str, object]:
    """That of a file of ours; nothing of another."""
    with open_tensors(path) as tensors:
        try:
            return dict(json.loads(tensors.metadata.get("config", "{}")))
        except (TypeError, ValueError, RecursionError):
            return {}


def _load_wan(path: Path) -> tuple:
    config, stats = read_wan_config(path)
    return load_wan_autoencoder(path, config), stats


def _export_wan(path: Path, folder: pathlib.Path) -> None:
    export_wan_autoencoder(folder, *load_autoencoder(path))


def _t5(name: str, per_layer_bias: bool) -> Kind:
    """Of T5 or UMT5. Ours has the published names, of the encoder alone, and its config as metadata."""

    other = "t5" if per_layer_bias else "umt5"

    def load(path):
        with open_tensors(path) as tensors:
            halved = "BF16" in tensors.dtypes.values()
        model = load_t5(path, "bfloat16" if halved else "float32")
        if model.config.per_layer_bias != per_layer_bias:
            raise ValueError(f"{os.fspath(path)}: these are not the weights of {name}, but of {other}")
        return (model,)

    def save(out, model):
        config = json.dumps({"kind": name, **dataclasses.asdict(model.config)})
        save_tensors(out, t5_tensors(model), {"config": config})

    def export(path, folder):
        model = load_t5(path, _read_config(path)["dtype"])
        export_t5(folder / "model.safetensors", model)
        config = json.dumps(_transformers_config(name, model.config), indent=2)
        write_whole(folder / "config.json", config + "\n")

    return Kind(load, save, export)


def _transformers_config(name: str, config: T5Config) -> dict[str, object]:
    return {
        "architectures": [f"{name.upper()}EncoderModel"],
        "model_type": name,
        "d_ff": config.mlp_width,
        "d_kv": config.head_dim,
        "d_model": config.width,
        "dtype": config.dtype,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": False,
        "num_heads": config.num_heads,
        "num_layers": config.depth,
        "relative_attention_max_distance": config.max_distance,
        "relative_attention_num_buckets": config.num_buckets,
        "vocab_size": config.vocab_size,
    }


def _transformer(name: str) -> Kind:
    """Of a diffusion transformer that is a `DiT` of ours."""

    def save(out, model, kept, facts):
        save_backbone(out, Denoiser(None, model), {"public": facts}, kind=name, kept=kept)

    def export(path, folder):
        own = load_backbone(path)
        export_transformer(folder, name, Published(own.denoiser.backbone, own.kept, own.about["public"]))

    return Kind(functools.partial(load_transformer, name), save, export)


def _export_backbone(path: Path, folder: pathlib.Path) -> None:
    own = load_backbone(path)
    save_backbone(folder / "model.safetensors", own.denoiser, own.about, kept=own.kept)
    write_whole(folder / "config.json", json.dumps(own.about, indent=2) + "\n")


def _diffusers(name: str, load: Callable[[Path], nnx.Module], export: Callable[..., None]) -> Kind:
    """Of a backbone that has one layout, of a class of diffusers."""

    def save(out, model):
        save_backbone(out, Denoiser(None, model), kind=name)

    def to_folder(path, folder):
        export(folder, load_backbone(path).denoiser.backbone)

    return Kind(lambda path: (load(path),), save, to_folder)


KINDS = {
    "backbone": Kind(load_run, save_backbone, _export_backbone),
    **{name: _transformer(name) for name in LAYOUTS},
    "wan_autoencoder": Kind(_load_wan, save_autoencoder, _export_wan),
    "t5": _t5("t5", per_layer_bias=False),
    "umt5": _t5("umt5", per_layer_bias=True),
    "hunyuan_video": _diffusers("hunyuan_video", load_hunyuan_video, export_hunyuan_video),
    "svd_unet": _diffusers("svd_unet", load_svd, export_svd),
}
