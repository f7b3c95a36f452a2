# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is tuned at one width holds at others: kinds and factors from shapes, and the coordinate check."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax import build
from dit_jax.layers.causal_conv import CausalConv3d
from dit_jax.layers.dense import Dense
from dit_jax.layers.stack import run_blocks, stack_blocks
from dit_jax.scales import scales
from dit_jax.train.optimizer import OptimizerConfig, make_optimizer
from dit_jax.train.state import abstract_module, merge_module, split_module
from dit_jax.train.transfer import ParameterScale, parameter_scales
from experiments.studies.coordinates import changes, config_at
from experiments.studies.layer_outputs import layer_outputs


class Net(nnx.Module):
    """Stacked blocks and a list of blocks, of convolutions and of layers that also see something fixed."""

    def __init__(self, width, depth, rngs):
        def dense(*sizes):
            return lambda r: Dense(*sizes, rngs=r)

        self.embed = dense(5, width)(rngs)
        self.blocks = stack_blocks(lambda r: Dense(width, 2 * width, rngs=r), depth, rngs=rngs)
        self.layers = nnx.List([CausalConv3d(width + 8, width, (1, 3, 3), rngs=rngs) for _ in range(depth)])
        self.out = nnx.List([nnx.List([Dense(width, width, rngs=rngs)]) for _ in range(2)])
        self.down = nnx.List([_Attention(width, rngs) for _ in range(depth)])
        self.head = dense(width, 3)(rngs)
        self.table = nnx.Param(jnp.zeros((depth, 6, width)))
        self.plain = dense(5, 3)(rngs)


class _Attention(nnx.Module):
    def __init__(self, width, rngs):
        self.query = Dense(width, width, rngs=rngs)
        self.out = Dense(width, width, rngs=rngs)


def net_scales(width, depth, **ratios):
    shapes = [
        abstract_module(lambda rngs, w=w, d=d: Net(w, d, rngs))[1]
        for w, d in ((width, depth), (3 * width, depth), (width, 3 * depth))
    ]
    return parameter_scales(*shapes, **ratios)


def test_kinds_and_factors_follow_from_shapes():
    found = net_scales(32, 4, width_ratio=1 / 4, depth_ratio=1 / 4)
    kernel = {name: found[name]["kernel"] for name in ("embed", "blocks", "head", "plain")}
    assert {name: scale.kind for name, scale in kernel.items()} == {
        "embed": "input",
        "blocks": "hidden",
        "head": "output",
        "plain": "fixed",
    }
    assert [(s.lr, s.init) for s in (kernel["embed"], kernel["plain"])] == [(1, 1)] * 2
    assert (kernel["head"].lr, kernel["head"].init) == (1 / 4, 1 / 2)
    assert (kernel["blocks"].lr, kernel["blocks"].init, kernel["blocks"].num_stacked) == (1 / 4 * 1 / 2, 1, 1)
    bias, table, convolution = found["blocks"]["bias"], found["table"], found["layers"][3]["kernel"]
    assert (bias.kind, bias.lr, bias.init, bias.num_stacked) == ("vector", 1 / 2, 1, 1)
    assert (table.kind, table.num_axes, table.num_stacked) == ("vector", 3, 1)
    # of 40 inputs 32 grow: the base has 8 + 8
    assert (convolution.kind, convolution.num_stacked) == ("hidden", 0)
    assert convolution.lr == pytest.approx(16 / 40 / 2)


def test_the_last_layers_of_branches_are_found_in_blocks_alone():
    """Not by the name of a list, and not where nothing is repeated with the depth."""
    found = net_scales(32, 4, depth_ratio=1 / 4)
    last, first = found["down"][2]["out"], found["down"][2]["query"]
    assert [(s.init, s.lr) for s in (last["kernel"], last["bias"])] == [(1 / 2, 1 / 4)] * 2
    assert [(s.init, s.lr) for s in (first["kernel"], first["bias"])] == [(1, 1 / 2)] * 2
    assert (found["out"][1][0]["kernel"].init, found["out"][1][0]["kernel"].lr) == (1, 1)


def test_at_its_base_nothing_differs():
    factors = jax.tree.leaves(net_scales(32, 4))
    assert all((s.lr, s.lr_orthogonal, s.init) == (1, 1, 1) for s in factors)


