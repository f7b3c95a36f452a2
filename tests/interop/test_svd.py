# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The U-Net of Stable Video Diffusion against diffusers' own, every parameter drawn anew."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from dit_jax.backbone.unet_latent import UNetLatent
from dit_jax.interop.own import load_backbone
from dit_jax.interop.svd import SVD, export_svd, load_svd, read_svd_config, svd_tensors
from dit_jax.interop.weights import export_weights, import_weights
from dit_jax.train.state import abstract_module, count_parameters

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

RNG = np.random.default_rng(0)
SIZES = dict(
    in_channels=8,
    out_channels=4,
    block_out_channels=(32, 64),
    num_attention_heads=(2, 8),
    layers_per_block=1,
    cross_attention_dim=24,
    addition_time_embed_dim=16,
    projection_class_embeddings_input_dim=48,
    down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
)
apply = jax.jit(UNetLatent.__call__)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def reference():
    """A model of diffusers."""
    model = diffusers.UNetSpatioTemporalConditionModel(**SIZES)
    for name, parameter in model.named_parameters():
        fan_in = np.prod(parameter.shape[1:]) if parameter.ndim > 1 else 4
        centre = float("norm" in name and name.endswith("weight"))
        values = centre + draw(*parameter.shape) / np.sqrt(fan_in)
        parameter.data = torch.tensor(values, dtype=torch.float32)
    return model


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("svd")
    reference.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return load_svd(folder)


def given(shape, tokens=3):
    """Inputs of ours, with a first frame."""
    batch = shape[0]
    micro = dict(
        fps=RNG.uniform(2, 30, batch),
        motion=RNG.uniform(1, 255, batch),
        noise_augmentation=RNG.uniform(0, 1, batch),
    )
    return dict(
        x_t=jnp.asarray(draw(*shape)),
        t=jnp.asarray(RNG.uniform(0.05, 0.95, batch), jnp.float32),
        text=jnp.asarray(draw(batch, tokens, 24)),
        text_mask=jnp.ones((batch, tokens), bool),
        micro={name: jnp.asarray(value, jnp.float32) for name, value in micro.items()}
        | {"first_frame": jnp.asarray(draw(batch, 1, *shape[2:]))},
    )


def theirs(reference, x_t, t, text, text_mask, micro):
    """What diffusers predicts from the same: channels before rows, noise as its logarithm, one less a second, the
    first frame's latents unscaled."""
    t = np.asarray(t, np.float64)
    values = (micro["fps"] - 1, micro["motion"], micro["noise_augmentation"])
    x = np.concatenate([x_t, np.broadcast_to(micro["first_frame"] / 0.18215, x_t.shape)], -1)
    sample = torch.tensor(np.moveaxis(x, -1, 2))
    noise = torch.tensor(np.log(t / (1 - t)) / 4, dtype=torch.float32)
    conditions = torch.tensor(np.stack(values, -1))
    return reference(sample, noise, torch.tensor(np.asarray(text)), conditions).sample.movedim(2, -1)


def error(ours, theirs):
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize(("shape", "tokens"), [((2, 3, 6, 4, 4), 3), ((1, 5, 7, 10, 4), 1)])
def test_predictions_are_those_of_diffusers(model, reference, shape, tokens):
    inputs = given(shape, tokens)
    with torch.no_grad():
        expected = theirs(reference, **inputs).numpy()
    assert error(apply(model, **inputs), expected) <= 1e-4


def test_images_are_those_of_diffusers_where_it_blends_in_no_time(model, reference):
    inputs = given((2, 1, 6, 4, 4))
    mixes = [parameter for name, parameter in reference.named_parameters() if name.endswith("mix_factor")]
    kept = [mix.data.clone() for mix in mixes]
    for mix in mixes:
        mix.data.fill_(100.0)
    with torch.no_grad():
        expected = theirs(reference, **inputs).numpy()
    for mix, value in zip(mixes, kept, strict=True):
        mix.data.copy_(value)
    assert error(apply(model, **inputs), expected) <= 1e-4


