# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from configs import known_world
from dit_jax.bench.checkpoint import checkpoint_case
from dit_jax.bench.growth import flops_of, grown, growth_case
from dit_jax.bench.plot import plot_bench
from dit_jax.bench.sizes import SIZES, Size
from dit_jax.bench.steps import config_of, our_step, peers, step_row

TINY = Size(1, 32, 2, (1, 2, 2), 1, channels=4)
CONFIG = known_world.get_config()
CONFIG.optimizer.warmup_steps = 0


@pytest.mark.parametrize("work", ["train", "sample"])
def test_our_steps_are_timed(work):
    step, told = our_step(work, TINY, CONFIG)
    assert step() > 0
    assert told["compile_seconds"] > 0


@pytest.mark.parametrize("peer", ["torch", "wan", "latte"])
def test_peers_step_in_their_own_process(peer):
    pytest.importorskip("diffusers")
    size = dataclasses.asdict(dataclasses.replace(TINY, depth=2))
    told = {"peer": peer, "compiled": False, "work": "train", "size": size}
    with peers({peer: told, "sample": {**told, "work": "sample"}}, threads=1) as (steps, missing):
        assert missing == {}
        assert all(0 < step() < 60 for step in steps.values())


def test_a_peer_that_can_not_run_says_why():
    with peers({"x": {"peer": "torch", "compiled": False, "work": "train", "size": "XXL"}}, 1) as (
        steps,
        missing,
    ):
        assert steps == {}
        assert missing["x"].startswith(("KeyError", "ModuleNotFoundError"))


def test_the_network_in_pytorch_has_our_parameters():
    torch_dit = pytest.importorskip("dit_jax.bench.torch_dit", exc_type=ImportError)
    from dit_jax.program import Program

    ours = Program(config_of(TINY, CONFIG), null={}).params_total
    assert sum(p.numel() for p in torch_dit.TorchDiT(TINY).parameters()) == ours


def test_a_row_compares_medians_of_the_same_rounds():
    runs = {"ours": [2.0, 1.0, 3.0], "matmul": [0.1] * 3, "slow": [9.0] * 3, "fast": [1.0, 4.0, 3.0]}
    row = step_row("train_S", TINY, "train", CONFIG, runs)
    assert (row["value"], row["fastest_peer"], row["ratio"]) == (2.0, "fast", 1.5)
    assert row["flops"] == flops_of(TINY, CONFIG)
    assert row["share_of_matmul_peak"] == pytest.approx(row["flops"] / 2 / (2 * 1024**3 / 0.1))
    alone = step_row("sample_S", TINY, "sample", CONFIG, {"ours": [1.0], "matmul": [1.0]})
    assert alone["ratio"] is None
    assert alone["flops"] == pytest.approx(row["flops"] * 2 / 3)


def test_growth_is_along_one_dial(tmp_path):
    base = SIZES["S"]
    for dial in ("width", "depth", "batch"):
        assert np.isclose(flops_of(grown(base, dial, 1), CONFIG), flops_of(base, CONFIG))
    assert flops_of(grown(base, "batch", 4), CONFIG) == 4 * flops_of(base, CONFIG)
    row = growth_case("batch", CONFIG, rounds=1, base=TINY)
    assert [point["factor"] for point in row["curve"]] == [1, 2, 4]
    plot_bench([row], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_a_checkpoint_is_timed():
    row = checkpoint_case(CONFIG, rounds=1)
    assert row["value"] > 0
    assert row["restore"] > 0
    assert row["bytes"] > 10e6
