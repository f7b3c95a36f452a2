# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import jax
import pytest
from rich.console import Console

from configs import pod
from dit_jax import build
from dit_jax.plan import lower
from dit_jax.plan.lower import needed, planned, refusal
from dit_jax.plan.page import show, table
from dit_jax.plan.search import meshes, ranked, search
from dit_jax.plan.topology import topology
from dit_jax.sweep.flops import step_flops
from tests.plan.tiny_plans import tiny

ROOT = pathlib.Path(__file__).parents[2]


def process(*arguments, **env):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **env}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    out = tmp_path_factory.mktemp("plans") / "plans.json"
    done = process("tests/plan/tiny_plans.py", out)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_sharded_parameters_are_gathered_and_one_device_talks_to_nobody(plans):
    assert plans["one"]["collectives"] == {}
    gathered = plans["eight"]["collectives"]["all-gather"]
    assert gathered["count"] >= 3  # once a block at least: loops count by their turns
    assert gathered["bytes"] >= 3 * 4 * 128**2


def test_memory_is_split(plans):
    one, eight = plans["one"]["hbm_bytes"], plans["eight"]["hbm_bytes"]
    assert all(0 < eight[name] < one[name] for name in ("peak", "arguments", "temporaries"))
    assert eight["arguments"] < one["arguments"] / 3
    assert one["peak"] >= one["arguments"]


def test_flops_are_the_formula_s_and_the_program_s(plans):
    config, shape = planned(tiny(), 1)
    flops = step_flops(config, shape)
    assert plans["one"]["flops"] == plans["eight"]["flops"] == flops
    # with full remat, four forward passes' worth; what is outside of blocks is not made anew
    assert 3.5 < plans["one"]["step_flops_per_chip"] / (flops / 3) < 4.2


def test_samples_and_their_decoding_are_planned(plans):
    """16 of Heun's steps evaluate 31 times, with the text and without, each a third of a training step."""
    config, shape = planned(tiny(), 1)
    sample, decode = plans["sample"], plans["decode"]
    assert sample["flops"] == step_flops(config, shape) // 3 * 31 * 2
    assert 0.95 < 8 * sample["step_flops_per_chip"] / sample["flops"] < 1.05
    assert sample["hbm_bytes"]["arguments"] < plans["eight"]["hbm_bytes"]["arguments"] / 2  # no moments
    assert decode["fits"]
    assert decode["step_flops_per_chip"] > 1e6


def test_float32_products_are_found(plans):
    assert plans["one"]["float32_products"]["in_loops"] >= 20
    assert plans["search"][0]["float32_products"]["in_loops"] <= 4  # those of attention's own backward pass


def test_a_search_plans_what_is_possible_and_names_what_is_not(plans):
    found, told = plans["search"], plans["told"]
    assert [plan["mesh"] for plan in found] == [dict(data=1, fsdp=2, model=1, seq=1)]
    assert any("impossible" in line and "3 rows do not divide over seq=2" in line for line in told)
    assert any(re.fullmatch(r"planned: fsdp=2 .*: \S+ ms a step, peak \S+ GiB", line) for line in told), told
    assert 0 < found[0]["mfu"] < 1
    assert found[0]["step_seconds"]["estimate"] > found[0]["step_seconds"]["compute"] > 0


def test_a_search_goes_on_where_the_compiler_fails(monkeypatch):
    """libtpu 0.0.51 does on some plans."""

    def fails(*args):
        raise jax.errors.JaxRuntimeError("INTERNAL: one chunk overlaps another\nand more")

    monkeypatch.setitem(lower.JOBS, "train", types.SimpleNamespace(lower=fails))
    told = []
    with pytest.raises(ValueError, match="remat=full: the compiler failed"):
        search(tiny(), topology("cpu:1"), {}, remats=("none", "full"), report=told.append)
    assert len(told) == 2
    assert all(
        "compiler failed (INTERNAL: one chunk overlaps another): choose another" in line for line in told
    )


def test_the_fastest_that_fits_comes_first():
    def plan(fits, seconds, tokens, peak):
        speed = seconds and {"estimate": seconds}
        return dict(fits=fits, step_seconds=speed, tokens_per_step=tokens, hbm_bytes={"peak": peak})

    best, large, slow = plan(True, 3.0, 6, 9), plan(True, 2.0, 2, 9), plan(True, 2.0, 1, 1)
    small, too_large = plan(True, 2.0, 2, 8), plan(False, None, 9, 99)
    assert ranked([too_large, slow, large, small, best]) == [best, small, large, slow, too_large]


