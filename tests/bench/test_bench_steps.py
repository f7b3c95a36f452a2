# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import signal
import time
import types

import numpy as np
import pytest

from configs import known_world
from dit_jax.bench import steps as steps_module
from dit_jax.bench import works
from dit_jax.bench.checkpoint import checkpoint_case
from dit_jax.bench.growth import flops_of, grown, growth_case
from dit_jax.bench.plot import plot_bench
from dit_jax.bench.sizes import SIZES, Size
from dit_jax.bench.steps import Rounds, in_turn, our_step, peers, step_case, step_row
from dit_jax.bench.works import WORKS, config_of

TINY = Size(2, 32, 2, (1, 2, 2), 1, channels=4)
CONFIG = known_world.get_config()
CONFIG.optimizer.warmup_steps = 0
SIZE = dataclasses.asdict(TINY)
ONCE = Rounds(rounds=1, with_peers=False)


@pytest.mark.parametrize("work", sorted(WORKS))
def test_our_steps_are_timed(work):
    step, told = our_step(work, TINY, CONFIG)
    assert step() > 0
    assert told["compile_seconds"] > 0
    assert told["flops"] > 1e3


def test_a_turn_is_of_as_many_steps_as_take_a_second_or_two():
    assert [works.steps_of(flops) for flops in (1e6, 14e9, 108e9, 1e12)] == [10, 10, 2, 1]
    done = []
    ours = works._repeated(lambda: done.append(time.sleep(0.01)), 108e9)
    started = time.perf_counter()
    of_one = steps_module._timed(ours.run, ours.steps)
    assert (len(done), ours.steps) == (2, 2)
    assert 0.01 <= of_one <= (time.perf_counter() - started) / 2


@pytest.mark.parametrize("work", ["train", "sample"])
def test_one_program_makes_the_steps_that_are_told(work, monkeypatch):
    real, states, samplers = works._program, [], []

    def watched(size, config):
        program, state, batch = real(size, config)

        def steps(*given):
            states.append(program.steps(*given))
            return states[-1]

        def sampler(how):
            samplers.append(how.num_steps)
            return program.sampler(how)

        return types.SimpleNamespace(steps=steps, sampler=sampler), state, batch

    monkeypatch.setattr(works, "_program", watched)
    monkeypatch.setattr(works, "MOST_STEPS", 3)
    ours = WORKS[work].prepare(TINY, CONFIG)
    ours.run()
    assert ours.steps == 3
    assert [int(state.step) for state, _ in states] + samplers == [3]


@pytest.mark.parametrize("work", sorted(WORKS))
def test_peers_step_in_their_own_process(work):
    pytest.importorskip("diffusers")
    told = {"compiled": False, "work": work, "steps": 2, "size": SIZE}
    with peers({peer: {**told, "peer": peer} for peer in WORKS[work].peers}, threads=1) as (steps, missing):
        assert missing == {}
        assert all(0 < step() < 60 for step in steps.values())


def test_a_peer_that_can_not_run_says_why():
    told = {"peer": "torch", "compiled": False, "work": "train", "steps": 1, "size": SIZE | {"sides": 3}}
    with peers({"x": told}, 1) as (steps, missing):
        assert steps == {}
        assert missing["x"].startswith(("TypeError", "ModuleNotFoundError"))


def test_a_peer_that_dies_or_hangs_is_left_out(monkeypatch):
    pytest.importorskip("torch")
    told = {"peer": "matmul", "compiled": False, "work": "train", "steps": 1, "size": SIZE}
    with peers({"dies": told, "hangs": told, "matmul": told}, 1) as (steps, missing):
        steps["dies"].args[0].kill()
        steps["hangs"].args[0].send_signal(signal.SIGSTOP)
        monkeypatch.setattr(steps_module, "STEP_SECONDS", 2.0)
        runs = in_turn(steps, Rounds(rounds=2), missing)
    assert missing == {"dies": "it ended with status -9", "hangs": "no answer in 2 s"}
    assert [len(seconds) for seconds in runs.values()] == [2]


def test_rounds_end_with_the_time():
    slow = {"a": lambda: time.sleep(0.02) or 0.02}
    assert len(in_turn(slow, Rounds(rounds=100, seconds=0.0), {})["a"]) == 3
    assert len(in_turn(slow, Rounds(rounds=4, seconds=60.0), {})["a"]) == 4


def test_the_network_in_pytorch_has_our_parameters():
    torch_dit = pytest.importorskip("dit_jax.bench.torch_dit", exc_type=ImportError)
    from dit_jax.program import Program

    ours = Program(config_of(TINY, CONFIG), null={}).params_total
    assert sum(p.numel() for p in torch_dit.TorchDiT(TINY).parameters()) == ours


def test_a_row_compares_within_rounds():
    groups = [
        {"ours": [2.0, 1.0, 3.0], "matmul": [0.1] * 3, "slow": [9.0] * 3},
        {"ours": [4.0, 4.0, 4.0], "matmul": [0.2] * 3, "fast": [6.0, 1.0, 8.0]},
    ]
    row = step_row("train_S", 5e9, groups)
    assert (row["value"], row["fastest_peer"], row["ratio"]) == (3.5, "fast", 1.5)
    assert row["peers"]["slow"]["ratio"] == 4.5
    assert row["share_of_matmul_peak"] == pytest.approx(5e9 / 3.5 / (2 * 1024**3 / 0.1))
    assert step_row("sample_S", 1e9, [{"ours": [1.0], "matmul": [1.0]}])["ratio"] is None


def test_a_machine_that_slows_down_changes_no_ratio():
    ours, theirs = [1.0, 1.0, 1.0, 3.0, 3.0], [1.5, 1.5, 4.5, 4.5, 4.5]  # between ours and theirs of a round
    row = step_row("train_S", 1e9, [{"ours": ours, "matmul": [0.1] * 5, "peer": theirs}])
    assert (row["ratio"], row["value"], row["peers"]["peer"]["median"]) == (1.5, 1.0, 4.5)


def test_a_case_without_peers_is_ours_alone():
    row = step_case("attention", "tiny", TINY, CONFIG, ONCE)
    assert (row["name"], row["peers"], row["missing"]) == ("attention_tiny", {}, {})
    assert row["flops"] == 3 * 4 * 4 * 4 * 32  # two products of 4 x 4 tokens, forward and twice backward


def test_growth_is_along_one_dial(tmp_path):
    base = SIZES["S"]
    for dial in ("width", "depth", "batch"):
        assert np.isclose(flops_of(grown(base, dial, 1), CONFIG), flops_of(base, CONFIG))
    assert flops_of(grown(base, "batch", 4), CONFIG) == 4 * flops_of(base, CONFIG)
    row = growth_case("batch", CONFIG, ONCE, base=TINY)
    assert [point["factor"] for point in row["curve"]] == [1, 2, 4]
    assert row["exponent_low"] == row["exponent"] == row["exponent_high"]
    plot_bench([row], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_a_checkpoint_is_timed():
    row = checkpoint_case(CONFIG, rounds=1)
    assert row["value"] > 0
    assert row["restore"] > 0
    assert row["bytes"] > 10e6
