# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import warnings

import numpy as np
import pytest
from law_worlds import grid, pilot
from PIL import Image

from dit_jax.law import Table, law_json
from dit_jax.law.plot import plot_all

NAMES = ["allocation.png", "isoflop.png", "loss_compute.png"]
RED, BLUE = (193, 39, 45), (15, 94, 156)


def draw(folder, table, law):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_all(table, law, folder)
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    pictures = {path.stem: np.asarray(Image.open(path).convert("RGB"), int) for path in folder.iterdir()}
    assert all(min(picture.shape[:2]) > 400 for picture in pictures.values())
    return pictures


def amount(picture, colour):
    return int((np.abs(picture - colour).sum(-1) < 30).sum())


def test_a_held_out_run_is_a_star(tmp_path):
    ahead = pilot(1e12).select(pilot(1e12).flops > 5e11)
    law = law_json(pilot(3e11), [1e12], heldout=ahead)
    pictures = draw(tmp_path / "with", pilot(1e12), law)
    without = draw(tmp_path / "without", pilot(3e11), law_json(pilot(3e11), [1e12]))
    assert amount(pictures["loss_compute"], RED) > 100
    assert amount(without["loss_compute"], RED) == 0
    assert amount(without["loss_compute"], BLUE) > 500  # the law itself
    assert amount(pictures["allocation"], BLUE) > 500


def test_flagged_budgets_are_hollow(tmp_path):
    clean = draw(tmp_path / "clean", *with_law(grid(np.geomspace(1e17, 1e19, 3), noise=0.001)))
    flagged = draw(tmp_path / "flagged", *with_law(grid(np.geomspace(1e17, 1e19, 3), sizes=3)))
    assert amount(clean["isoflop"], RED) > 1.5 * amount(flagged["isoflop"], RED) > 0


def with_law(table):
    return table, law_json(table, [1e21])


@pytest.mark.parametrize(
    "table",
    [
        grid(np.array([1e18])),
        grid(np.array([1e18]), loss=lambda params, tokens: 2.5 - 0.1 * np.log10(params)),
        grid(np.array([1e18, 1e19]), loss=lambda params, tokens: -1.0 - 1 / params),
        Table.from_rows([]),
    ],
    ids=["one budget", "no minimum", "negative", "empty"],
)
def test_a_refused_law_still_shows_its_runs(tmp_path, table):
    law = law_json(table, [1e21])
    assert law["status"] == "refused"
    draw(tmp_path, table, law)
