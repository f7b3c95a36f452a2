# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Published weights come in, are used by the rest of the program, and go out as they came."""

import dataclasses
import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from configs import known_world
from dit_jax import build
from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.wan import WAN_LATENT_STATS, WanAutoencoder, WanAutoencoderConfig
from dit_jax.encode import encode
from dit_jax.generate import Generator
from dit_jax.interop.t5 import export_t5, load_t5
from dit_jax.interop.wan_autoencoder import export_wan_autoencoder, read_wan_config
from dit_jax.interop.weights import export_weights, import_weights
from dit_jax.pixels import as_bytes, as_pixels
from dit_jax.program import program
from dit_jax.text.t5 import T5Config, T5Encoder
from tests.randomise import randomise

ROOT = pathlib.Path(__file__).parents[2]
WAN = WanAutoencoderConfig(4, (1, 2), latent_channels=3, num_blocks=1, halve_time=(True,))
STATS = LatentStats(np.array([0.1, -0.2, 0.3], np.float32), np.array([0.5, 1, 2], np.float32))
T5 = T5Config(vocab_size=40, width=16, depth=2, num_heads=3, head_dim=8, mlp_width=24)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def wan():
    return randomise(lambda: WanAutoencoder(WAN, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def published(wan, tmp_path_factory):
    """A folder as diffusers lays it out."""
    folder = tmp_path_factory.mktemp("published")
    export_wan_autoencoder(folder, wan, STATS)
    return folder


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory):
    return import_weights("wan_autoencoder", published, tmp_path_factory.mktemp("ours") / "wan.safetensors")


def with_autoencoder(path):
    """A small run on the latents of an imported autoencoder."""
    config = known_world.get_config()
    config.data.update(num_clips=6, num_frames=3, height=8, width=8)
    config.autoencoder.path = str(path)
    config.text.update(max_bytes=16, width=8, num_heads=1)
    config.backbone.update(
        width=8, depth=1, num_heads=1, text_width=8, time_features=8, unroll=1, in_channels=3
    )
    config.evaluate.update(num_clips=2, num_times=2)
    config.sampler.num_steps = 2
    return config


def test_a_data_set_is_encoded_and_decoded_with_it(wan, imported, tmp_path):
    config = with_autoencoder(imported)
    encode(config, tmp_path, ["train"])
    stored = build.latents_source(build.latents_folder(config, tmp_path, "train"))
    assert build.latent_shape(config) == stored[0]["latents"].shape == (2, 4, 4, 3)
    clips = build.clip_source(config, "train")
    video = np.stack([clips[i].video for i in range(len(stored))])
    latents = jnp.stack([stored[i]["latents"] for i in range(len(stored))])
    expected = jax.jit(lambda x: (wan.encode(x) - STATS.mean) / STATS.std)(as_pixels(jnp.asarray(video)))
    half = 2**-10 * np.abs(expected).max()  # latents are stored in half precision
    np.testing.assert_allclose(latents, expected, atol=half)
    model, stats = build.autoencoder(config)
    assert type(model) is WanAutoencoder
    decoded = jax.jit(model.decode)(stats.denormalize(latents))
    assert decoded.shape == video.shape
    np.testing.assert_allclose(decoded, jax.jit(wan.decode)(latents * STATS.std + STATS.mean), atol=1e-5)


def test_clips_are_generated_through_it(wan, imported):
    config = with_autoencoder(imported)
    build.check(config, build.latent_shape(config))
    made = program(config)
    model = Generator(config, ".", made.init(jax.random.key(0)).ema)
    latents = made.sampler(build.section(config, "sampler"))(
        model.params,
        jax.random.normal(jax.random.key(3), (1, 2, 4, 4, 3)),
        jax.tree.map(jnp.asarray, build.encode_prompts(config)(["red"])),
    )
    expected = as_bytes(jax.jit(wan.decode)(latents * STATS.std + STATS.mean))
    (video,) = model(["red"], seed=3)
    assert video.shape == (3, 8, 8, 3)
    assert np.ptp(video) > 0
    assert np.abs(video.astype(int) - expected[0]).max() <= 1


def test_the_autoencoder_goes_out_as_it_came(published, imported, tmp_path):
    export_weights("wan_autoencoder", imported, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads(
        (published / "config.json").read_text()
    )
    ours, theirs = load_file(tmp_path / "out" / WEIGHTS), load_file(published / WEIGHTS)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)


def test_without_a_config_of_its_own_weights_have_the_published_sizes(published, tmp_path):
    save_file(load_file(published / WEIGHTS), tmp_path / "alone.safetensors")
    (tmp_path / "config.json").write_text('{"_class_name": "WanTransformer3DModel", "num_layers": 30}')
    config, stats = read_wan_config(tmp_path / "alone.safetensors")
    assert config == WanAutoencoderConfig()
    assert stats is WAN_LATENT_STATS
    with pytest.raises(ValueError, match=r"alone.safetensors: not the weights of this model"):
        import_weights("wan_autoencoder", tmp_path / "alone.safetensors", tmp_path / "wan.safetensors")
    assert not (tmp_path / "wan.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents_std": [1.0, 1.0, 0.0]}, "latents_mean and latents_std must be 3 numbers each"),
        ({"latents_mean": [1.0]}, "latents_mean and latents_std must be 3 numbers each"),
        ({"latents_mean": "none"}, "not the config of an autoencoder"),
        ({"z_dim": 0}, "latent_channels=0 must be at least 1"),
        ({"dim_mult": 3}, "not the config of an autoencoder"),
    ],
)
def test_configs_that_are_not_valid_are_refused(published, tmp_path, change, message):
    config = json.loads((published / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as error:
        read_wan_config(tmp_path)
    assert str(tmp_path / "config.json") in str(error.value)


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_a_text_encoder_comes_in_without_its_decoder_and_goes_out(kind, tmp_path):
    config = dataclasses.replace(T5, per_layer_bias=kind == "umt5")
    model = randomise(lambda: T5Encoder(config, rngs=nnx.Rngs(0)))
    export_t5(tmp_path / "encoder.safetensors", model)
    encoder = load_file(tmp_path / "encoder.safetensors")
    whole = {name: tensor.astype(jnp.bfloat16) for name, tensor in encoder.items()}
    save_file(whole | {"lm_head.weight": np.ones((2, 2), np.float32)}, tmp_path / "theirs.safetensors")
    ours = import_weights(kind, tmp_path / "theirs.safetensors", tmp_path / "folder/ours.safetensors")
    assert load_file(ours)["shared.weight"].dtype == jnp.bfloat16  # not widened
    export_weights(kind, ours, tmp_path / "out")
    again = load_file(tmp_path / "out/model.safetensors")
    assert again.keys() == encoder.keys()
    for name in encoder:
        np.testing.assert_array_equal(again[name].astype(np.float32), whole[name].astype(np.float32))
    assert load_t5(ours, "bfloat16").config == dataclasses.replace(config, dtype="bfloat16")
    other = {"t5": "umt5", "umt5": "t5"}[kind]
    with pytest.raises(ValueError, match=f"theirs.safetensors: these are not the weights of {other}, but of"):
        import_weights(other, tmp_path / "theirs.safetensors", tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match=f"it holds kind='{kind}', not '{other}'"):
        export_weights(other, ours, tmp_path / "no")


def test_digests_are_checked_before_anything_is_written(published, tmp_path):
    good, out = hashlib.sha256((published / WEIGHTS).read_bytes()).hexdigest(), tmp_path / "wan.safetensors"
    with pytest.raises(ValueError, match=f"{WEIGHTS} has SHA-256 {good}, not {'0' * 64}"):
        import_weights("wan_autoencoder", published, out, ["0" * 64])
    with pytest.raises(ValueError, match=f"2 digests for 1 files: {WEIGHTS}"):
        import_weights("wan_autoencoder", published, out, [good, good])
    assert not out.exists()
    assert import_weights("wan_autoencoder", published, out, [good.upper()]) == out


def test_only_what_was_imported_is_exported(published, tmp_path):
    for path in (build.WEIGHTS / "known_world.safetensors", published / WEIGHTS):
        with pytest.raises(ValueError, match="it holds kind='', not 'wan_autoencoder'"):
            export_weights("wan_autoencoder", path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.weights", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command(published, imported, tmp_path):
    pickled, out = tmp_path / "Wan2.1_VAE.pth", tmp_path / "wan.safetensors"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    kind, into = "--kind=wan_autoencoder", f"--out={out}"
    runs = [
        command(kind, f"--import_from={published}", into),
        command(kind, f"--export_to={tmp_path / 'vae'}", f"--from={imported}"),
        command(kind, f"--import_from={pickled}", f"--out={tmp_path / 'no.safetensors'}"),
    ]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in runs]
    assert ends[0] == (f"written: {out}\n", "", 0)
    assert out.read_bytes() == imported.read_bytes()
    assert ends[1] == (f"written: {tmp_path / 'vae'}\n", "", 0)
    assert (tmp_path / "vae" / WEIGHTS).read_bytes() == (published / WEIGHTS).read_bytes()
    _, err, code = ends[2]
    assert code == 2
    assert err.count("\n") == 1
    assert "is a pickle, which can run code" in err
    assert "safetensors.torch.save_file" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Wan2.1_VAE.pth", "vae", "wan.safetensors"]
