# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dit_jax.law import Table, fit_law
from dit_jax.law.document import describe
from dit_jax.law.plot import PLOTS, Scene, plot_all
from dit_jax.law.plot.style import STYLE, count, percent, power, short
from tests.law.law_worlds import CHINCHILLA, additive, grid, pilot, table_of

ALWAYS = {"isoflop", "loss_compute", "allocation"}
BUDGETS = np.geomspace(1e17, 1e19, 4)


def scene_of(table, targets=(1e21,), others=None, heldout=None, law=None):
    law = fit_law(table, draws=20, law=law)
    return Scene(law, describe(law, list(targets), heldout), others)


@pytest.fixture(scope="module")
def ladder():
    """A pilot whose largest budget was held out."""
    whole = pilot(1e12)
    return scene_of(pilot(3e11), [1e12], whole, whole.select(whole.flops > 5e11))


@pytest.fixture(scope="module")
def noisy():
    """A grid with a diverged run and an unfinished one."""
    table = grid(BUDGETS, noise=0.003)
    loss = table.loss.copy()
    loss[5] *= 1.9
    loss[11] *= 1.05
    table = dataclasses.replace(table, loss=loss)
    return scene_of(table, others=table)


@pytest.fixture(scope="module")
def tuned():
    """Each size of a budget at 25 pairs of lr and batch; the best of the largest lies below its grid."""
    rng, rows = np.random.default_rng(0), []
    for i, params in enumerate((1e7, 4e7, 1.6e8)):
        tokens = 1e17 / 6 / params
        best = 0.3 * params**-0.25, 1e-4 * tokens**0.5
        for lr in best[0] * np.geomspace(0.25, 4, 5) * (8 if i == 2 else 1):
            for batch in best[1] * np.geomspace(0.25, 4, 5):
                rise = 0.02 * np.log(lr / best[0]) ** 2 + 0.01 * np.log(batch / best[1]) ** 2
                loss = float(additive(params, tokens) * (1 + rise) * np.exp(1e-3 * rng.standard_normal()))
                row = {"params": params, "tokens": tokens, "flops": 1e17, "loss": loss}
                rows.append(row | {"lr": lr, "batch": batch})
    return scene_of(table_of(rows), others=table_of(rows))


