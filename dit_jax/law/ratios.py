# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the FLOPs of a table were counted one way: their ratio to 6 N D.

The ratio need not be 1: attention, embeddings and a text encoder raise it, most in small models. So it may be
any smooth function of the size. What it may not do is take two values at one size: then some FLOPs were
counted otherwise, as a rule as multiply-adds.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from dit_jax.law.read import Column

FEWEST = 4  # runs to find two levels in
GAP = np.log(1.4)  # least distance of two levels; architectures differ by less at one size
CLEAR = 5.0  # that distance over the scatter about the levels; halves of one bell curve reach 2.7
SURE = 12.0  # the same, to say of every run which level it is on
SCATTER = 1e-3  # log units: less is rounding
CLOSE = np.log(1.1)  # of a ratio to 1, and of two levels to a factor of 2
EXACT = 0.02  # log units: both levels constant, which no architecture explains
WHOLE = np.log(1.05)  # of a ratio that all the runs share to 1/2, 1/3 or 1/6
CONVENTIONS = (2, 3, 6)  # multiply-adds; a forward pass alone; its multiply-adds

Runs = Float[np.ndarray, " runs"]
Mask = Bool[np.ndarray, " runs"]
ODD = 1.4  # times what a run of its size should take: digitised FLOPs are within 1.15
ODD_SCATTER = 6.0  # times the scatter of the others
LOOSE = 0.3  # log units of scatter: beyond it there is no curve
FEW = 0.1  # of the runs may be odd


@dataclasses.dataclass(frozen=True, eq=False)
class Counting:
    """How FLOPs were counted.

    Attributes:
      consistent: nothing speaks against the column.
      trusted: after `factor` all the runs are counted alike.
      factor: what the FLOPs of each run must be multiplied by.
      suspects: what is wrong, by the index of the run.
    """

    consistent: bool
    trusted: bool
    factor: Runs
    suspects: dict[int, str]


def counting(params: Column, tokens: Column, flops: Column, shape: Int[np.ndarray, " runs"]) -> Counting:
    """Looks for two ways of counting among the runs.

    Two levels a factor of 2 apart are FLOPs and multiply-adds, and the larger is the FLOPs, whatever the
    ratio: those of the lower level are doubled. Not so if the lower one is 6 N D itself. Then the upper may be
    6 N D counted twice or the lower multiply-adds of a model whose FLOPs are 12 N D, the table cannot say
    which, and nothing is mended. Nor is it for other factors. If all the runs lie at 1/2, 1/3 or 1/6 they
    agree, exponents stand and budgets are off by that factor: flagged only.

    Args:
      params, tokens, flops: of the runs, positive.
      shape: runs of different sequence shapes may differ in the ratio: a number for each shape.
    """
    log_params, log_ratio = np.log(params), np.log(flops / tokens / params / 6)
    factor, suspects, trusted = np.ones(len(params)), {}, True
    for one in np.unique(shape):
        runs = np.flatnonzero(shape == one)
        levels = two_levels(log_params[runs], log_ratio[runs])
        if levels is None:
            off, alike = odd_ones(log_params[runs], log_ratio[runs])
            few = np.abs(off) > 0
            trusted &= alike and few.mean() <= FEW
            factor[runs] *= np.exp(-off)
            suspects |= {
                int(
                    i
                ): f"{np.exp(log_ratio[i]):.3g} x 6 N D FLOPs, unlike the other runs: taken to be as theirs"
                for i in runs[few if alike else np.ones(len(runs), bool)]
            }
            continue
        wrong, mended, why = _verdict(log_ratio[runs], *levels)
        factor[runs[wrong]] *= mended
        trusted &= mended != 1
        suspects |= {int(i): f"{np.exp(log_ratio[i]):.3g} x 6 N D FLOPs: {why}" for i in runs[wrong]}
    odd = not suspects and len(params) > 0 and _shares_convention(log_ratio)
    return Counting(not (suspects or odd), bool(trusted), factor, suspects)


def _verdict(log_ratio: Runs, upper: Mask, distance: float, scatter: float) -> tuple[Mask, float, str]:
    """Which of two levels is wrong, what mends it (1 for nothing), and why."""
    low_is_one, high_is_one = (np.median(np.abs(log_ratio[level])) < CLOSE for level in (~upper, upper))
    if abs(distance - np.log(2)) < CLOSE and low_is_one:
        return upper, 1.0, "twice the other runs, which are at 6 N D"
    if abs(distance - np.log(2)) < CLOSE and distance > SURE * scatter:
        return ~upper, 2.0, "half the other runs, so multiply-adds; doubled"
    fewer = upper if upper.sum() <= len(upper) / 2 else ~upper
    wrong = {(True, False): upper, (False, True): ~upper}.get((low_is_one, high_is_one), fewer)
    return wrong, 1.0, f"a factor of {np.exp(distance):.3g} lies between these and the other runs"


