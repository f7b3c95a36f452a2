# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The optimizers are Optax's own, at any learning rate in one compiled step, and go on where they stopped."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dit_jax.layers.mlp import MLP
from dit_jax.mesh import MeshConfig, make_mesh
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.optimizer import (
    OPTIMIZERS,
    Horizon,
    OptimizerConfig,
    by_branch,
    learning_rate,
    make_optimizer,
)
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import make_train_steps
from dit_jax.train.transfer import ParameterScale

MESH = make_mesh(MeshConfig())
HORIZON = Horizon(lr=0.03, warmup_steps=5, total_steps=60, seed=0)
KERNEL = ParameterScale("hidden", num_axes=2)
SCALES = {name: {"kernel": KERNEL, "bias": ParameterScale("vector")} for name in ("up", "down")}


def config_of(name, **fields):
    return OptimizerConfig(name=name, schedule="constant" if name == "schedule_free" else "cosine", **fields)


def setting(config, branches=None):
    """Initial state, its shapes, and steps of a perceptron that learns a linear map."""
    make = lambda rngs: MLP(4, 8, rngs=rngs)  # noqa: E731
    graph, _ = abstract_module(make)

    def loss(params, batch, key):
        return jnp.square(merge_module(graph, params)(batch["x"]) - batch["x"][..., ::-1]).mean(), {}

    optimizer = by_branch(branches) if branches else make_optimizer(config, SCALES)
    init, abstract = make_init(make, optimizer, MESH)
    return (
        init(jax.random.key(0)),
        abstract,
        make_train_steps(jax.value_and_grad(loss, has_aux=True), config, abstract, branches, SCALES),
    )


def points(first, last):
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(100, 16, 4)).astype(np.float32)[first:last]}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_learns_goes_on_and_compiles_once(name, tmp_path):
    state, abstract, steps = setting(config_of(name, weight_decay=0.01))
    first, told = steps(state, points(0, 30), HORIZON)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(first, {})
    restored, _ = checkpointer.restore(abstract)
    checkpointer.close()
    whole, _ = steps(first, points(30, 60), HORIZON)
    resumed, rest = steps(restored, points(30, 60), HORIZON)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert rest["loss"][-1] < 0.4 * told["loss"][0]
    _, other = steps(resumed, points(60, 90), Horizon(0.5, 1, 99, 7))
    assert other["lr"][0] != rest["lr"][0]
    assert steps._cache_size() == 1


def follow(optimizer, reference, params, lrs):
    """Parameters after steps at `lrs` along the same gradients, by an optimizer of ours and by Optax's own."""
    rng, both, states = (
        np.random.default_rng(1),
        [params, params],
        [optimizer.init(params), reference.init(params)],
    )
    for lr in lrs:
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        for i, update in enumerate((lambda *a, lr=lr: optimizer.update(*a, lr=lr), reference.update)):
            updates, states[i] = update(grads, states[i], both[i])
            both[i] = optax.apply_updates(both[i], updates)
    return both, states


