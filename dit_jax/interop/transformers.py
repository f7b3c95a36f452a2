# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Public diffusion transformers as a `DiT` of ours, and back: DiT, SiT, Latte and Wan 2.1."""

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.files import write_whole
from dit_jax.interop import transformer_layouts as layouts
from dit_jax.interop import transformer_sizes as sizes
from dit_jax.interop.entries import parameters_by_path, read_entries, write_entries
from dit_jax.interop.safetensors import Shapes, open_tensors, save_tensors

Path = str | os.PathLike


class Layout(NamedTuple):
    """How one publisher keeps a transformer.

    Attributes:
      mark: a tensor that tells the layout from the others of its kind.
      sizes: the kind, shapes and `config.json` to our config and what else an export needs.
      entries: these to a table of tensors.
      config: these to a `config.json`.
      file: that an export writes beside it.
    """

    mark: str
    sizes: Callable[..., tuple[DiTConfig, layouts.Facts]]
    entries: Callable[[DiTConfig, layouts.Facts], layouts.Entries]
    config: Callable[[DiTConfig, layouts.Facts], dict[str, Any]]
    file: str = "diffusion_pytorch_model.safetensors"


_DIT = Layout("x_embedder.proj.weight", sizes.dit_sizes, layouts.dit, sizes.dit_json, "model.safetensors")
LAYOUTS: Mapping[str, Mapping[str, Layout]] = {  # of each kind; the first is that of exports
    "dit": {
        "diffusers": Layout(
            "proj_out_2.weight",
            sizes.dit_diffusers_sizes,
            layouts.dit_diffusers,
            sizes.dit_diffusers_json,
        ),
        "original": _DIT,
    },
    "sit": {"original": _DIT._replace(entries=layouts.sit)},
    "latte": {
        "diffusers": Layout("adaln_single.linear.weight", sizes.latte_sizes, layouts.latte, sizes.latte_json)
    },
    "wan_transformer": {
        "diffusers": Layout(
            "condition_embedder.time_proj.weight",
            sizes.wan_diffusers_sizes,
            layouts.wan_diffusers,
            sizes.wan_diffusers_json,
        ),
        "original": Layout("time_projection.1.weight", sizes.wan_sizes, layouts.wan, sizes.wan_json),
    },
}


class Published(NamedTuple):
    """A transformer from a public file.

    Attributes:
      model: what it computes, in our conventions.
      kept: what of the file `DiT` has no place for, by name.
      facts: what its config tells and ours does not.
    """

    model: DiT
    kept: Mapping[str, np.ndarray]
    facts: layouts.Facts


def load_transformer(kind: str, path: Path) -> Published:
    """Reads weights in any layout of their kind; parameters are float32.

    Heads are read from the `config.json` beside the weights; without one they are those published for the width.

    Args:
      kind: a name in `LAYOUTS`.
      path: a safetensors file, the index of several, or a folder that holds one of these.

    Raises:
      FileNotFoundError: no such file.
      ValueError: one line that names the file: not safetensors, tensors missing, unknown, of another shape or not
        finite, or a network that is none of ours.
    """
    found = _config_beside(pathlib.Path(path))
    with open_tensors(path) as tensors:
        layout = _layout_of(kind, tensors.shapes)
        try:
            config, facts = layout.sizes(kind, tensors.shapes, found)
        except KeyError as error:
            raise ValueError(f"tensor {error} is missing: not the weights of {kind}") from None
        model = nnx.eval_shape(lambda: DiT(config, rngs=nnx.Rngs(0)))
        parameters = parameters_by_path(model)
        shapes = _with_kept({name: tuple(p.shape) for name, p in parameters.items()}, facts)
        entries = list(layout.entries(config, facts))
        values = read_entries(tensors, entries, shapes, _num_blocks(config))
    for name, parameter in parameters.items():
        parameter.set_value(jnp.asarray(values.pop(name)))
    return Published(model, values, facts)


def export_transformer(
    folder: Path, kind: str, published: Published, layout: str | None = None
) -> pathlib.Path:
    """Writes weights and a `config.json` as their publisher does.

    Args:
      folder: made where it is missing.
      kind: a name in `LAYOUTS`.
      published: from `load_transformer`, trained further or not.
      layout: a name in `LAYOUTS[kind]`; the first by default, diffusers' where it has such a class.

    Raises:
      ValueError: the model is of another kind, or no such network is there.
    """
    sizes.check_fits(kind, published.model.config)
    chosen = LAYOUTS[kind][layout or next(iter(LAYOUTS[kind]))]
    content = json.dumps(chosen.config(published.model.config, published.facts), indent=2) + "\n"
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / chosen.file, transformer_tensors(chosen, published), {"format": "pt"})
    write_whole(folder / "config.json", content)
    return folder


def transformer_tensors(layout: Layout, published: Published) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of a layout, by name."""
    config = published.model.config
    values = {name: np.asarray(p[...]) for name, p in parameters_by_path(published.model).items()}
    entries = layout.entries(config, published.facts)
    return write_entries(entries, values | published.kept, _num_blocks(config))


def label_text(
    labels: Int[Array, " B"], config: DiTConfig
) -> tuple[Float[Array, "B 1 E"], Bool[Array, "B 1"]]:
    """Text tokens and mask that condition a `dit` or `sit` on class labels; the last one is no class."""
    tokens = jnp.arange(config.text_width) == labels[:, None, None]
    return tokens.astype(jnp.float32), jnp.ones((len(labels), 1), bool)


def _layout_of(kind: str, shapes: Shapes) -> Layout:
    for layout in LAYOUTS[kind].values():
        if layout.mark in shapes:
            return layout
    marks = " nor ".join(layout.mark for layout in LAYOUTS[kind].values())
    raise ValueError(f"it holds no {marks}: not the weights of {kind}")


def _with_kept(shapes: Shapes, facts: layouts.Facts) -> Shapes:
    if not facts.get("learn_sigma"):
        return shapes
    return {**shapes, **{f"{layouts.VARIANCE}.{name}": shapes[f"head.{name}"] for name in ("kernel", "bias")}}


def _num_blocks(config: DiTConfig) -> int:
    return config.depth // len(config.unit)


def _config_beside(path: pathlib.Path) -> dict[str, Any]:
    """Nothing, where there is none."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        return dict(json.loads(file.read_text())) if file.is_file() else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a config: {str(error).partition(chr(10))[0]}") from None
