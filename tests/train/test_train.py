# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a model small enough to see through: a line fitted by its two parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.layers.dense import Dense
from dit_jax.mesh import MeshConfig, make_mesh
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.loop import Diverged, LoopConfig, train
from dit_jax.train.metrics import MetricWriter
from dit_jax.train.optimizer import Horizon, OptimizerConfig, ema_decay, learning_rate, make_optimizer
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import make_train_steps

HORIZON = Horizon(lr=0.05, warmup_steps=2, total_steps=40, seed=3)
CONFIG = OptimizerConfig()
MESH = make_mesh(MeshConfig())


def make(rngs):
    return Dense(2, 1, rngs=rngs)


GRAPH, _ = abstract_module(make)
INIT, ABSTRACT = make_init(make, make_optimizer(CONFIG), MESH)


def loss(params, batch, key):
    noise = 0.1 * jax.random.normal(key, batch["x"].shape)  # so that keys matter to the numbers
    error = merge_module(GRAPH, params)(batch["x"] + noise) - batch["y"]
    return jnp.square(error).mean(), {"largest": jnp.abs(error).max()}


STEPS = make_train_steps(jax.value_and_grad(loss, has_aux=True), CONFIG, ABSTRACT)


class Points:
    """Batches that are a function of their position; `poison` makes some of them infinite."""

    def __init__(self, poison=()):
        self.position, self.poison = 0, poison

    def __iter__(self):
        return self

    def __next__(self):
        x = np.random.default_rng(self.position).normal(size=(4, 2)).astype(np.float32)
        y = x @ np.asarray([[2.0], [-1.0]], np.float32)
        y[0] = np.inf if self.position in self.poison else y[0]
        self.position += 1
        return {"x": x, "y": y}

    def state(self):
        return {"position": self.position}

    def counts(self):
        return {}

    def restore(self, state):
        self.position = state["position"]


def run(folder, batches, state=None, total_steps=40, losses=None, **loop):
    checkpointer, writer = Checkpointer(folder / "checkpoints"), MetricWriter(folder)
    config = LoopConfig(**{"total_steps": total_steps, "chunk_steps": 5, "save_every_steps": 10} | loop)
    state = INIT(jax.random.key(0)) if state is None else state
    progress = lambda step, loss: losses is not None and losses.append((step, loss))  # noqa: E731
    tools = dict(mesh=MESH, checkpointer=checkpointer, writer=writer, progress=progress)
    try:
        return train(STEPS, state, batches, HORIZON, config, **tools)
    finally:
        checkpointer.close()
        writer.close()


def test_it_learns(tmp_path):
    losses = []
    state = run(tmp_path, Points(), losses=losses)
    assert losses[0][0] == 5
    assert losses[-1][0] == 40
    assert losses[-1][1] < 0.1 * losses[0][1]
    assert int(state.step) == 40


def test_resumed_is_undisturbed(tmp_path):
    """Interrupted at 20 of 40 steps and continued, every number is bitwise that of a run in one go."""
    whole = run(tmp_path / "whole", Points())
    run(tmp_path / "parts", Points(), total_steps=20)
    checkpointer, batches = Checkpointer(tmp_path / "parts" / "checkpoints"), Points()
    state, position = checkpointer.restore(ABSTRACT)
    checkpointer.close()
    batches.restore(position)
    assert int(state.step) == 20
    resumed = run(tmp_path / "parts", batches, state)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed)):
        np.testing.assert_array_equal(one, other)


def test_chunks_change_no_number(tmp_path):
    one = run(tmp_path / "a", Points(), chunk_steps=1, save_every_steps=40)
    ten = run(tmp_path / "b", Points(), chunk_steps=10, save_every_steps=40)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(ten)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


class Told(list):
    """Losses, and how far the batches were when each was read."""

    def __init__(self, batches):
        self.batches, self.positions = batches, []

    def append(self, told):
        super().append(told)
        self.positions.append(self.batches.position)


def test_the_device_never_waits_for_the_host(tmp_path):
    """A chunk's metrics are read when the next is on its way."""
    batches = Points()
    told = Told(batches)
    run(tmp_path, batches, losses=told, save_every_steps=40)
    assert [step for step, _ in told] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert told.positions == [10, 15, 20, 25, 30, 35, 40, 40]


def test_seeds_change_numbers():
    batches = jax.tree.map(lambda *a: np.stack(a), *[next(Points()) for _ in range(3)])
    runs = [
        STEPS(INIT(jax.random.key(0)), batches, Horizon(0.05, 2, 40, seed))[1]["loss"] for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).all()


