# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Claim: the 95 % intervals of a law hold the truth 95 times in 100. Sweeps with a known law, fitted again and again.

python -m experiments.studies.law_coverage --sweeps=120 --out=runs/law_coverage
"""

import json
import pathlib
from collections.abc import Mapping

import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table as Shown

from dit_jax.law import Table, law_json
from dit_jax.law.surface import Surface
from experiments.cli import run

SWEEPS = flags.DEFINE_integer("sweeps", 120, "how many", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "of the first")
OUT = flags.DEFINE_string("out", "runs/law_coverage", "directory for coverage.json")
FAR = 100.0  # budgets beyond the largest one
PLACE = np.array([1e8, 2e9])  # params and tokens where each term is worth 0.3 to 1.2 of loss


def simulated(seed: int) -> tuple[dict[str, float], float, Table]:
    """A law, the relative noise of its runs, and an isoFLOP sweep of it with a grid that is not quite centred."""
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0.2, 0.5, 2)
    terms = rng.uniform(0.3, 1.2, 2) * PLACE ** np.array([alpha, beta])
    law = {"E": rng.uniform(0.3, 2), "A": terms[0], "B": terms[1], "alpha": alpha, "beta": beta}
    surface, noise = Surface.from_params(law), float(np.exp(rng.uniform(np.log(0.001), np.log(0.008))))
    top, decades, off = 10 ** rng.uniform(20, 21.5), rng.uniform(2.5, 4), np.exp(0.25 * rng.standard_normal())
    reach = rng.uniform(2.5, 8)
    shape = rng.integers(4, 7), rng.integers(5, 10)
    rows = []
    for flops in np.geomspace(top / 10**decades, top, shape[0]):
        best = float(np.exp(surface.optimum(flops)[0][0, 0]))
        for params in best * off * np.geomspace(1 / reach, reach, shape[1]):
            tokens = flops / 6 / params
            loss = surface.loss(np.log([params]), np.log([tokens]))[0, 0] * np.exp(
                noise * rng.standard_normal()
            )
            rows.append({"params": params, "tokens": tokens, "flops": flops, "loss": float(loss)})
    return law, noise, Table.from_rows(enumerate(rows, 1))


def judged(seed: int) -> dict[str, bool | None]:
    """Whether each 95 % interval of one sweep holds its truth; None where the law gives none."""
    law, noise, table = simulated(seed)
    far = FAR * float(table.flops.max())
    document = law_json(table, [far], seed=seed)
    (ahead,), methods = document["predictions"], document["methods"]
    truth = float(np.exp(Surface.from_params(law).optimum(far)[1][0]))
    measured = truth * float(np.exp(noise * np.random.default_rng([seed, 1]).standard_normal()))
    a = law["beta"] / (law["alpha"] + law["beta"])
    numbers = methods["parametric"]["ci95"] or {}
    asked = {
        "E": (numbers.get("E"), law["E"]),
        "alpha": (numbers.get("alpha"), law["alpha"]),
        "beta": (numbers.get("beta"), law["beta"]),
        "a, surface": ((methods["parametric"]["exponents_ci95"] or {}).get("a"), a),
        "a, isoFLOP": ((methods["isoflop"]["exponents_ci95"] or {}).get("a"), a),
        "loss of the law at 100x": (ahead["loss_ci95"], truth),
        "loss of a run at 100x": (ahead["loss_pi95"], measured),
    }
    return {name: ends and ends[0] <= value <= ends[1] for name, (ends, value) in asked.items()}


def summary(found: list[Mapping[str, bool | None]]) -> dict[str, dict[str, float]]:
    """Share of intervals that hold, by what they are of."""
    told = {name: [one[name] for one in found if one[name] is not None] for name in found[0]}
    return {name: {"coverage": float(np.mean(held)), "sweeps": len(held)} for name, held in told.items()}


def main() -> None:
    seeds = range(SEED.value, SEED.value + SWEEPS.value)
    found = summary([judged(seed) for seed in track(seeds, "sweeps")])
    path = pathlib.Path(OUT.value) / "coverage.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    shown = Shown("95 % interval of", "covers", "sweeps", box=None)
    for name, one in found.items():
        shown.add_row(name, f"{one['coverage']:.1%}", str(one["sweeps"]))
    Console().print(shown)
    print(f"written: {path}")


if __name__ == "__main__":
    run(main)