def draws(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


PARAMS = {"kernel": draws(6, 4), "bias": draws(4)}
MASK = {"kernel": True, "bias": False}


def test_adafactor_is_optax_adafactor():
    large = {"kernel": draws(130, 140), "bias": draws(140)}  # large enough for rows and columns
    ours = make_optimizer(config_of("adafactor", clip_norm=1e9, weight_decay=0.1))
    chain = (
        optax.adafactor(multiply_by_parameter_scale=False, momentum=0.9),
        optax.add_decayed_weights(-0.1, mask=MASK),
        optax.scale(0.02),
    )
    (found, expected), states = follow(ours, optax.chain(*chain), large, [0.02] * 3)
    for name in large:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    assert max(leaf.size for leaf in jax.tree.leaves(states[0][1][0][0])) == 140


def test_schedule_free_is_optax_schedule_free_with_a_traced_rate():
    """Also while the rate warms up, which weighs the average."""
    lrs = learning_rate(jnp.arange(8), Horizon(0.1, 4, 8, 0), "constant")
    ours = make_optimizer(config_of("schedule_free", clip_norm=1e9))
    adam = optax.scale_by_rms(0.99, 1e-8, eps_in_sqrt=False, bias_correction=True)
    base = optax.chain(adam, optax.scale_by_learning_rate(lambda count: lrs[count]))
    reference = optax.contrib.schedule_free(base, lambda count: lrs[count - 1], b1=0.9)  # it counts from 1
    (found, expected), states = follow(ours, reference, PARAMS, lrs)
    average = [optax.contrib.schedule_free_eval_params(*pair) for pair in zip(states, (found, expected))]
    for name in PARAMS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(average[0][name], average[1][name], rtol=1e-5, atol=1e-6)


def test_schedule_free_evaluates_its_own_average():
    config = config_of("schedule_free")
    branches = {"up": make_optimizer(config), "down": make_optimizer(OptimizerConfig())}
    for state, steps in (setting(config)[::2], setting(config, branches)[::2]):
        after, _ = steps(state, points(0, 7), HORIZON)
        own = after.opt_state if isinstance(after.opt_state, tuple) else after.opt_state["up"]
        params, average = (
            tree if own is after.opt_state else tree["up"] for tree in (after.params, after.ema)
        )
        expected = optax.contrib.schedule_free_eval_params(own, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), average, expected)


def muon_of(scales, grads):
    optimizer = make_optimizer(config_of("muon", clip_norm=1e9), scales)
    params = jax.tree.map(jnp.zeros_like, grads)
    return optimizer.update(grads, optimizer.init(params), params, lr=1.0)[0]


def test_muon_moves_stacked_matrices_each_on_its_own_and_as_far_as_adam():
    grads = draws(3, 8, 24)
    stacked = muon_of({"kernel": ParameterScale("hidden", num_axes=3, num_stacked=1)}, {"kernel": grads})[
        "kernel"
    ]
    for i in range(3):
        alone = muon_of({"kernel": KERNEL}, {"kernel": grads[i]})["kernel"]
        np.testing.assert_allclose(stacked[i], alone, rtol=1e-4, atol=1e-5)
        singular = np.linalg.svd(alone, compute_uv=False) / (0.2 * np.sqrt(24))
        assert 0.6 < singular.min() < singular.max() < 1.3  # Newton and Schulz's steps come as near to 1
        assert np.sqrt(np.square(alone).mean()) == pytest.approx(0.2, rel=0.2)


def test_muon_takes_the_taps_of_a_convolution_for_inputs():
    grads = draws(3, 3, 4, 10)
    found = muon_of({"kernel": ParameterScale("hidden", num_axes=4)}, {"kernel": grads})["kernel"]
    flat = muon_of({"kernel": KERNEL}, {"kernel": grads.reshape(36, 10)})["kernel"]
    np.testing.assert_allclose(found.reshape(36, 10), flat, rtol=1e-4, atol=1e-5)


def test_muon_is_for_hidden_matrices_only():
    grads = {"kernel": draws(6, 4), "bias": draws(4)}
    for kind in ("input", "output", "fixed"):
        found = muon_of({"kernel": ParameterScale(kind, num_axes=2), "bias": ParameterScale("vector")}, grads)
        for name in grads:  # the first step of Adam is the sign of the gradient
            np.testing.assert_allclose(found[name], -np.sign(grads[name]), rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerConfig(name="lion"), "name='lion' is not one of adamw, adafactor, muon"),
        (lambda: OptimizerConfig(base_width=-1), "base_width=-1"),
        (lambda: OptimizerConfig(name="schedule_free"), "schedule='cosine'.*set schedule='constant'"),
        (lambda: config_of("schedule_free", b1=0.0), "b1=0.0"),
        (lambda: make_optimizer(OptimizerConfig(name="muon")), "name='muon'.*set name='adamw'"),
        (lambda: make_optimizer(OptimizerConfig(base_width=32)), "base_width=32.*base_width=0"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
