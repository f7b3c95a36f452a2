# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""HunyuanVideo's transformer against diffusers' own, every parameter drawn anew."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dit_jax.backbone.mmdit import MMDiT
from dit_jax.interop.hunyuan_video import (
    HUNYUAN_VIDEO,
    export_hunyuan_video,
    load_hunyuan_video,
    read_hunyuan_video_config,
)
from dit_jax.interop.weights import export_weights, import_weights
from dit_jax.train.state import abstract_module, count_parameters

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

SIZES = dict(
    in_channels=3,
    out_channels=3,
    num_attention_heads=2,
    attention_head_dim=12,
    num_layers=2,
    num_single_layers=2,
    num_refiner_layers=2,
    patch_size=2,
    patch_size_t=1,
    text_embed_dim=10,
    pooled_projection_dim=5,
    rope_axes_dim=(2, 4, 6),
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
RNG = np.random.default_rng(0)


def make(**change):
    """A model of diffusers, all of it random."""
    model = diffusers.HunyuanVideoTransformer3DModel(**SIZES | change).eval()
    for name, parameter in model.named_parameters():
        is_gain = parameter.ndim == 1 and name.endswith("weight")
        fan_in = np.prod(parameter.shape[1:]) if parameter.ndim > 1 else 10
        values = is_gain + RNG.normal(size=parameter.shape) / np.sqrt(fan_in)
        parameter.data = torch.tensor(values, dtype=torch.float32)
    return model


def write(model, folder):
    """As diffusers lays it out."""
    save_file({name: tensor.numpy() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    model.save_config(folder)
    return folder


@pytest.fixture(scope="module")
def reference():
    return make()


@pytest.fixture(scope="module")
def published(reference, tmp_path_factory):
    return write(reference, tmp_path_factory.mktemp("hunyuan_video"))


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def inputs():
    """Two clips with prompts of 5 and 3 tokens, at times and guidance scales of their own."""
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    micro = {"pooled_text": draw(2, 5), "guidance": np.array([6.0, 1.5], np.float32)}
    return draw(2, 3, 4, 6, 3), np.array([0.3, 0.85], np.float32), draw(2, 5, 10), mask, micro


def ours(model, x, t, text, mask, micro, known=None):
    run = jax.jit(lambda m, *a: m(*a), compiler_options={"xla_backend_optimization_level": 0})
    return np.asarray(
        run(model, *map(jnp.asarray, (x, t, text, mask)), known, jax.tree.map(jnp.asarray, micro))
    )


def theirs(model, x, t, text, mask, micro):
    x, t, text, mask, pooled, guidance = map(torch.tensor, (x, t, text, mask, *micro.values()))
    with torch.no_grad():
        y = model(x.movedim(-1, 1), 1000 * t, text, mask, pooled, 1000 * guidance).sample
    return y.movedim(1, -1).numpy()


def error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_prediction_is_that_of_diffusers(reference, published):
    given = inputs()
    expected = theirs(reference, *given)
    assert error(ours(load_hunyuan_video(published), *given), expected) <= 1e-4
    x, t, text, mask, micro = given
    for name in micro:  # each has its part in it
        changed = theirs(reference, x, t, text, mask, micro | {name: 0 * micro[name]})
        assert error(changed, expected) > 1e-2


def test_a_given_first_frame_is_a_known_one(tmp_path):
    """Its own outputs are nobody's concern."""
    reference = make(image_condition_type="token_replace", num_layers=1, num_single_layers=1)
    given = inputs()
    known = jnp.zeros((2, 3, 4, 6, 1), bool).at[:, 0].set(True)
    found = ours(load_hunyuan_video(write(reference, tmp_path)), *given, known)[:, 1:]
    assert error(found, theirs(reference, *given)[:, 1:]) <= 1e-4


def test_weights_go_out_as_they_came(published, tmp_path):
    """Through a file of ours."""
    imported = import_weights("hunyuan_video", published, tmp_path / "ours.safetensors")
    out = export_weights("hunyuan_video", imported, tmp_path / "out")
    found, expected = load_file(out / WEIGHTS), load_file(published / WEIGHTS)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
    assert read_hunyuan_video_config(out) == read_hunyuan_video_config(published)
    config = diffusers.HunyuanVideoTransformer3DModel.from_pretrained(out).config
    assert {**config, "rope_axes_dim": tuple(config["rope_axes_dim"])}.items() >= SIZES.items()


def test_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        reference = diffusers.HunyuanVideoTransformer3DModel()
    expected = sum(parameter.numel() for parameter in reference.parameters())
    found = count_parameters(abstract_module(lambda rngs: MMDiT(HUNYUAN_VIDEO, rngs=rngs))[1])
    assert found == expected == 12_821_012_544


def test_published_sizes_are_the_default(tmp_path):
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / WEIGHTS)
    assert read_hunyuan_video_config(tmp_path) == HUNYUAN_VIDEO
    reference = diffusers.HunyuanVideoTransformer3DModel.config_name
    with torch.device("meta"):
        diffusers.HunyuanVideoTransformer3DModel().save_config(tmp_path)
    assert (tmp_path / reference).exists()
    assert read_hunyuan_video_config(tmp_path) == HUNYUAN_VIDEO


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_condition_type": "latent_concat"}, "image_condition_type='latent_concat'"),
        ({"mlp_ratio": 2.0}, "mlp_ratio.*not {'mlp_ratio': 2.0}"),
        ({"num_refiner_layers": 0}, "refiner_depth and pooled_text_width of at least 1"),
        ({"out_channels": 6}, "out_channels=6 is not in_channels=3"),
        ({"rope_axes_dim": [2, 2, 2]}, r"rope_pairs=\(1, 1, 1\)"),
    ],
    ids=str,
)
def test_other_networks_are_refused(change, message, published, tmp_path):
    config = json.loads((published / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / WEIGHTS).write_bytes((published / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=f"config.json: not the config of .*{message}"):
        load_hunyuan_video(tmp_path)


def test_what_diffusers_has_not_is_not_exported(published, tmp_path):
    model = load_hunyuan_video(published)
    model.config = dataclasses.replace(model.config, patch=(1, 1, 2))
    with pytest.raises(ValueError, match="square patches"):
        export_hunyuan_video(tmp_path / "none", model)
    with pytest.raises(ValueError, match="of at least 1 and square patches, not 0"):
        load_hunyuan_video(published, dataclasses.replace(model.config, refiner_depth=0, patch=(1, 2, 2)))
    assert not (tmp_path / "none").exists()
