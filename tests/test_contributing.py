# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The backbone that CONTRIBUTING builds is run as it stands there."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import known_world
from dit_jax.backbone import registry
from dit_jax.run import run
from dit_jax.sweep.ladder import ladder

PAGE = pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def mixer(monkeypatch):
    """What the page defines, with its line in the table until the test ends."""
    code, line = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.setattr(registry, "BACKBONES", registry.BACKBONES)
    names = {"BACKBONES": registry.BACKBONES, "Backbone": registry.Backbone, "__name__": "mixer"}
    exec(compile(code, str(PAGE), "exec"), names)
    exec(compile(line, str(PAGE), "exec"), names)
    yield names | {"code": code}
    registry.BACKBONES.pop("mixer")


def config():
    made = known_world.get_config()
    made.backbone = {"name": "mixer", "width": 16, "depth": 2, "text_width": 16, "num_tokens": 8}
    made.data.update(num_clips=16, num_frames=5, height=16, width=16)
    made.loader.batch_size = 4
    made.text.update(max_bytes=32, width=16, num_heads=2)
    made.evaluate.update(num_clips=4, num_times=2)
    made.train.update(total_steps=10, chunk_steps=10, save_every_steps=10)
    return made


def test_the_example_is_short(mixer):
    assert len(mixer["code"].strip().splitlines()) <= 60


def test_the_example_trains(mixer, tmp_path):
    row = run(config(), tmp_path)
    assert row["status"] == "finished"
    assert row["backbone"] == "mixer"
    assert row["flops"] > 0


def test_the_example_counts_its_flops(mixer):
    sizes = mixer["MixerConfig"](width=256, num_tokens=64, depth=2, text_width=64)
    graph, params = nnx.split(nnx.eval_shape(lambda: mixer["Mixer"](sizes, rngs=nnx.Rngs(0))))
    shapes = [(1, 4, 4, 4, 16), (1,), (1, 8, 64)]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    forward = jax.jit(lambda p, *a: nnx.merge(graph, p)(*a))
    compiled = forward.lower(params, *arguments, jax.ShapeDtypeStruct((1, 8), bool)).compile()
    counted = sum(mixer["mixer_flops"](sizes, (4, 4, 4, 16), 8).values())
    assert counted == pytest.approx(compiled.cost_analysis()["flops"], rel=0.02)


def test_the_example_has_a_ladder(mixer):
    made = config()
    made.backbone.update(width=0, text_width=0)
    made.text.update(width=0, num_heads=0)
    made.train.update(total_steps=0, save_every_steps=0)
    rung = ladder(made, 24)
    assert (rung.backbone.width, rung.text.width, rung.backbone.depth) == (24, 24, 2)
    np.testing.assert_allclose(rung.optimizer.lr, made.optimizer.lr * np.sqrt(32 / 24))
