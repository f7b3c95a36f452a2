# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Backbones of ours as files."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from safetensors.numpy import load_file, save_file

from configs import known_world
from dit_jax import build
from dit_jax.backbone.dit import DiT
from dit_jax.backbone.dit_config import DiTConfig
from dit_jax.denoiser import Denoiser
from dit_jax.files import claim
from dit_jax.interop.own import load_backbone, save_backbone
from dit_jax.interop.weights import export_weights, import_weights
from dit_jax.train.checkpoint import CHECKPOINTS, Checkpointer
from dit_jax.train.state import TrainState, split_module
from tests.randomise import randomise

SMALL = dict(width=8, depth=2, num_heads=1, time_features=8)
CONFIG = DiTConfig(in_channels=2, text_width=8, rope_pairs=(2, 1, 1), text="context", **SMALL)


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser(None, randomise(lambda: DiT(CONFIG, rngs=nnx.Rngs(0))))


def assert_equal(one, other):
    for a, b in zip(jax.tree.leaves(nnx.state(one)), jax.tree.leaves(nnx.state(other)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_backbone_comes_back_with_its_config(denoiser, tmp_path):
    path = tmp_path / "ours.safetensors"
    kept = {"kept.a": np.ones(3, np.float32)}
    save_backbone(path, denoiser, {"objective": {"output": "velocity"}}, kept=kept)
    own = load_backbone(path)
    assert own.denoiser.backbone.config == CONFIG
    assert own.about["objective"] == {"output": "velocity"}
    np.testing.assert_array_equal(own.kept["kept.a"], kept["kept.a"])
    assert_equal(own.denoiser, denoiser)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that has saved."""
    folder = tmp_path_factory.mktemp("run")
    config: ConfigDict = known_world.get_config()
    config.text.update(max_bytes=16, width=8, num_heads=1)
    config.backbone.update(text_width=8, unroll=1, **SMALL)
    claim(config, folder)
    trained = build.denoiser(config)(nnx.Rngs(params=0))
    params, ema = (split_module(randomise(lambda: trained, seed))[1] for seed in (1, 2))
    step = np.zeros((), np.int32)
    checkpointer = Checkpointer(folder / CHECKPOINTS)
    checkpointer.save(TrainState(step, step, params, ema, {"count": step}), {})
    checkpointer.close()
    return folder, randomise(lambda: trained, 2), config


def test_a_run_goes_out_with_its_text_encoder_and_objective(run, tmp_path):
    folder, averaged, config = run
    ours = import_weights("backbone", folder, tmp_path / "ours.safetensors")
    own = load_backbone(ours)
    assert_equal(own.denoiser, averaged)
    assert own.denoiser.backbone.config == build.backbone_config(config)
    assert own.about["objective"] == config.objective.to_dict()
    export_weights("backbone", ours, tmp_path / "out")
    assert load_file(tmp_path / "out/model.safetensors").keys() == load_file(ours).keys()
    assert json.loads((tmp_path / "out/config.json").read_text()) == own.about
    assert_equal(load_backbone(tmp_path / "out").denoiser, averaged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, config: tensors.pop("backbone.head.bias"), "missing 1: backbone.head.bias"),
        (lambda tensors, config: tensors.update(more=np.ones(1, np.float32)), "unknown 1: more"),
        (lambda tensors, config: config["backbone"].update(in_channels=3), "of another shape"),
        (lambda tensors, config: config["backbone"].update(widht=16), "did you mean 'width'"),
        (lambda tensors, config: config["backbone"].update(name="gan"), "it has no config of a backbone"),
        (lambda tensors, config: config.clear(), "it has no config of a backbone: not a file of ours"),
        (lambda tensors, config: config.update(backbone=3), "it has no config of a backbone"),
    ],
)
def test_other_files_are_refused(denoiser, tmp_path, change, message):
    path = tmp_path / "ours.safetensors"
    save_backbone(path, denoiser)
    tensors, config = load_file(path), dict(load_backbone(path).about)
    change(tensors, config)
    save_file(tensors, path, {"config": json.dumps(config)})
    with pytest.raises(ValueError, match=f"ours.safetensors: .*{message}") as refusal:
        load_backbone(path)
    assert "\n" not in str(refusal.value)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config.json: give the folder of a run"):
        import_weights("backbone", tmp_path, tmp_path / "ours.safetensors")