def test_diffusers_reads_what_goes_out(model, reference, tmp_path):
    export_svd(tmp_path / "out", model)
    again = diffusers.UNetSpatioTemporalConditionModel.from_pretrained(tmp_path / "out")
    for key in SIZES:
        found, expected = (
            list(v) if isinstance(v, tuple) else v for v in (again.config[key], reference.config[key])
        )
        assert found == expected, key
    for name, tensor in reference.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], tensor)
    assert read_svd_config(tmp_path / "out") == model.config


def test_weights_come_in_as_a_file_of_ours_and_go_out_as_they_came(model, folder, tmp_path):
    ours = import_weights("svd_unet", folder, tmp_path / "ours.safetensors")
    assert load_backbone(ours).denoiser.backbone.config == model.config
    out = export_weights("svd_unet", ours, tmp_path / "out")
    before, after = (load_file(path / "diffusion_pytorch_model.safetensors") for path in (folder, out))
    assert set(before) == set(after)
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[name], tensor)


def test_the_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        published = diffusers.UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20))
    expected = {name: tuple(p.shape) for name, p in published.named_parameters()}
    ours = abstract_module(lambda rngs: UNetLatent(SVD, rngs=rngs))[1]
    assert count_parameters(ours) == sum(map(np.prod, expected.values())) == 1_524_623_082


def config_with(folder, tmp_path, **changes):
    path = tmp_path / "weights.safetensors"
    save_file({"nothing": np.zeros((1,), np.float32)}, path)
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | changes)
    )
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        (dict(in_channels=4), dict(known_input="none")),
        (dict(in_channels=9), dict(known_input="mask")),
        (dict(num_attention_heads=4), dict(head_dim=(8, 16))),
        (dict(num_attention_heads=[4, 8]), dict(head_dim=8)),
        (dict(layers_per_block=[2, 2]), dict(depth=2)),
        (dict(projection_class_embeddings_input_dim=16), dict(micro=("fps",), known_input="first_frame")),
        (dict(known_input="first_frame", frame_scale=1.0), dict(known_input="first_frame", frame_scale=1.0)),
    ],
)
def test_configs_are_read(model, folder, tmp_path, changes, expected):
    path = config_with(folder, tmp_path, **changes)
    assert read_svd_config(path) == dataclasses.replace(model.config, **expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(in_channels=6), "in_channels=6 is not one of"),
        (dict(layers_per_block=[1, 2]), r"layers_per_block=\[1, 2\] must be the same at every level"),
        (dict(transformer_layers_per_block=2), "transformer_layers_per_block must be 1"),
        (dict(block_out_channels=[32, 48]), "no multiples of the first"),
        (dict(up_block_types=["UpBlockSpatioTemporal"] * 2), "differ on the way up"),
        (dict(num_attention_heads=None), "config.json: not the config of a latent video U-Net"),
    ],
)
def test_configs_of_other_networks_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_svd_config(config_with(folder, tmp_path, **changes))


def test_published_sizes_are_taken_where_no_config_is(tmp_path):
    save_file({"nothing": np.zeros((1,), np.float32)}, tmp_path / "weights.safetensors")
    assert read_svd_config(tmp_path / "weights.safetensors") == SVD


def test_weights_that_do_not_fit_are_named(model, tmp_path):
    tensors = dict(svd_tensors(model))
    tensors["conv_in.weights"] = tensors.pop("conv_in.weight")
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(
        ValueError, match=r"weights.safetensors: .*missing 1: conv_in.weight; unknown 1: conv_in.w"
    ):
        load_svd(tmp_path / "weights.safetensors", model.config)


def test_what_diffusers_cannot_express_is_refused(model, tmp_path):
    config = dataclasses.replace(model.config, num_groups=16)
    other = nnx.eval_shape(lambda: UNetLatent(config, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="UNetSpatioTemporalConditionModel has no num_groups=16"):
        export_svd(tmp_path, other)
