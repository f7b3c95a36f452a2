# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Architectures whose laws are known: how much compute each is worth comes out."""

import numpy as np
import pytest

from dit_jax.law.compare import best_by_budget, compare, seed_deviation

BUDGETS = (1e10, 3e10, 9e10)


def rows(factors, noise=0.0, seeds=1, widths=(8, 16, 32), rng=None):
    """Loss falls as (m C)^-0.1, where m is an architecture's factor, and has its minimum at the middle width."""
    rng = rng or np.random.default_rng(0)
    made = []
    for name, factor in factors.items():
        for budget in BUDGETS:
            for i, width in enumerate(widths):
                for seed in range(seeds):
                    loss = 10 * (factor * budget) ** -0.1 * (1 + 0.02 * (i - 1) ** 2) + noise * rng.normal()
                    made.append(
                        dict(architecture=name, budget_flops=budget, flops=budget, width=width, seed=seed)
                        | dict(loss=loss, status="finished", params_active=width**2, params_total=width**2)
                        | dict(seconds=1.0)
                    )
    return made


def test_worth_in_compute_is_found():
    document = compare(rows({"a": 1.0, "b": 2.0, "c": 0.5}), "a")
    for entry in document["entries"]:
        expected = {"a": 1.0, "b": 2.0, "c": 0.5}[entry["architecture"]]
        assert entry["compute_worth"] == pytest.approx(expected, rel=1e-3)
        assert entry["width"] == 16
        assert entry["flags"] == []
        assert entry["compute_worth_ci95"] is None  # no point was repeated: no interval


def test_intervals_cover_the_truth_and_narrow_with_seeds():
    rng, covered, width = np.random.default_rng(1), [], {2: [], 8: []}
    for seeds in (2, 8):
        for _ in range(20):
            document = compare(rows({"a": 1.0, "b": 1.3}, 0.003, seeds, rng=rng), "a")
            for entry in document["entries"]:
                if entry["architecture"] == "b" and entry["flops"] < BUDGETS[-1]:
                    low, high = entry["compute_worth_ci95"]
                    covered.append(low <= 1.3 <= high)
                    width[seeds].append(high - low)
    assert 0.85 <= np.mean(covered) <= 1
    assert np.mean(width[8]) < 0.7 * np.mean(width[2])


def test_the_deviation_of_seeds_is_pooled():
    made = rows({"a": 1.0}, 0.01, seeds=40)
    assert seed_deviation(made) == pytest.approx(0.01, rel=0.15)
    assert np.isnan(seed_deviation(rows({"a": 1.0})))


def test_the_edge_of_the_sizes_is_told_and_failures_are_left_out():
    made = [row for row in rows({"a": 1.0}) if row["width"] > 8]
    assert all(best.at_edge for best in best_by_budget(made))
    assert all(e["flags"] == ["vertex_at_edge"] for e in compare(made, "a")["entries"])
    for row in made:
        row["status"] = "diverged"
    with pytest.raises(ValueError, match="no run finished"):
        compare(made, "a")


def test_a_reference_needs_two_budgets():
    made = [
        row for row in rows({"a": 1.0, "b": 1.0}) if row["architecture"] == "b" or row["budget_flops"] == 1e10
    ]
    with pytest.raises(ValueError, match="a finished at 1 budgets"):
        compare(made, "a")