def draw(scene, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_all(scene.law, scene.document, folder, scene.others)
    return {path.stem for path in folder.iterdir()}


def plot(name, scene):
    with mpl.rc_context(STYLE):
        return PLOTS[name](scene)


def points(figure, label, panel=0):
    """Places of the marks with a label on one panel."""
    lines = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return np.concatenate([np.empty((0, 2)), *(line.get_xydata() for line in lines)])


def test_every_plot_that_has_data_is_a_picture(tmp_path, ladder):
    assert draw(ladder, tmp_path) == set(PLOTS) - {"settings"}
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert all(600 <= side <= 2600 for side in picture.size)
            shades = len(np.unique(np.asarray(picture.convert("L"))))
        assert shades > 30
        assert path.stat().st_size < 500e3


def test_what_has_no_data_leaves_no_stale_picture(tmp_path):
    for name in ("contours", "holdout", "mine"):
        (tmp_path / f"{name}.png").write_bytes(b"of another law")
    assert draw(scene_of(Table.from_rows([])), tmp_path) == ALWAYS | {"mine"}


def test_flagged_budgets_are_hollow():
    for sizes, kind, face in ((7, "best of a budget", False), (3, "best of a budget, flagged", True)):
        scene = scene_of(grid(BUDGETS[:2], sizes=sizes, noise=0.001), law="frontier")
        for name in ("isoflop", "allocation"):
            figure = plot(name, scene)
            (marks,) = (line for line in figure.axes[0].lines if line.get_label().startswith("best of a"))
            assert marks.get_label() == kind
            assert len(marks.get_xydata()) == 2
            assert (to_hex(marks.get_markerfacecolor()) == "#ffffff") == face
        vertices = np.exp([one.vertex for one in scene.law.isoflop.vertices])
        np.testing.assert_allclose(points(plot("isoflop", scene), kind), vertices[:, [0, 2]])


def test_curves_pass_near_their_runs():
    scene = scene_of(grid(BUDGETS, noise=0.001), law="frontier")
    curves = [line for line in plot("isoflop", scene).axes[0].lines if len(line.get_xydata()) == 100]
    assert len(curves) == len(BUDGETS)
    for curve, one in zip(curves, scene.law.isoflop.vertices):
        runs = np.log(scene.runs.params[one.curve_rows]), scene.runs.loss[one.curve_rows]
        np.testing.assert_allclose(
            np.interp(runs[0], np.log(curve.get_xdata()), curve.get_ydata()), runs[1], rtol=0.01
        )


def test_a_held_out_run_is_a_star(ladder):
    figure = plot("loss_compute", ladder)
    np.testing.assert_allclose(points(figure, "held out"), [[1e12, 0.476]])
    assert "0.4760 measured" in figure.axes[0].get_title(loc="left")
    assert sorted(points(figure, "not fitted")[:, 1]) == [0.476, 0.529, 0.541]
    assert len(points(figure, "runs")) == len(ladder.runs)
    alone = scene_of(pilot(3e11), [1e12], pilot(3e11), law="frontier")
    assert not len(points(plot("loss_compute", alone), "held out"))
    assert not len(points(plot("loss_compute", alone), "not fitted"))


def test_the_band_holds_the_prediction(ladder):
    axes = plot("loss_compute", ladder).axes[0]
    (band,) = (one for one in axes.collections if "interval" in one.get_label())
    (at,) = ladder.document["predictions"]
    flops, loss = band.get_paths()[0].vertices.T
    there = loss[np.isclose(flops, at["flops"])]
    np.testing.assert_allclose([there.min(), there.max()], at["loss_pi95"], rtol=1e-6)
    assert axes.get_ylim()[0] < there.min()
    assert there.max() < axes.get_ylim()[1]


def test_allocation_draws_the_optimum(ladder):
    for panel, key in enumerate(("params", "tokens")):
        figure = plot("allocation", ladder)
        law = points(figure, "law", panel)
        best = [np.exp(ladder.law.optimum(flops)[0][panel]) for flops in law[:, 0]]
        np.testing.assert_allclose(law[:, 1], best)
        np.testing.assert_allclose(
            points(figure, "predicted", panel), [[1e12, ladder.document["predictions"][0][key]]]
        )


def test_contours_go_through_the_truth():
    scene = scene_of(grid(BUDGETS), law="additive")
    axes = plot("contours", scene).axes[0]
    (lines,) = (one for one in axes.collections if hasattr(one, "levels"))
    drawn = [
        (level, path.vertices) for level, path in zip(lines.levels, lines.get_paths()) if len(path.vertices)
    ]
    assert len(drawn) > 5
    for level, places in drawn:
        np.testing.assert_allclose(additive(*places.T), level, rtol=2e-3)
    best = points(axes.figure, "best split")
    a = CHINCHILLA["beta"] / (CHINCHILLA["alpha"] + CHINCHILLA["beta"])
    slope = np.polyfit(np.log(best[:, 0] * best[:, 1]), np.log(best[:, 0]), 1)[0]
    assert slope == pytest.approx(a, abs=1e-3)


def test_contours_mark_the_next_run(ladder):
    document = {**ladder.document, "next_run": {"flops": 5e11, "params": 6e4, "tokens": 1.4e6}}
    figure = plot("contours", dataclasses.replace(ladder, document=document))
    np.testing.assert_allclose(points(figure, "proposed next run"), [[6e4, 1.4e6]])
    document = {**ladder.document, "next_run": None}
    assert not len(
        points(plot("contours", dataclasses.replace(ladder, document=document)), "proposed next run")
    )


def test_predicted_tells_held_out_runs_from_fitted_ones(ladder):
    figure = plot("predicted", ladder)
    labels = [line.get_label() for line in figure.axes[0].lines]
    fitted, unseen = (
        next(one for one in labels if one.startswith(kind)) for kind in ("fitted", "not fitted")
    )
    found = points(figure, fitted)
    rmse = np.sqrt(np.mean(np.log(found[:, 0] / found[:, 1]) ** 2))
    np.testing.assert_allclose(np.log(found[:, 0] / found[:, 1]), ladder.law.parametric.residual)
    assert fitted == f"fitted, rmse {percent(rmse)}"
    assert len(points(figure, unseen)) == 3


def test_residuals_mark_suspects_and_those_left_out(noisy):
    figure = plot("residuals", noisy)
    assert {one["row"] for one in noisy.document["rows"]["dropped"]} == {6}
    for panel, key in enumerate(("flops", "params")):
        fitted = points(figure, "fitted", panel)
        np.testing.assert_allclose(np.log1p(fitted[:, 1] / 100), noisy.law.parametric.residual)
        ((x, y),) = points(figure, "suspect", panel)
        assert x == getattr(noisy.others, key)[11]
        assert y == pytest.approx(5, abs=1.5)
        ((x, y),) = points(figure, "left out", panel)
        assert x == getattr(noisy.others, key)[5]
        assert y == pytest.approx(figure.axes[panel].get_ylim()[1])  # off the scale: at its edge


def test_runs_left_out_do_not_set_the_scale(noisy):
    for name in ("isoflop", "loss_compute"):
        axes = plot(name, noisy).axes[0]
        assert axes.get_ylim()[1] < 1.2 * noisy.runs.loss.max()
        assert len(points(axes.figure, "left out")) == 1


def test_the_floor_crosses_its_limit_at_the_interval(noisy):
    figure = plot("floor", noisy)
    profile = points(figure, "profile")
    low, high = noisy.law.parametric.floor.ci95
    inside = (profile[:, 0] > low) & (profile[:, 0] < high)
    limit = noisy.law.parametric.floor.limit
    assert (profile[inside, 1] <= limit).all()
    assert (profile[~inside, 1] >= limit - 1e-9).all()
    assert figure.axes[0].get_xlim()[0] < low < CHINCHILLA["E"] < high < figure.axes[0].get_xlim()[1]
    assert plot("floor", scene_of(grid(BUDGETS), law="additive")) is None  # no noise, no width


def test_settings_show_cells_and_where_the_best_lies(tuned):
    figure = plot("settings", tuned)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == 3
    assert figure.get_suptitle() == "The best lies inside the grid at 2 of 3 sizes"
    for axes, one in zip(panels, sorted(tuned.law.settings, key=lambda one: one.params)):
        cells = next(each for each in axes.collections if each.get_label() == "runs")
        runs = tuned.others.select(np.isclose(tuned.others.params, one.params))
        np.testing.assert_allclose(cells.get_offsets(), np.stack([runs.lr, runs.batch], 1))
        np.testing.assert_allclose(cells.get_array(), runs.loss)
        best = [line.get_xydata() for line in axes.lines if line.get_label() == "best"]
        arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
        assert (len(best), len(arrows)) == ((1, 0) if one.inside else (0, 1))
        if one.inside:
            np.testing.assert_allclose(best[0], [[one.best["lr"], one.best["batch"]]])
        else:
            assert arrows[0].xy[0] < runs.lr.min()


def test_other_settings_are_not_taken_for_held_out_runs(tuned):
    figure = plot("loss_compute", tuned)
    assert len(tuned.untuned) == len(tuned.others) - len(tuned.runs)
    assert not len(points(figure, "not fitted"))
    assert len(points(figure, "other lr or batch")) == len(tuned.untuned)


def test_one_hyperparameter_is_a_curve():
    rates = 3e-3 * np.geomspace(0.1, 10, 5)
    rows = [
        {"params": 1e8, "tokens": 1e9, "flops": 6e17, "lr": lr, "loss": 3 + 0.05 * np.log(lr / 3e-3) ** 2}
        for lr in rates
    ]
    axes = plot("settings", scene_of(table_of(rows), others=table_of(rows))).axes[0]
    (best,) = (line.get_xdata() for line in axes.lines if line.get_label() == "best")
    assert best[0] == pytest.approx(3e-3, rel=1e-3)


def test_holdout_lines_start_at_their_cuts(ladder):
    figure = plot("holdout", ladder)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    names = {"frontier", *ladder.law.tried}
    assert len(shown) == len(names) == 4
    (frontier,) = (one for one in ladder.law.extrapolation.candidates if one.name == "frontier")
    lines = [line.get_xydata() for line in shown[0].lines if len(line.get_xydata()) > 1]
    lines = [line for line in lines if line[0, 0] > 1]  # the zero line is in axes units
    assert [line[0, 0] for line in lines] == pytest.approx(np.exp(np.unique(frontier.errors.cut)))
    errors = np.concatenate([line[1:, 1] for line in lines])
    assert sorted(errors) == pytest.approx(sorted(100 * np.expm1(frontier.errors.error)))
    assert all(line[0, 1] == 0 for line in lines)


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
    scene = scene_of(table)
    assert scene.document["status"] == "refused"
    assert draw(scene, tmp_path) == ALWAYS
    assert len(points(plot("loss_compute", scene), "runs")) == len(table)
    assert "no law" in plot("isoflop", scene).axes[0].get_title(loc="left")
    (runs,) = (
        one for one in plot("isoflop", scene).axes[0].collections if len(one.get_offsets()) == len(table)
    )
    np.testing.assert_allclose(runs.get_offsets(), np.stack([table.params, table.loss], 1))


def test_numbers_are_said_as_people_say_them():
    assert [count(value) for value in (12.0, 1500.0, 999_999.0, 1.07e9, 3e12, 2e16)] == [
        "12", "1.5k", "1M", "1.07B", "3T", r"$2\times10^{16}$",
    ]  # fmt: skip
    assert [power(1e18), power(2.5e-3)] == ["$10^{18}$", r"$2.5\times10^{-3}$"]
    assert [short(1e-4), short(2.5e-3), percent(0.0123), percent(1e-9)] == [
        "1e-4",
        "2.5e-3",
        "1.2 %",
        "below 0.001 %",
    ]
