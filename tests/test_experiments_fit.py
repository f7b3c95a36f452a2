# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dit_jax.record import NUMBERS, append_record

ROOT = pathlib.Path(__file__).parents[1]


def fit(*arguments):
    command = [sys.executable, "-m", "experiments.fit", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def ladder():
    """Rows of an isoFLOP grid on a known law."""
    rng = np.random.default_rng(0)
    for flops in np.geomspace(1e12, 1e14, 5):
        for params in np.sqrt(flops / 120) * np.geomspace(1 / 4, 4, 5):
            tokens = flops / 6 / params
            loss = (0.5 + 20 / params**0.3 + 20 / tokens**0.3) * np.exp(0.002 * rng.standard_normal())
            yield params, tokens, flops, loss


@pytest.fixture
def runs(tmp_path):
    path = tmp_path / "runs.csv"
    lines = [",".join(f"{value:.8g}" for value in row) for row in ladder()]
    path.write_text("\n".join(["params,tokens,flops,loss", *lines]) + "\n")
    return path


def test_a_csv_becomes_a_law_with_plots(runs, tmp_path):
    out = tmp_path / "out"
    done = fit(f"--runs={runs}", f"--out={out}", "--target_flops=1e15,1e16")
    assert (done.returncode, done.stderr) == (0, "")
    law = json.loads((out / "law.json").read_text())
    assert law["status"] in ("ok", "ok_with_warning")
    assert [one["flops"] for one in law["predictions"]] == [1e15, 1e16]
    drawn = {path.stem for path in (out / "plots").glob("*.png")}
    assert {"isoflop", "loss_compute", "allocation", "contours", "predicted", "residuals", "holdout"} <= drawn
    for part in ("25 runs", "1e+15", "1e+16", str(out / "law.json"), str(out / "plots")):
        assert part in done.stdout.replace("\n", "")


def test_records_are_read_and_unfinished_runs_left_out(tmp_path):
    records = tmp_path / "records.jsonl"
    base = dict.fromkeys(NUMBERS, 1.0) | {"seed": 0, "device_kind": "cpu"}
    for i, (params, tokens, flops, loss) in enumerate(ladder()):
        numbers = {"params_active": params, "tokens_seen": tokens, "flops": flops, "loss": loss}
        append_record(records, base | numbers | {"trial": f"t{i}", "status": "finished"})
    lost = {"trial": "lost", "status": "diverged", "loss": float("nan")}
    append_record(records, base | lost)
    assert fit(f"--runs={records}", f"--out={tmp_path / 'out'}").returncode == 0
    law = json.loads((tmp_path / "out" / "law.json").read_text())
    assert law["rows"] == {"used": 25, "dropped": [{"row": 26, "reason": "status diverged"}], "suspect": []}
    assert "diverged_outlier" in law["flags"]
    assert law["predictions"][0]["flops"] == pytest.approx(1e15)


def test_the_other_questions_are_answered(runs, tmp_path):
    out = tmp_path / "out"
    asked = ("--params=1e5,1e6", "--inference_tokens=1e10", "--precision=0.001", "--draws=100")
    done = fit(f"--runs={runs}", f"--out={out}", "--target_flops=1e15", "--law=additive", *asked)
    assert (done.returncode, done.stderr) == (0, "")
    law = json.loads((out / "law.json").read_text())
    assert law["holdout"]["weights"] == {"parametric": 1.0}
    assert [one["params"] for one in law["fixed_size"]] == [1e5, 1e6]
    (served,) = law["inference"]
    assert served["params"] < law["predictions"][0]["params"]
    assert law["runs_for_precision"]["precision"] == 0.001
    for part in ("1e+05 parameters at 1e+15 FLOPs", "serving 1e+10 tokens", "to a precision of 0.10%"):
        assert part in done.stdout


def test_a_broken_law_can_be_asked_for(tmp_path):
    flops = np.geomspace(1e17, 1e21, 14)
    x, sizes = flops / 1e19, np.sqrt(flops / 120)
    loss = (0.4 + 1.5 * x**-0.08 * (1 + x**2) ** -0.085) * np.exp(
        0.002 * np.random.default_rng(0).standard_normal(14)
    )
    rows = zip(sizes, flops / 6 / sizes, flops, loss)
    path, out = tmp_path / "best.csv", tmp_path / "out"
    lines = [",".join(f"{value:.8g}" for value in row) for row in rows]
    path.write_text("\n".join(["params,tokens,flops,loss", *lines]) + "\n")
    done = fit(f"--runs={path}", f"--out={out}", "--target_flops=1e22", "--law=broken", "--draws=100")
    assert (done.returncode, done.stderr) == (0, "")
    law = json.loads((out / "law.json").read_text())
    found = law["methods"]["parametric"]
    assert found["law"] == "broken"
    assert 3e18 < found["params"]["flops_break"] < 3e19
    assert found["ci95"]["flops_break"][0] < 1e19 < found["ci95"]["flops_break"][1]
    low, high = law["predictions"][0]["loss_pi95"]
    assert low < 0.4 + 1.5 * 1000**-0.25 < high
    assert {"predicted", "residuals", "loss_compute"} <= {path.stem for path in (out / "plots").glob("*.png")}


def test_a_fit_that_was_published_with_a_fixed_delta_can_be_redone(runs, tmp_path):
    for delta in ("1e-3", "1"):
        arguments = (f"--runs={runs}", f"--out={tmp_path / delta}", f"--huber_delta={delta}", "--draws=100")
        assert fit(*arguments).returncode == 0
    one, other = (
        json.loads((tmp_path / delta / "law.json").read_text())["methods"]["parametric"]["params"]["A"]
        for delta in ("1e-3", "1")
    )
    assert one != other
    assert one == pytest.approx(other, rel=0.5)


def test_a_refused_law_is_written_and_exits_with_3(runs, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("\n".join(runs.read_text().splitlines()[:4]) + "\n")
    done = fit(f"--runs={few}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if "no law" in line]
    law = json.loads((tmp_path / "out" / "law.json").read_text())
    assert law["status"] == "refused"
    assert "fewer_points_than_parameters" in done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--runs": "nowhere.csv"}, "nowhere.csv is not a file"),
        ({"--target_flops": "1e15,many"}, "'many'"),
        ({"--target_flops": "-1"}, "positive"),
        ({"--run": "x"}, "Did you mean"),
        ({"--out": None}, "--out"),
        ({"--law": "additiv"}, "additiv"),
        ({"--law": "repeated"}, "unique_tokens"),
        ({"--precision": "-1"}, "precision"),
        ({"--runs": "renamed.csv"}, "did you mean 'loss_val'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_one_line_and_exits_with_2(runs, tmp_path, changes, says):
    (tmp_path / "renamed.csv").write_text(runs.read_text().replace("loss", "loss_val"))
    flags = {"--runs": runs, "--out": tmp_path / "out"} | changes
    if str(flags["--runs"]) == "renamed.csv":
        flags["--runs"] = tmp_path / "renamed.csv"
    done = fit(*(f"{name}={value}" for name, value in flags.items() if value is not None))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_traceback_is_shown_when_asked_for(tmp_path):
    done = fit("--runs=nowhere.csv", f"--out={tmp_path / 'out'}", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_fitting_loads_no_jax():
    code = "import sys, experiments.fit, dit_jax.law.plot; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
