# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Wan's text-to-video transformer against diffusers' own."""

import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from safetensors.numpy import load_file  # noqa: E402

from dit_jax.interop.transformers import export_transformer, load_transformer  # noqa: E402
from tests.interop.transformer_parity import (  # noqa: E402
    WEIGHTS,
    assert_comes_back,
    assert_same,
    channels_first,
    channels_last,
    error,
    normal,
    predict,
    randomised,
    saved,
    tensors_of,
)

CHANNELS = 3


def make(heads=2, head_dim=16, patch=(1, 2, 2), **change):
    sizes = dict(
        patch_size=patch,
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=10,
        freq_dim=16,
        ffn_dim=56,
        num_layers=2,
    )
    return randomised(diffusers.WanTransformer3DModel(**sizes | change))


def original_name(name):
    """Wan's own."""
    steps = [
        (r"condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
        (r"condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
        (r"condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
        (r"condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
        (r"condition_embedder\.time_proj", "time_projection.1"),
        (r"^scale_shift_table", "head.modulation"),
        (r"\.scale_shift_table", ".modulation"),
        (r"proj_out", "head.head"),
        (r"attn1", "self_attn"),
        (r"attn2", "cross_attn"),
        (r"to_out\.0", "o"),
        (r"to_([qkv])", r"\1"),
        (r"ffn\.net\.0\.proj", "ffn.0"),
        (r"ffn\.net\.2", "ffn.2"),
        (r"\.norm2\.", ".norm3."),
    ]
    for pattern, ours in steps:
        name = re.sub(pattern, ours, name)
    return name


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (dict(), (3, 4, 6)),
        (dict(heads=3, head_dim=10), (1, 4, 4)),
        (dict(heads=1, head_dim=22, patch=(2, 1, 2)), (4, 3, 8)),
    ],
)
def test_predictions_are_those_of_diffusers(change, shape, tmp_path):
    theirs = make(**change)
    theirs.save_pretrained(tmp_path)
    model = load_transformer("wan_transformer", tmp_path).model
    x, times, text = normal(2, *shape, CHANNELS), np.array([0.02, 0.7], np.float32), normal(2, 5, 10)
    ours = predict(model, x, times, text, np.ones((2, 5), bool))
    with torch.no_grad():
        given = channels_first(x), torch.tensor(1000 * times), torch.tensor(text)
        expected = channels_last(theirs(*given).sample)
    assert error(ours, expected) <= 1e-4


def test_the_public_file_comes_back_and_diffusers_loads_it(tmp_path):
    theirs = make()
    theirs.save_pretrained(tmp_path / "public")
    out = assert_comes_back("wan_transformer", tmp_path / "public", tmp_path)
    config = json.loads((out / "config.json").read_text())
    assert diffusers.WanTransformer3DModel.from_config(config).config.ffn_dim == 56
    assert_same(load_file(out / WEIGHTS), tensors_of(theirs))
    for name, value in config.items():
        assert name == "_class_name" or list(np.ravel(theirs.config[name])) == list(np.ravel(value)), name


def test_the_original_names_are_read_and_written(tmp_path):
    theirs = make()
    theirs.save_pretrained(tmp_path / "diffusers")
    tensors = {original_name(name): tensor for name, tensor in tensors_of(theirs).items()}
    utils = pytest.importorskip("diffusers.loaders.single_file_utils")
    converted = utils.convert_wan_transformer_to_diffusers(dict(tensors))  # the library's own reading
    assert converted.keys() == tensors_of(theirs).keys()
    saved(tmp_path / "original", tensors)
    (tmp_path / "original/config.json").write_text(json.dumps({"num_heads": 2, "model_type": "t2v"}))
    one, other = (load_transformer("wan_transformer", tmp_path / name) for name in ("diffusers", "original"))
    assert one.model.config == other.model.config
    out = export_transformer(tmp_path / "out", "wan_transformer", other, "original")
    assert_same(load_file(next(out.glob("*.safetensors"))), tensors)
    assert json.loads((out / "config.json").read_text())["dim"] == 32
    out = export_transformer(tmp_path / "out2", "wan_transformer", other)
    assert_same(load_file(next(out.glob("*.safetensors"))), tensors_of(theirs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(in_channels=2 * CHANNELS), r"image-to-video \(6 channels in, fewer out\)"),
        (dict(image_dim=8, added_kv_proj_dim=32), r"image-to-video \(.*(image_embedder|add_k_proj)"),
        (dict(cross_attn_norm=False), "missing 4: blocks.0.norm2.weight"),
    ],
)
def test_other_networks_are_refused(change, message, tmp_path):
    make(**change).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message) as refusal:
        load_transformer("wan_transformer", tmp_path)
    assert "\n" not in str(refusal.value)
