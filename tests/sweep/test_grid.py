# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import io

import pytest
from rich.console import Console

from configs import quickstart
from dit_jax import build
from dit_jax.sweep.display import Display
from dit_jax.sweep.engine import Task
from dit_jax.sweep.flops import step_flops
from dit_jax.sweep.grid import SweepConfig, isoflop_grid, trial
from dit_jax.sweep.ladder import ladder

SHAPE = (3, 4, 4, 16)


def config():
    return quickstart.get_config()


def settings(**change):
    return build.construct(SweepConfig, config().sweep.to_dict() | change, "sweep")


def test_rungs_grow_with_the_dial_and_are_valid():
    rungs = [ladder(config(), width) for width in (12, 16, 20, 24, 32, 40, 48, 64, 96, 128)]
    for rung in rungs:
        rung.train.update(total_steps=10, save_every_steps=10)
        build.check(rung, SHAPE)
    flops = [step_flops(rung, SHAPE) for rung in rungs]
    assert flops == sorted(flops)
    assert [rung.optimizer.lr for rung in rungs] == sorted((r.optimizer.lr for r in rungs), reverse=True)
    assert [rung.backbone.depth for rung in rungs] == sorted(rung.backbone.depth for rung in rungs)


@pytest.mark.parametrize("width", [7, 2, 9])
def test_widths_off_the_ladder_are_named(width):
    with pytest.raises(ValueError, match=f"width={width}"):
        ladder(config(), width)


def test_heads_may_be_chosen_and_must_divide():
    chosen = config()
    chosen.backbone.num_heads = 4
    assert ladder(chosen, 32).backbone.num_heads == 4
    chosen.backbone.num_heads = 5
    with pytest.raises(ValueError, match="num_heads=5 does not cut width=16"):
        ladder(chosen, 16)


def test_every_run_of_a_budget_costs_the_same():
    trials = isoflop_grid(config(), settings(), SHAPE)
    for run in trials:
        flops = run.train.total_steps * step_flops(run, SHAPE)
        assert flops == pytest.approx(
            run.budget_flops, rel=0.5 * run.train.chunk_steps / run.train.total_steps + 1e-9
        )
        assert run.train.total_steps >= settings().min_steps
    assert len({run.trial for run in trials}) == len(trials)


def test_the_batch_grows_by_the_power_of_the_budget_in_whole_multiples():
    budgets, own = (1e10, 4e10, 1.6e11), config().loader.batch_size
    same, grown = (
        isoflop_grid(config(), settings(budgets=budgets, min_steps=60, batch_exponent=e), SHAPE)
        for e in (0.0, 0.5)
    )
    assert {run.loader.batch_size for run in same} == {own}
    found = {(run.budget_flops, run.loader.batch_size) for run in grown}
    assert found == {(1e10, own), (4e10, 2 * own), (1.6e11, 4 * own)}
    for run in grown:
        flops = run.train.total_steps * step_flops(run, SHAPE)
        assert flops == pytest.approx(
            run.budget_flops, rel=0.5 * run.train.chunk_steps / run.train.total_steps
        )
    three = settings(budgets=(1e10, 3e10), batch_exponent=0.5)
    run = trial(config(), three, SHAPE, 3e10, 24, 0)
    assert run.loader.batch_size == 2 * own  # the root of 3, rounded


def test_seeds_make_trials():
    one, two = (isoflop_grid(config(), settings(seeds=n), SHAPE) for n in (1, 2))
    assert len(two) == 2 * len(one)
    assert len({run.trial for run in two}) == len(two)


def test_a_budget_with_too_few_sizes_is_named():
    with pytest.raises(ValueError, match=r"budget 1e\+06 FLOPs has 0 of the 3 widths"):
        isoflop_grid(config(), settings(budgets=(1e6,)), SHAPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [(dict(heldout_factor=1.0), "heldout_factor=1.0 must exceed 1"), (dict(seeds=0), "seeds=0 must be")],
)
def test_wrong_sweeps_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        settings(**change)


def test_unknown_keys_get_the_nearest_valid_name():
    with pytest.raises(ValueError, match=r"config\.sweep\.budgts is unknown; did you mean 'budgets'\?"):
        settings(budgts=(1e9,))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_sees_how_far_it_is(terminal):
    out = io.StringIO()
    tasks = [Task("a", "", {}, weight=3.0), Task("b", "", {}, weight=1.0)]
    with Display("trials", tasks, 4.0, Console(file=out, force_terminal=terminal, width=100)) as display:
        display.update(tasks[0], {"event": "done"})
        display.update(tasks[1], {"event": "progress", "done": 0.5, "detail": 0.25})
        display.update(tasks[1], {"event": "done"})
    text = out.getvalue()
    assert "trials 2/2" in text
    assert "left" in text
    assert "100" in text
    assert terminal == ("\x1b" in text)


def test_a_frozen_text_encoder_keeps_its_width():
    chosen = config()
    chosen.text.name, chosen.backbone.text_width = "t5", 512
    assert [ladder(chosen, width).backbone.text_width for width in (24, 32)] == [512, 512]