@pytest.mark.parametrize("backbone", sorted(build.BACKBONES))
def test_every_backbone_is_as_the_parametrisation_assumes(backbone):
    """Its kernels are drawn by their fan-in, or zero; its branches end in layers that are known."""
    config = config_at(backbone, 32, depth=1, base_width=16)
    params = split_module(build.denoiser(config)(nnx.Rngs(0)))[1]
    with_paths = jax.tree_util.tree_leaves_with_path(scales(config))
    assert {"hidden", "input", "output", "vector"} <= {scale.kind for _, scale in with_paths}
    assert any(scale.is_last for _, scale in with_paths)
    for (path, scale), value in zip(with_paths, jax.tree.leaves(params), strict=True):
        if scale.kind in ("hidden", "output"):
            fan_in = math.prod(value.shape[scale.num_stacked : -1])
            spread = float(value.std()) * math.sqrt(fan_in)
            assert spread == 0 or 0.3 < spread < 3, jax.tree_util.keystr(path)


def test_a_factor_in_the_forward_pass_is_one_in_the_initial_value_and_the_rate():
    """Yang et al. 2022, appendix J.2.1: why no model has to know of its width."""
    x, factor = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.float32), 0.25
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)
    scaled = {"kernel": ParameterScale("hidden", width=factor, num_axes=2)}

    def trained(forward, start, scales):
        optimizer, params = make_optimizer(OptimizerConfig(eps=1e-20), scales), {"kernel": start}
        state = optimizer.init(params)
        for _ in range(5):
            grads = jax.grad(lambda p: jnp.square(forward(p["kernel"]) - 1).mean())(params)
            updates, state = optimizer.update(grads, state, params, lr=0.1)
            params = jax.tree.map(jnp.add, params, updates)
        return forward(params["kernel"])

    inside = trained(lambda k: factor * (x @ k), kernel, None)
    outside = trained(lambda k: x @ k, factor * kernel, scaled)
    np.testing.assert_allclose(inside, outside, rtol=1e-4, atol=1e-5)


def test_weight_decay_is_every_widths():
    params = {"kernel": jnp.ones((4, 4))}
    for width in (1.0, 0.01):
        scale = {"kernel": ParameterScale("hidden", width=width, num_axes=2)}
        optimizer = make_optimizer(OptimizerConfig(weight_decay=0.5), scale)
        grads = jax.tree.map(jnp.zeros_like, params)
        update, _ = optimizer.update(grads, optimizer.init(params), params, lr=0.1)
        np.testing.assert_allclose(update["kernel"], -0.05, rtol=1e-6)


def test_layer_outputs_are_those_of_the_layers():
    def make(rngs):
        return stack_blocks(lambda r: Dense(4, 4, rngs=r), 3, rngs=rngs)

    graph, _ = abstract_module(make)
    params = split_module(make(nnx.Rngs(0)))[1]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32)

    @jax.jit
    def apply(params):
        step = lambda block, y: y + jax.nn.silu(block(y))  # noqa: E731
        return run_blocks(merge_module(graph, params), step, x, remat="full")

    found = layer_outputs(apply, params)
    assert set(found) == {"kernel[0]", "kernel[1]", "kernel[2]", "prediction"}
    np.testing.assert_allclose(found["prediction"], apply(params), rtol=1e-6)
    y = x
    for i in range(3):
        product = y @ params["kernel"][i]
        np.testing.assert_allclose(found[f"kernel[{i}]"], product, rtol=1e-5)
        y = y + jax.nn.silu(product + params["bias"][i])


@pytest.mark.slow
def test_steps_change_every_layer_as_much_at_sixteen_times_the_width():
    """And not without the parametrisation (Yang et al. 2022, appendix D.1)."""
    small, large, without = (
        changes(config_at("dit", width, lr=1e-3, base_width=base), num_steps=4, num_seeds=2)
        for width, base in ((32, 32), (512, 32), (512, 0))
    )
    assert len(small) > 25
    assert any("query" in layer and "value" in layer for layer in small)  # side by side
    assert all(0.5 < large[layer] / small[layer] < 2 for layer in small)
    grown = {layer: without[layer] / small[layer] for layer in small}
    assert grown["prediction"] > 2
    assert sum(ratio > 2 for ratio in grown.values()) > len(grown) / 3
