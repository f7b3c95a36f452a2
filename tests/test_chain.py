# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Three trained models drawn one after the other, and models that do not fit."""

import jax
import numpy as np
import pytest

from configs import known_world
from dit_jax import build
from dit_jax.backbone.unet_pseudo3d import is_temporal
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.generate import chain, load
from dit_jax.interop.own import trained_parameters
from dit_jax.run import run
from dit_jax.train_autoencoder import train_autoencoder

SIDE = 16


def config(num_frames, side, **backbone):
    made = known_world.get_config()
    made.data.update(num_clips=8, num_frames=num_frames, height=side, width=side)
    made.loader.batch_size = 2
    made.text.update(max_bytes=32, width=8, num_heads=1)
    made.backbone = {"name": "unet_pseudo3d", "in_channels": 4, "width": 8, "depth": 1, "num_heads": 2} | {
        "text_width": 8,
        "channel_multipliers": (1,),
        "attention_levels": (),
        "time_features": 8,
        **backbone,
    }
    made.autoencoder.update(steps=2, batch_size=2)
    made.autoencoder.model.update(
        temporal_compression=1, spatial_compression=8, latent_channels=4, patch_size=4,
        encoder_widths=(8, 8), decoder_widths=(8, 8), encoder_blocks=(0, 0), decoder_blocks=(0, 0),
    )  # fmt: skip
    made.evaluate.update(num_clips=2, num_times=2)
    made.train.update(total_steps=2, chunk_steps=1, save_every_steps=2)
    return made


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """The weights of one, for clips of all sizes."""
    folder = tmp_path_factory.mktemp("autoencoder")
    made = config(3, SIDE)
    made.autoencoder.train = True
    train_autoencoder(made, folder)
    return str(folder / build.TRAINED)


@pytest.fixture(scope="module")
def models(tmp_path_factory, autoencoder):
    """A base, a model of the frames between, and one of twice the size, each after two steps."""
    made, root = {}, tmp_path_factory.mktemp("chain")
    for name, settings in {
        "base": config(3, SIDE),
        "interpolate": config(7, SIDE, known_channels=True),
        "refine": config(7, 2 * SIDE, low_resolution_channels=4),
    }.items():
        settings.objective.frame_factor = 3
        settings.objective.known.update(slow_motion=float(name == "interpolate"))
        settings.autoencoder.path = autoencoder
        assert run(settings, root / name)["status"] == "finished"
        made[name] = load(root / name)
    return made | {"folder": root}


def test_clips_become_longer_and_larger(models):
    how = dict(sampler=SamplerConfig(num_steps=2), seed=3)
    prompts = ["a red circle", "a blue square"]
    whole = chain(models["base"], models["interpolate"], models["refine"], **how)(prompts)
    assert whole.shape == (2, 7, 2 * SIDE, 2 * SIDE, 3)
    short = chain(models["base"], None, None, **how)(prompts)
    np.testing.assert_array_equal(short, models["base"](prompts, **how))
    longer = chain(models["base"], models["interpolate"], None, **how)(prompts)
    assert longer.shape == (2, 7, SIDE, SIDE, 3)


def test_models_that_do_not_fit_are_named(models):
    with pytest.raises(
        ValueError, match=r"the interpolating model draws \(3, 16, 16\).*must be \(7, 16, 16\)"
    ):
        chain(models["base"], models["base"], None)
    with pytest.raises(ValueError, match=r"the upsampling model draws \(7, 32, 32\).*must be \(3, 32, 32\)"):
        chain(models["base"], None, models["refine"])


def test_a_video_network_begins_with_an_image_networks_parameters(tmp_path, autoencoder):
    """Trained on images, then on clips without labels: what was learnt stays, and time alone is learnt on top."""
    images, clips = config(1, SIDE, temporal=False), config(3, SIDE)
    for made in (images, clips):
        made.autoencoder.path = autoencoder
    assert run(images, tmp_path / "images")["status"] == "finished"
    clips.init = str(tmp_path / "images")
    clips.optimizer.trainable, clips.optimizer.weight_decay = "temporal", 0.1
    clips.objective.caption_dropout = 1.0
    row = run(clips, tmp_path / "clips")
    assert row["init"] == clips.init
    old, new = (trained_parameters(tmp_path / name) for name in ("images", "clips"))
    for path, leaf in jax.tree_util.tree_leaves_with_path(old):
        (same,) = [b for p, b in jax.tree_util.tree_leaves_with_path(new) if p == path]
        np.testing.assert_array_equal(same, leaf)
    temporal = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(new) if is_temporal(path)]
    assert len(temporal) == len(jax.tree.leaves(new)) - len(jax.tree.leaves(old)) > 0
    kernels = [leaf for leaf in temporal if leaf.ndim == 3]
    assert any(np.abs(kernel - np.round(kernel)).max() > 1e-4 for kernel in kernels)  # no identity any more


def test_parameters_of_another_shape_are_refused(models, autoencoder, tmp_path):
    made = config(3, SIDE, width=16)
    made.autoencoder.path = autoencoder
    made.init = str(models["folder"] / "base")
    with pytest.raises(ValueError, match=r"has shape .* and the new network's .*: match them"):
        run(made, tmp_path)
