# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Latte's text-to-video transformer against diffusers' own."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from dit_jax.interop.transformers import load_transformer  # noqa: E402
from tests.interop.transformer_parity import (  # noqa: E402
    assert_comes_back,
    assert_same,
    channels_first,
    channels_last,
    error,
    normal,
    predict,
    randomised,
    tensors_of,
)

CHANNELS = 3


def make(frames=4, sample_size=8, **change):
    sizes = dict(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=2,
        cross_attention_dim=24,
        attention_bias=True,
        sample_size=sample_size,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        caption_channels=10,
        video_length=frames,
    )
    return randomised(diffusers.LatteTransformer3DModel(**sizes | change))


@pytest.mark.parametrize(("frames", "side"), [(4, 8), (3, 12), (1, 8)])
def test_predictions_are_those_of_diffusers(frames, side, tmp_path):
    """Of clips and, without a place in time, of images."""
    theirs = make(frames, side)
    theirs.save_pretrained(tmp_path)
    model = load_transformer("latte", tmp_path).model
    x, steps, text = normal(2, frames, side, side, CHANNELS), [7, 640], normal(2, 5, 10)
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    ours = predict(model, x, np.array(steps, np.float32) / 1000, text, mask)
    bias = torch.where(torch.tensor(mask), 0.0, -1e9)[:, None].repeat_interleave(frames, 0)
    with torch.no_grad():
        given = channels_first(x), torch.tensor(steps), torch.tensor(text), bias
        expected = channels_last(theirs(*given).sample)
    assert error(ours, expected[..., :CHANNELS]) <= 1e-4


def test_the_public_file_comes_back_and_diffusers_loads_it(tmp_path):
    theirs = make()
    theirs.save_pretrained(tmp_path / "public")
    out = assert_comes_back("latte", tmp_path / "public", tmp_path)
    again = diffusers.LatteTransformer3DModel.from_pretrained(out)
    assert_same(tensors_of(again), tensors_of(theirs))
    for name in ("sample_size", "video_length", "caption_channels", "norm_eps", "out_channels"):
        assert again.config[name] == theirs.config[name], name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(activation_fn="geglu"), "of another shape"),
        (dict(attention_bias=False), "missing"),
        (dict(norm_elementwise_affine=True), "unknown"),
        (dict(sample_size=128), "sample_size=128: from 128 on Latte's positions are squeezed"),
    ],
)
def test_other_networks_are_refused(change, message, tmp_path):
    make(**change).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message) as refusal:
        load_transformer("latte", tmp_path)
    assert "\n" not in str(refusal.value)
