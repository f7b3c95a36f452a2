# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which run to make next: the one that narrows the prediction most per FLOP."""

import numpy as np

from dit_jax.law.frontier import Frontier
from dit_jax.law.predict import Law

STEPS = 6  # budgets tried between the last one and the target
WORTH = 0.1  # of the sd: a run that narrows it by less is not worth starting


def next_run(law: Law, target_flops: float, seed: int = 0) -> dict[str, float | None] | None:
    """A budget beyond the data, below the target, whose best run would narrow the prediction most per FLOP.

    The run is taken to come out as predicted, give or take one seed's noise.

    Returns:
      `flops`, `params`, `tokens`, and the sd of log loss at the target before and after (half the 95 %
      interval over 1.96); None where no run below the target narrows it by a tenth.
    """
    if law.frontier.status == "refused" or target_flops <= np.exp(law.frontier.x[-1]):
        return None
    before = _sd(law.frontier, target_flops)
    steps = np.linspace(law.frontier.x[-1], np.log(target_flops), STEPS + 2)[1:-1]
    after = [_sd(_extended(law.frontier, step, seed), target_flops) for step in steps]
    gain = before - np.array(after)
    worth = np.where(gain > WORTH * before, gain / np.exp(steps), 0.0)
    best = int(np.argmax(worth))
    if not worth[best]:
        return None
    flops = float(np.exp(steps[best]))
    size = law.optimum(flops)
    params, tokens = (None, None) if size is None else np.exp(size[0]).tolist()
    return {"flops": flops, "params": params, "tokens": tokens, "sd_before": before, "sd_after": after[best]}


def _sd(frontier: Frontier, target_flops: float) -> float:
    return float(frontier.extrapolation().predict(np.log([target_flops])).half_width[0] / 1.96)


def _extended(frontier: Frontier, x: float, seed: int) -> Frontier:
    mean = frontier.extrapolation().predict(np.array([x])).mean[0]
    noise = frontier.noise * np.random.default_rng(seed).standard_normal(len(frontier.y))
    noise[0] = 0.0
    return frontier.extended(x, mean + noise)
