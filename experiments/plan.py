# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A config on chips that are not here: does it fit, how fast is it, what does it cost.

python -m experiments.plan --config=configs/pod.py:xl_4k --config.mesh.fsdp=16 --topology=v5e:4x4 --out=plan.json
python -m experiments.plan --config=configs/pod.py:xl_4k --topology=v5e:4x4 --search
python -m experiments.plan --config=configs/pod.py:xl_4k --topology=v5e:4x4 --what=sample
python -m experiments.plan ... --law=law.json --chip_hours=1000

TPUs need libtpu (pip install dit_jax[tpu]); docs/plan.md says how to read a plan.
"""

import json
import pathlib

from absl import flags
from rich.console import Console

from dit_jax.files import write_whole
from dit_jax.plan.budget import bought, read_law
from dit_jax.plan.jobs import JOBS
from dit_jax.plan.page import show, table
from dit_jax.plan.plan import make_plan
from dit_jax.plan.search import search
from dit_jax.plan.topology import topology
from experiments.cli import define_config, numbers, run

CONFIG = define_config("pod.py")
TOPOLOGY = flags.DEFINE_string("topology", "v5e:4x4", "chips, such as v5e:4x4, h100:8, cpu:8")
OUT = flags.DEFINE_string("out", "plan.json", "file for the plan")
WHAT = flags.DEFINE_enum(
    "what", "train", sorted(JOBS), "a training step, all steps of config.sampler, or the decoding of a batch"
)
TOKENS = flags.DEFINE_float("tokens", None, "video tokens of a budget, to be costed")
DOLLARS = flags.DEFINE_float("dollars_per_chip_hour", None, "price of a chip")
LAW = flags.DEFINE_string("law", None, "law.json, for what --chip_hours buy")
CHIP_HOURS = flags.DEFINE_float("chip_hours", None, "budget, for --law")
SEARCH = flags.DEFINE_bool("search", False, "compile for every mesh and remat policy, and rank them")
FIXED = flags.DEFINE_list("fixed", [], "axes that --search leaves alone, such as data=1,model=1,seq=1")
SHOWN = flags.DEFINE_integer("shown", 5, "plans that --search prints and writes", lower_bound=1)


def main() -> None:
    console, where = Console(soft_wrap=True), topology(TOPOLOGY.value)
    law = read_law(LAW.value) if LAW.value else None
    if (law is None) != (CHIP_HOURS.value is None):
        raise ValueError("--law and --chip_hours go together: give both or neither")
    budget = dict(tokens=TOKENS.value, dollars_per_chip_hour=DOLLARS.value, what=WHAT.value)
    if SEARCH.value:
        fixed = {axis: int(size) for axis, size in numbers(FIXED.value).items()}
        found = search(CONFIG.value, where, fixed, report=console.print, **budget)
        console.print(table(found[: SHOWN.value]))
        plan = {**found[0], "others": found[1 : SHOWN.value]}
    else:
        plan = make_plan(CONFIG.value, where, **budget)
    if law is not None:
        plan["bought"] = bought(law, CHIP_HOURS.value, plan)
    show(console, plan)
    write_whole(pathlib.Path(OUT.value), json.dumps(plan, indent=2) + "\n")
    console.print(f"written: {OUT.value}")


if __name__ == "__main__":
    run(main)
