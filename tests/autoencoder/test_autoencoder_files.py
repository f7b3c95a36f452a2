# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dit_jax.autoencoder.files import load_autoencoder, read_autoencoder_config, save_autoencoder
from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.model import Autoencoder, AutoencoderConfig
from dit_jax.autoencoder.wan import WanAutoencoder, WanAutoencoderConfig
from tests.randomise import randomise

CONFIG = AutoencoderConfig(
    temporal_compression=2,
    spatial_compression=4,
    latent_channels=3,
    patch_size=2,
    encoder_widths=(4, 6),
    decoder_widths=(4, 6),
    encoder_blocks=(0, 1),
    decoder_blocks=(1, 0),
)
STATS = LatentStats(np.array([1.0, -2.0, 0.1], np.float32), np.array([0.5, 1.0, 3.0], np.float32))
VIDEO = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 8, 3)), jnp.float32)
LEAF = "decoder.1.blocks.0.space.kernel"


@pytest.fixture
def model():
    return randomise(lambda: Autoencoder(CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture
def path(model, tmp_path):
    save_autoencoder(tmp_path / "weights.safetensors", model, STATS)
    return tmp_path / "weights.safetensors"


def rewrite(path, change, config=None):
    """Changes the leaves of a file by `change`, and its metadata to `config`."""
    leaves = load_file(path)
    change(leaves)
    config = json.dumps(dataclasses.asdict(CONFIG)) if config is None else config
    save_file(leaves, path, {"config": config})


def refusal(path):
    with pytest.raises(ValueError, match="weights") as error:
        load_autoencoder(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_was_saved_is_loaded_bit_by_bit(model, path):
    loaded, stats = load_autoencoder(path)
    assert loaded.config == CONFIG
    for a, b in zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(loaded)), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(loaded(VIDEO), model(VIDEO))
    np.testing.assert_array_equal(stats.mean, STATS.mean)
    np.testing.assert_array_equal(stats.std, STATS.std)


def test_float16_halves_the_file_and_is_loaded_as_float32(model, path, tmp_path):
    save_autoencoder(tmp_path / "half.safetensors", model, STATS, np.float16)
    loaded, stats = load_autoencoder(tmp_path / "half.safetensors")
    for a, b in zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(loaded)), strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_array_equal(b, a.astype(jnp.float16).astype(jnp.float32))
    np.testing.assert_array_equal(stats.mean, STATS.mean)  # not rounded
    full, half = (
        sum(leaf.nbytes for leaf in load_file(p).values()) for p in (path, tmp_path / "half.safetensors")
    )
    assert full - half == sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) * 2


def test_every_architecture_is_loaded_as_what_it_is(tmp_path):
    config = WanAutoencoderConfig(4, (1, 2), latent_channels=3, num_blocks=1, halve_time=(True,))
    model = randomise(lambda: WanAutoencoder(config, rngs=nnx.Rngs(0)))
    path = tmp_path / "wan.safetensors"
    save_autoencoder(path, model, STATS)
    loaded, stats = load_autoencoder(path)
    assert type(loaded) is WanAutoencoder
    assert loaded.config == read_autoencoder_config(path) == config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(loaded), nnx.state(model))
    np.testing.assert_array_equal(stats.std, STATS.std)


def test_files_that_name_no_kind_are_those_of_the_first_one(model, path):
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["config"])["kind"] == "autoencoder"
    rewrite(path, lambda leaves: None)  # as they were written before there was a second
    loaded, _ = load_autoencoder(path)
    assert type(loaded) is Autoencoder
    assert loaded.config == CONFIG


def test_saving_twice_writes_the_same_bytes(model, path):
    before = path.read_bytes()
    save_autoencoder(path, model, STATS)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda leaves: leaves.pop(LEAF), f"leaf {LEAF} is missing"),
        (lambda leaves: leaves.pop("latents.std"), "leaf latents.std is missing"),
        (lambda leaves: leaves.update(extra=np.zeros(1, np.float32)), "leaf extra is unknown"),
        (lambda leaves: leaves.update({LEAF: leaves[LEAF][:, :1]}), f"leaf {LEAF} has shape (1, 1, 3, 4, 4)"),
        (lambda leaves: leaves.update({LEAF: leaves[LEAF].astype(np.int32)}), f"leaf {LEAF} has dtype I32"),
        (lambda leaves: leaves.update({LEAF: leaves[LEAF].astype(np.float64)}), f"leaf {LEAF} has dtype F64"),
        (lambda leaves: leaves[LEAF].fill(np.nan), f"leaf {LEAF} is not finite"),
        (lambda leaves: leaves["latents.std"].fill(0), "leaf latents.std is not positive"),
    ],
)
def test_leaves_that_do_not_fit_are_named(path, change, message):
    rewrite(path, change)
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config in its metadata is not valid"),
        ("[1]", "config in its metadata is not valid"),
        ("[" * 100_000, "config in its metadata is not valid"),
        ('{"kind": "wan"}', "kind='wan' is not one of autoencoder, wan_autoencoder"),
        ('{"kind": ["wan"]}', "config in its metadata is not valid"),
        ('{"kind": "wan_autoencoder", "patch_size": 2}', "unexpected keyword argument 'patch_size'"),
        ('{"depth": 3}', "unexpected keyword argument 'depth'"),
        ('{"temporal_compression": 3}', "temporal_compression=3 must be a power of two"),
        ('{"latent_channels": "4"}', "config in its metadata is not valid"),
    ],
)
def test_configs_that_are_not_valid_are_refused(path, config, message):
    rewrite(path, lambda leaves: None, config)
    assert message in refusal(path)


def test_a_config_of_another_size_is_refused_before_anything_is_allocated(path):
    wide = dataclasses.asdict(CONFIG) | {"encoder_widths": [2**20, 2**20]}
    rewrite(path, lambda leaves: None, json.dumps(wide))
    assert "has shape" in refusal(path)


def test_other_files_are_refused(path):
    save_file({"a": np.zeros(1, np.float32)}, path)
    assert "no config in its metadata" in refusal(path)
    path.write_bytes(b"\x80\x04not safetensors")
    refusal(path)
    path.write_bytes(b"")
    refusal(path)
    with pytest.raises(FileNotFoundError):
        load_autoencoder(path.with_name("none.safetensors"))


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-1])
    refusal(path)


def test_weights_that_cannot_be_kept_are_refused_and_the_old_file_stays(model, path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="use float32 or float16"):
        save_autoencoder(path, model, STATS, np.int32)
    model.to_latents.bias[...] = jnp.full((3,), 1e6)
    save_autoencoder(path.with_name("large.safetensors"), model, STATS)
    with pytest.raises(ValueError, match=r"to_latents.bias is not finite as float16"):
        save_autoencoder(path, model, STATS, np.float16)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["large.safetensors", "weights.safetensors"]
