# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Of a video network the optimizer may move what is over time alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dit_jax import build
from dit_jax.scales import scales
from dit_jax.train.optimizer import OptimizerConfig, make_optimizer
from dit_jax.train.state import abstract_module
from dit_jax.train.transfer import ParameterScale
from experiments.studies.coordinates import config_at

U_NETS = ("unet_latent", "unet_pseudo3d")


def drawn(shapes):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)


def held(tree):
    """Numbers in an optimizer's state."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("backbone", U_NETS)
def test_frozen_parameters_stay_bitwise_and_cost_no_state(backbone):
    config = config_at(backbone, 8, depth=1, weight_decay=0.1, trainable="temporal")
    params = drawn(abstract_module(build.denoiser(config))[1])
    optimizer = make_optimizer(build.section(config, "optimizer"), scales(config))
    state, moved = optimizer.init(params), params
    for _ in range(2):
        updates, state = jax.jit(optimizer.update)(params, state, moved, lr=0.1)
        moved = optax.apply_updates(moved, updates)
    is_temporal, trained = build.backbone(config).is_temporal, 0
    for (path, new), old in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(params), strict=True
    ):
        if path[0].key == "backbone" and is_temporal(path):
            assert (new != old).any(), path
            trained += new.size
        else:
            np.testing.assert_array_equal(new, old)
    total = held(params)
    assert 0 < trained < total / 2
    assert held(state) == 2 * trained + 1  # two moments each, and the counter


@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_what_is_trained_moves_as_it_would_beside_the_others(name):
    """But for the clipping, which is by the norm of what is trained."""
    kernel = {"kernel": jax.ShapeDtypeStruct((4, 4), jnp.float32)}
    params = drawn({"time": kernel, "space": kernel})
    made = {}
    for trainable in ("all", "temporal"):
        kinds = {
            part: {"kernel": ParameterScale("hidden", num_axes=2, is_trained=part == "time")}
            for part in params
        }
        optimizer = make_optimizer(OptimizerConfig(name=name, trainable=trainable, clip_norm=1e9), kinds)
        made[trainable], _ = optimizer.update(params, optimizer.init(params), params, lr=0.1)
    np.testing.assert_allclose(made["temporal"]["time"]["kernel"], made["all"]["time"]["kernel"], atol=1e-6)
    assert made["all"]["space"]["kernel"].any()
    assert not made["temporal"]["space"]["kernel"].any()


@pytest.mark.parametrize("backbone", ["dit", "mmdit"])
def test_backbones_that_set_nothing_apart_are_named(backbone):
    config = config_at(backbone, 32, depth=1, trainable="temporal")
    message = (
        f"trainable='temporal' and config.backbone.name='{backbone}'.*train 'all', or take a video U-Net"
    )
    with pytest.raises(ValueError, match=message):
        scales(config)


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(ValueError, match="trainable='head' is not one of all, temporal"):
        OptimizerConfig(trainable="head")
    with pytest.raises(ValueError, match="averages all parameters, and trainable='temporal': use 'adamw'"):
        OptimizerConfig(name="schedule_free", schedule="constant", trainable="temporal")
    with pytest.raises(ValueError, match="trainable='temporal': what these parameters are is not known"):
        make_optimizer(OptimizerConfig(trainable="temporal"))