def _shares_convention(log_ratio: Runs) -> bool:
    return any((np.abs(log_ratio + np.log(factor)) < WHOLE).all() for factor in CONVENTIONS)


def odd_ones(log_params: Runs, log_ratio: Runs) -> tuple[Runs, bool]:
    """Runs whose FLOPs lie far off a curve in size through the others: typing errors, overflows.

    Returns:
      How far off each of them is, log units, 0 for the others; and whether there is a curve at all.
    """
    if len(log_ratio) < FEWEST:
        return np.zeros(len(log_ratio)), True
    degree = int(np.clip(min(len(np.unique(np.round(log_params, 3))) - 2, len(log_ratio) // 4 - 1), 0, 2))
    powers = np.vander(log_params - log_params.mean(), degree + 1)
    weights = np.ones(len(log_ratio))
    for _ in range(50):  # towards least absolute deviations, which a few odd ones do not bend
        root = np.sqrt(weights)
        curve = np.linalg.lstsq(powers * root[:, None], log_ratio * root, rcond=None)[0]
        rest = log_ratio - powers @ curve
        weights = 1 / np.maximum(np.abs(rest), SCATTER)
    scatter = 1.4826 * float(np.median(np.abs(rest)))
    far = np.abs(rest) > max(np.log(ODD), ODD_SCATTER * scatter)
    return np.where(far, rest, 0.0), scatter < LOOSE


def two_levels(log_params: Runs, log_ratio: Runs) -> tuple[Mask, float, float] | None:
    """Looks for two levels about one smooth curve in size.

    Returns:
      The runs on the upper level, the distance of the levels and the scatter about them, log units; None if a
      curve alone will do.
    """
    if len(log_ratio) < FEWEST:
        return None
    sizes = len(np.unique(np.round(log_params, 3)))
    degree = int(np.clip(min(sizes - 2, len(log_ratio) // 4 - 1), 0, 2))
    powers = np.vander(log_params - log_params.mean(), degree + 1)
    found = [_settle(powers, log_ratio, start) for start in _starts(powers, log_ratio)]
    distance, scatter, upper = min(found, key=lambda one: one[1])
    if distance < max(GAP, CLEAR * scatter) or upper.all() or not upper.any():
        return None
    real = _mixes(log_params, log_ratio, upper, distance) or _is_step(log_params, log_ratio, upper)
    return (upper, distance, scatter) if real else None


def _starts(powers: Float[np.ndarray, "runs powers"], log_ratio: Runs) -> list[Mask]:
    """Guesses of the upper level: what lies above the widest gap, or the mean, of ever smoother curves."""
    starts = []
    for first in range(powers.shape[1]):
        rest = log_ratio - powers[:, first:] @ np.linalg.lstsq(powers[:, first:], log_ratio, rcond=None)[0]
        order = np.sort(rest)
        widest = int(np.argmax(np.diff(order)))
        starts += [rest > order[widest : widest + 2].mean(), rest > 0]
    return starts


def _settle(
    powers: Float[np.ndarray, "runs powers"], log_ratio: Runs, upper: Mask
) -> tuple[float, float, Mask]:
    """Distance of the levels, scatter about them, and the upper one, once curve and levels agree."""
    for _ in range(20):
        design = np.column_stack([powers, upper])
        *curve, distance = np.linalg.lstsq(design, log_ratio, rcond=None)[0]
        rest = log_ratio - powers @ curve
        settled, upper = upper, rest > distance / 2
        if (settled == upper).all():
            break
    dof = max(len(log_ratio) - design.shape[1], 1)
    scatter = np.sqrt(((rest - distance * upper) ** 2).sum() / dof)
    return float(distance), max(float(scatter), SCATTER), upper


def _mixes(log_params: Runs, log_ratio: Runs, upper: Mask, distance: float) -> bool:
    """Whether the ratio jumps both up and down as sizes grow: one steep curve would do one of them."""
    longer = log_params[upper][:, None] - log_params[~upper]
    jumps = log_ratio[upper][:, None] - log_ratio[~upper] > distance / 2
    return bool((jumps & (longer >= 0)).any() and (jumps & (longer <= 0)).any())


def _is_step(log_params: Runs, log_ratio: Runs, upper: Mask) -> bool:
    """Whether the ratio is constant on both sides of a step by a factor that conventions explain."""
    levels = [log_ratio[upper], log_ratio[~upper]]
    constant = all(np.ptp(level) < EXACT for level in levels)
    step = levels[0].mean() - levels[1].mean()
    sizes = max(len(np.unique(np.round(log_params[side], 3))) for side in (upper, ~upper))
    return bool(constant and sizes >= 3 and min(abs(step - np.log(CONVENTIONS))) < EXACT)
