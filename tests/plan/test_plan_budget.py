# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from dit_jax.plan.budget import bought, cost, read_law

PLAN = {"topology": "v5e:2x2", "fits": True, "flops": 8e12, "num_chips": 4, "step_seconds": {"estimate": 2.0}}
RATE = 1e12  # of a chip of PLAN, FLOP/s


def law(*budgets, a=0.5):
    """N = 10 C^a, D = C^(1 - a) / 60, predicted at some budgets."""
    sizes = [dict(flops=c, params=10 * c**a, tokens=c ** (1 - a) / 60) for c in budgets]
    methods = {"isoflop": {"exponents": {"a": a, "b": 1 - a}}, "parametric": {"exponents": None}}
    return {"version": 1, "status": "ok", "methods": methods, "predictions": sizes}


@pytest.mark.parametrize("budgets", [(1e18, 1e20), (1e20, 1e18, 1e22), (1e17,), (1e23, 1e24), (3.6e19,)])
def test_sizes_lie_on_the_law_between_and_beyond_its_predictions(budgets):
    found = bought(law(*budgets, a=0.4), chip_hours=1e4, plan=PLAN)
    assert found["flops"] == pytest.approx(RATE * 3600 * 1e4)
    assert found["params"] == pytest.approx(10 * found["flops"] ** 0.4)
    assert found["tokens"] == pytest.approx(found["flops"] ** 0.6 / 60)


def test_how_far_beyond_is_told():
    assert bought(law(1e18, 1e20), 1e4, PLAN)["beyond_predictions"] == 1.0
    assert bought(law(3.6e18), 1e4, PLAN)["beyond_predictions"] == pytest.approx(10.0)


def test_the_surface_s_exponents_serve_where_isoflop_has_none():
    document = law(1e18, a=0.4)
    document["methods"] = {"isoflop": {"exponents": None}, "parametric": {"exponents": {"a": 0.4, "b": 0.6}}}
    assert bought(document, 1e4, PLAN)["params"] == pytest.approx(10 * 3.6e19**0.4)
    document["methods"] = {}
    with pytest.raises(ValueError, match="no exponents: fit with --target_flops"):
        bought(document, 1e4, PLAN)


@pytest.mark.parametrize(
    ("change", "hours", "plan", "reason"),
    [
        ({"status": "refused", "predictions": []}, 1.0, PLAN, "'refused' and predicts no size"),
        ({"predictions": [dict(flops=1e18, params=None, tokens=None)]}, 1.0, PLAN, "predicts no size"),
        ({}, 0.0, PLAN, "chip_hours=0.0 must be positive"),
        ({}, 1.0, {**PLAN, "step_seconds": None}, "has no speed"),
    ],
)
def test_what_cannot_be_bought_is_refused(change, hours, plan, reason):
    with pytest.raises(ValueError, match=reason):
        bought(law(1e18) | change, hours, plan)


def test_cost_counts_whole_steps():
    found = cost(2.0, num_chips=4, tokens_per_step=1000.0, tokens=3_599_001.0, dollars_per_chip_hour=1.5)
    assert found == dict(tokens=3_599_001.0, steps=3600, hours=2.0, chip_hours=8.0, dollars=12.0)
    assert cost(2.0, 4, 1000.0, 1.0, None)["dollars"] is None
    with pytest.raises(ValueError, match="tokens=0"):
        cost(2.0, 4, 1000.0, 0.0, None)


def test_a_law_is_read_from_its_file(tmp_path):
    path = tmp_path / "law.json"
    path.write_text(json.dumps(law(1e18)))
    assert read_law(path)["status"] == "ok"
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        read_law(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="version 1"):
        read_law(path)