def test_a_budget_is_costed(plans):
    plan = plans["search"][0]
    cost = plan["cost"]
    assert cost["steps"] == 2.4e6 / (8 * 24)  # tokens of 2 x 3 x 4 latents
    assert cost["chip_hours"] == pytest.approx(2 * cost["steps"] * plan["step_seconds"]["estimate"] / 3600)
    assert cost["dollars"] == pytest.approx(3 * cost["chip_hours"])


def test_plans_are_printed(plans):
    console = Console(record=True, width=200)
    console.print(table(plans["search"]))
    show(console, plans["search"][0])
    show(console, {**plans["one"], "fits": False, "refusal": "Used 20G of 16G hbm"})
    text = console.export_text()
    assert "fsdp=2" in text
    assert "MFU" in text
    assert "does not fit: Used 20G of 16G hbm" in text


def test_meshes_are_all_splits():
    assert len(list(meshes(8, {}))) == 20  # of three factors of two over four axes
    assert list(meshes(4, dict(data=1, fsdp=2, seq=1))) == [dict(data=1, fsdp=2, model=2, seq=1)]
    with pytest.raises(ValueError, match="'pipe' is no axis"):
        list(meshes(4, dict(pipe=1)))


def test_the_batch_follows_the_chips():
    config, shape = planned(pod.get_config("xl_4k"), 16)
    assert (config.loader.batch_size, shape) == (16, (16, 32, 32, 16))
    config.plan.batch_per_chip = 0.3
    with pytest.raises(ValueError, match=r"batch_per_chip=0.3 on 8 chips"):
        planned(config, 8)
    config.plan.update(batch_per_chip=1.0, latent_shape=(16, 32, 31, 16))
    with pytest.raises(ValueError, match="31"):
        planned(config, 8)


@pytest.mark.parametrize("name", ["xl_4k", "xl_16k", "2.6b_4k", "2.6b_16k"])
def test_presets_have_heads_that_fill_a_tpu(name):
    assert build.backbone_config(pod.get_config(name)).head_dim == 128


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match="no preset '3b_4k': choose one of xl_4k"):
        pod.get_config("3b_4k")


@pytest.mark.parametrize(
    ("message", "name", "gib"),
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU ran out.\nUsed 29.25G of 15.75G hbm. Exceeded by 13.5G.",
            "peak",
            29.25,
        ),
        (
            "E1: the memory for HLO temporaries (16.25G) exceeds available HBM (15.75G). HLO",
            "temporaries",
            16.25,
        ),
        ("RESOURCE_EXHAUSTED: in other words", None, None),
    ],
)
def test_what_did_not_fit_is_read_from_the_compiler(message, name, gib):
    memory = needed(message)
    assert {key: value for key, value in memory.items() if value} == ({name: gib * 2**30} if name else {})
    assert ("15.75G" in refusal(message)) == bool(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("v5e", "'v5e' is not CHIP:SHAPE"),
        ("v5x:4", "did you mean"),
        ("cpu:0", "has no chip"),
        ("v5e:4x", "not CHIP:SHAPE"),
    ],
)
def test_a_topology_that_is_none_is_named(name, reason):
    with pytest.raises(ValueError, match=reason):
        topology(name)


def test_a_mistake_is_one_line(tmp_path):
    flags = (f"--out={tmp_path / 'plan.json'}", "--topology=cpu:2", "--config.mesh.fsdp=4")
    done = process("-m", "experiments.plan", *flags)
    assert done.returncode == 2, done.stderr
    assert "needs 4 devices and 2 are there" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "plan.json").exists()


def test_a_tpu_is_planned_for():
    pytest.importorskip("libtpu")
    code = "import json; from tests.plan import tiny_plans; print(json.dumps(tiny_plans.tiny_tpu_plan()))"
    done = process("-c", code, XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout.splitlines()[-1])
    assert plan["fits"]
    assert plan["hbm_bytes"]["limit"] == 16 * 2**30
    assert plan["step_seconds"]["cycles"] > plan["step_seconds"]["compute"] > 0
    assert plan["step_seconds"]["kernels"] > 0
    assert plan["collectives"]["all-gather"]["count"] >= 3