def test_steps_that_are_not_finite_change_nothing(tmp_path):
    state = run(tmp_path, Points(poison={3, 4}))
    assert int(state.skipped) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert int(state.opt_state[1].count) == 38


def test_too_many_of_them_end_the_run_and_are_not_saved(tmp_path):
    with pytest.raises(Diverged, match=r"12 of 20 steps had no finite loss.*max_skipped_steps=10"):
        run(tmp_path, Points(poison=set(range(8, 28))))
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    assert checkpointer.latest_step == 10
    checkpointer.close()


def test_every_metric_of_every_step_reaches_tensorboard(tmp_path):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 - the format that is read below

    run(tmp_path, Points())
    (path,) = tmp_path.glob("events.out.tfevents.*")
    data, steps = path.read_bytes(), {}
    while data:
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            steps.setdefault(value.tag, []).append(event.step)
    assert set(steps) == {"loss", "lr", "grad_norm", "largest"}
    assert all(seen == list(range(40)) for seen in steps.values())


@pytest.mark.parametrize("schedule", ["cosine", "constant", "wsd"])
def test_schedules(schedule):
    lr = learning_rate(jnp.arange(100), Horizon(2.0, 10, 100, 0), schedule)
    np.testing.assert_allclose(lr[:10], 2.0 * np.arange(1, 11) / 10, rtol=1e-6)
    assert lr.max() == 2.0
    expected_end = {"cosine": 0.001, "constant": 2.0, "wsd": 0.12}[schedule]
    assert float(lr[-1]) == pytest.approx(expected_end, abs=0.05)
    assert schedule != "wsd" or bool((lr[10:80] == 2.0).all())


def test_the_average_covers_a_share_of_the_run_whatever_its_length():
    """The weight that step k has in the average after n steps depends on k / n alone."""

    def half_weight(n):
        weights = np.ones(n)
        for step in range(n):
            decay = float(ema_decay(jnp.asarray(step), 9.0))
            weights[:step] *= decay
            weights[step] = 1 - decay
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        return weights[n // 2 :].sum()

    assert half_weight(64) == pytest.approx(half_weight(512), abs=0.02)
    assert half_weight(512) > 0.99


def test_adam_is_optax_adamw(tmp_path):
    import optax

    config = OptimizerConfig(weight_decay=0.1, clip_norm=0.5)
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    grads = {"kernel": jnp.full((3, 2), 0.7), "bias": jnp.asarray([0.1, -2.0])}
    ours, reference = (
        make_optimizer(config),
        optax.chain(
            optax.clip_by_global_norm(0.5),
            optax.adamw(1.0, 0.9, 0.99, weight_decay=0.1, mask={"kernel": True, "bias": False}),
        ),
    )
    found, _ = ours.update(grads, ours.init(params), params, lr=1.0)
    update, _ = reference.update(grads, reference.init(params), params)
    for name in params:
        np.testing.assert_allclose(found[name], update[name], rtol=1e-6)


def test_checkpoints_of_another_model_are_refused(tmp_path):
    run(tmp_path, Points(), total_steps=10)
    _, other = make_init(lambda r: Dense(3, 1, rngs=r), make_optimizer(CONFIG), MESH)
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="step 10 is of another model"):
        checkpointer.restore(other)
    checkpointer.close()


def test_orbax_alone_reads_the_average(tmp_path):
    from orbax.checkpoint import v1 as ocp

    state = run(tmp_path, Points())
    ema = ocp.load(tmp_path / "checkpoints" / "40", checkpointable_name="ema")
    np.testing.assert_array_equal(ema["kernel"], state.ema["kernel"])


def test_nothing_to_restore_is_said(tmp_path):
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpointer.restore(ABSTRACT)
    checkpointer.close()


@pytest.mark.parametrize(
    ("make_config", "message"),
    [
        (lambda: LoopConfig(total_steps=25, chunk_steps=10), "total_steps=25 .* chunk_steps=10"),
        (lambda: OptimizerConfig(schedule="linear"), "schedule='linear' is not one of"),
        (lambda: OptimizerConfig(lr=-1.0), "lr=-1.0"),
    ],
)
def test_wrong_configs_are_refused(make_config, message):
    with pytest.raises(ValueError, match=message):
        make_config()


def test_modules_split_and_merge():
    module = Dense(2, 3, rngs=nnx.Rngs(0))
    graph, shapes = abstract_module(lambda rngs: Dense(2, 3, rngs=rngs))
    params = {"kernel": module.kernel[...], "bias": module.bias[...]}
    assert jax.tree.map(lambda a: a.shape, shapes) == jax.tree.map(lambda a: a.shape, params)
    x = jnp.ones((1, 2))
    np.testing.assert_array_equal(merge_module(graph, params)(x), module(x))
