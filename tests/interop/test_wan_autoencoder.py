# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Wan autoencoder against diffusers' own, every parameter drawn anew."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.wan import WAN_LATENT_STATS, WanAutoencoder, WanAutoencoderConfig
from dit_jax.interop.wan_autoencoder import export_wan_autoencoder, load_wan_autoencoder, wan_tensors

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

CONFIG = WanAutoencoderConfig(width=8, latent_channels=4)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def reference():
    """A model of diffusers, whose pixels mostly lie inside [-1, 1]."""
    stats = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    model = diffusers.AutoencoderKLWan(base_dim=8, z_dim=4, **stats)
    for name, parameter in model.named_parameters():
        centre = float(name.endswith("gamma"))
        fan_in = np.prod(parameter.shape[1:]) if name.endswith("weight") else 10
        scale = 0.4 if name.startswith("decoder.conv_out") else 1.0
        values = centre + scale / np.sqrt(fan_in) * RNG.normal(size=parameter.shape)
        parameter.data = torch.tensor(values, dtype=torch.float32)
    return model


@pytest.fixture(scope="module")
def published(reference):
    """Its tensors by name."""
    return {name: tensor.numpy() for name, tensor in reference.state_dict().items()}


@pytest.fixture(scope="module")
def model(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("wan") / "diffusion_pytorch_model.safetensors"
    save_file(published, path)
    return load_wan_autoencoder(path.parent, CONFIG)


def original_name(name):
    """Wan's own name: its layers lie in one sequence each way, four to a level of the decoder."""
    name = re.sub(r"\b(conv[12])\b", lambda m: {"conv1": "residual.2", "conv2": "residual.6"}[m[1]], name)
    name = re.sub(r"\bnorm([12])\b", lambda m: {"1": "residual.0", "2": "residual.3"}[m[1]], name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"upsamples.{4 * int(m[1]) + int(m[2])}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"upsamples.{4 * int(m[1]) + 3}", name)
    plain = {
        "mid_block.resnets.0": "middle.0",
        "mid_block.attentions.0": "middle.1",
        "mid_block.resnets.1": "middle.2",
        "down_blocks": "downsamples",
        "conv_shortcut": "shortcut",
        "norm_out": "head.0",
        "conv_out": "head.2",
        "conv_in": "conv1",
        "post_quant_conv": "conv2",
        "quant_conv": "conv1",
    }
    for theirs, original in plain.items():
        name = name.replace(theirs, original)
    return name


def draw(*shape):
    return RNG.uniform(-1, 1, size=shape).astype(np.float32)


def to_torch(x):
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1), requires_grad=True)


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def error(ours, theirs):
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("frames", [1, 9])  # 5 are checked with their gradients
def test_latents_and_pixels_are_those_of_diffusers(model, reference, frames):
    video = draw(1, frames, 16, 24, 3)
    with torch.no_grad():
        posterior = reference.encode(to_torch(video)).latent_dist
        decoded = from_torch(reference.decode(posterior.mean).sample)
    mean, log_variance = jax.jit(WanAutoencoder.encode_moments)(model, jnp.asarray(video))
    assert error(mean, from_torch(posterior.mean)) <= 1e-4
    assert error(log_variance, from_torch(posterior.logvar)) <= 1e-4
    assert error(jax.jit(WanAutoencoder.decode)(model, mean), decoded) <= 1e-4
    assert (np.abs(decoded) < 1).mean() > 0.8  # what is clipped shows nothing


def check_gradients(ours, theirs, reference, side):
    """Of input and parameters: `ours` is (model, input); `theirs` the input's."""
    assert error(ours[1], from_torch(theirs)) <= 1e-4
    ours = dict(wan_tensors(ours[0]))
    names = [name for name, parameter in reference.named_parameters() if parameter.grad is not None]
    assert {name for name in names if name.startswith(side)} == {n for n in ours if n.startswith(side)}
    for name in names:
        assert error(ours[name], reference.get_parameter(name).grad.numpy()) <= 1e-4, name


def test_gradients_of_encoding(model, reference):
    video = draw(1, 5, 16, 16, 3)
    weights = draw(2, 1, 2, 2, 2, 4)

    def scalar(model, video):
        mean, log_variance = model.encode_moments(video)
        return (mean * weights[0] + log_variance * weights[1]).sum(), (mean, log_variance)

    ours, moments = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(model, jnp.asarray(video))
    reference.zero_grad(set_to_none=True)
    x = to_torch(video)
    posterior = reference.encode(x).latent_dist
    theirs = (posterior.mean, posterior.logvar)
    sum((moment * to_torch(weight)).sum() for moment, weight in zip(theirs, weights)).backward()
    check_gradients(ours, x.grad, reference, "encoder.")
    assert max(map(error, moments, map(from_torch, theirs))) <= 1e-4


