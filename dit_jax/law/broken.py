# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the best runs of the budgets show a break at all (Caballero et al. 2022, arXiv 2210.14891)."""

import dataclasses

import numpy as np
import scipy  # scipy.special loads when first used

from dit_jax.law.forms import BREAK, FORMS
from dit_jax.law.minimise import SMALLEST_SCALE, Fit, minimise, residuals
from dit_jax.law.surface import Runs

FEWEST_FOR_BREAK = 8  # two more than a broken law has numbers
EITHER_SIDE = 2  # budgets, for an exponent there
CHANCE = 1e-3  # that noise alone bends a law as much


def has_break(fit: Fit, runs: Runs) -> bool:
    """Whether a break explains more than noise would, and lies among the budgets.

    An F test against the law without one, at the Huber corner of the broken law.

    Args:
      fit: of a broken law.
      runs: what it was fitted to.
    """
    x, place = runs.x[0], fit.free[runs.form.free.index("flops_break")]
    if min((x < place).sum(), (x > place).sum()) < EITHER_SIDE:
        return False
    plain = dataclasses.replace(runs, form=FORMS["compute"])
    gain = 2 * (minimise(plain, fit.corner).objective - fit.objective)
    clipped = np.clip(residuals(fit.free[None], runs)[0], -fit.corner, fit.corner)
    dof = max(len(runs) - len(fit.free), 1)
    noise = max(float(clipped @ clipped), len(runs) * SMALLEST_SCALE**2) / dof
    return bool(scipy.special.fdtrc(len(BREAK), dof, max(gain, 0.0) / len(BREAK) / noise) < CHANCE)