def test_gradients_of_decoding(model, reference):
    latents, weights = draw(1, 2, 2, 2, 4), draw(1, 5, 16, 16, 3)

    def scalar(model, latents):
        video = model.decode(latents)
        return (video * weights).sum(), video

    ours, video = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(model, jnp.asarray(latents))
    reference.zero_grad(set_to_none=True)
    z = to_torch(latents)
    decoded = reference.decode(z).sample
    (decoded * to_torch(weights)).sum().backward()
    check_gradients(ours, z.grad, reference, "decoder.")
    assert error(video, from_torch(decoded)) <= 1e-4


def test_the_original_names_are_read(published, model, tmp_path):
    utils = pytest.importorskip("diffusers.loaders.single_file_utils")
    original = {original_name(name): tensor for name, tensor in published.items()}
    converted = utils.convert_wan_vae_to_diffusers(dict(original))  # the library's own reading of them
    assert converted.keys() == published.keys()
    assert all(converted[name] is published[name] for name in published)
    save_file(original, tmp_path / "Wan2.1_VAE.safetensors")
    loaded = load_wan_autoencoder(tmp_path / "Wan2.1_VAE.safetensors", CONFIG)
    for ours, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_what_is_exported_diffusers_loads(published, model, tmp_path):
    stats = LatentStats(draw(4), np.exp(draw(4)))
    export_wan_autoencoder(tmp_path / "vae", model, stats)
    loaded = diffusers.AutoencoderKLWan.from_pretrained(tmp_path / "vae")
    assert loaded.config.base_dim == 8
    np.testing.assert_allclose(loaded.config.latents_mean, stats.mean)
    np.testing.assert_allclose(loaded.config.latents_std, stats.std)
    assert loaded.state_dict().keys() == published.keys()
    for name, tensor in loaded.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), published[name], err_msg=name)


def test_the_default_is_the_default_of_diffusers():
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKLWan()
    ours = nnx.eval_shape(lambda: WanAutoencoder(WanAutoencoderConfig(), rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == sum(p.numel() for p in theirs.parameters())
    np.testing.assert_allclose(WAN_LATENT_STATS.mean, theirs.config.latents_mean)
    np.testing.assert_allclose(WAN_LATENT_STATS.std, theirs.config.latents_std)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda leaves: leaves.pop("quant_conv.bias"), "missing 1: quant_conv.bias$"),
        (lambda leaves: leaves.update(quant_conv_lora=np.ones(2, np.float32)), "unknown 1: quant_conv_lora$"),
        (
            lambda leaves: leaves.update({"decoder.conv_in.bias": np.ones(3, np.float32)}),
            r"of another shape 1: decoder.conv_in.bias \(3,\) for \(32,\)$",
        ),
        (
            lambda leaves: leaves.update({"decoder.conv_in.bias": np.full(32, np.nan, np.float32)}),
            "decoder.conv_in.bias is not finite$",
        ),
        (lambda leaves: leaves.clear(), "missing 194: .*, .*, .*, ...$"),
    ],
)
def test_weights_that_do_not_fit_are_refused(model, published, tmp_path, change, message):
    leaves = dict(published)
    change(leaves)
    save_file(leaves, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=f"weights.safetensors: .*{message}") as refusal:
        load_wan_autoencoder(tmp_path / "weights.safetensors", CONFIG)
    assert "\n" not in str(refusal.value)


def test_statistics_of_other_channels_are_not_exported(model, tmp_path):
    with pytest.raises(ValueError, match="stats of 16 channels do not fit latent_channels=4"):
        export_wan_autoencoder(tmp_path / "vae", model)
    assert not (tmp_path / "vae").exists()


def test_half_precision_is_read(published, model, tmp_path):
    half = {name: tensor.astype(jnp.bfloat16) for name, tensor in published.items()}
    save_file(half, tmp_path / "half.safetensors")
    loaded = load_wan_autoencoder(tmp_path / "half.safetensors", CONFIG)
    for name, tensor in wan_tensors(loaded):
        np.testing.assert_array_equal(tensor, half[name].astype(np.float32), err_msg=name)
    assert load_file(tmp_path / "half.safetensors")["quant_conv.bias"].dtype == jnp.bfloat16
