# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What can be said against a fit, and how bad each is."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

# Worth knowing, and the fit stands as it is.
NOTES = frozenset(
    {
        "replicates_used_for_noise",
        "a2_off_centre",
        "a2_biased",
        "delta_not_scale_free",
        "hyperparameters_not_tuned",
    }
)
# Nothing can be fitted; every other flag is a warning, and a method refuses for its own reasons.
REFUSALS = frozenset({"nonpositive_loss", "no_variation"})

# What each says, in a line that a person can act on.
MEANINGS = {
    "nonfinite_rows_dropped": "some rows had no usable number and were left out; rows.dropped lists them",
    "nonpositive_loss": "a loss is not positive, so there is no log of it to fit; shift or transform the metric",
    "no_variation": "all losses are equal; there is nothing to fit",
    "fewer_points_than_parameters": "fewer distinct (params, tokens) than a law has numbers; make more runs",
    "too_few_budgets": "a broken law needs the best runs of 8 budgets; make more, on both sides of the break",
    "break_not_identified": "the runs show no break beyond their noise; read --law=compute or the frontier",
    "duplicates_merged": "exact repeats of a row were merged; was a file concatenated twice?",
    "replicates_used_for_noise": "runs that differ in their seed alone set the noise",
    "diverged_outlier": "runs far above the surface, or marked diverged, were left out",
    "low_outlier": "runs far below all their neighbours were left out; a typing error? rows.dropped names them",
    "suspected_unfinished": "runs a few per cent above the surface; look at them in rows.suspect",
    "flops_inconsistent_with_6ND": "FLOPs were counted in more than one way, such as multiply-adds beside FLOPs",
    "schedule_horizon_mismatch": "some runs were read off before their schedule ended; such losses are too high",
    "epochs_gt_1_needs_repeat_law": "tokens were seen more than once and are worth less; compare --law=repeated",
    "nonmonotone_in_D": "at one size the loss rises with more tokens, beyond the noise; unstable or overfitted",
    "N_D_collinear": "size and tokens grow together in all runs, so their effects cannot be told apart",
    "singular_information": "the runs do not determine the exponents; add budgets or widen the grid",
    "one_budget": "one budget says nothing of how the optimum moves; add a second and a third",
    "short_compute_span": "budgets span less than about a decade; exponents from so little do not extrapolate",
    "E_weakly_identified": "the floor E is hardly known: do not read it, and extrapolate with care",
    "wide_interval": "an exponent's 95 % interval is wider than 0.2; more budgets or seeds would narrow it",
    "a2_too_few_points": "a budget has fewer than 4 sizes, too few for an isoFLOP curve",
    "a2_optimum_outside_grid": "a budget's best size lies outside its grid and was not used; extend the grid",
    "a2_zero_dof": "two budgets fix a line exactly: its exponent has no check; add a third",
    "a2_vertex_uncertain": "the noise leaves a budget's best size open; add seeds or widen the grid",
    "a2_biased": "the loss is asymmetric about its optimum, where parabolas are biased; corrected ones are given",
    "a2_off_centre": "grids are not centred on their optimum; centre the next ones",
    "delta_not_scale_free": "the usual Huber delta would be least squares or L1 here; the noise sets it instead",
    "residual_trend_in_C": "residuals follow compute: the form does not fit, and will miss beyond the data",
    "holdout_failed": "fitted below a cut, the law misses the runs above it by more than its interval",
    "methods_disagree": "surface and isoFLOP curves give exponents whose intervals lie apart: look at both",
    "not_converged": "the fit could not be proved to be the optimum; do not use its numbers",
    "hyperparameters_at_edge": "the best lr or batch lies at the edge of what was tried; widen the grid",
    "hyperparameters_not_tuned": "lr and batch were set by a rule: the runs tell what was used, not what is best",
}


def status(flags: Iterable[str], refused: bool = False) -> str:
    """`refused`, `ok_with_warning` or `ok`, the worst that the flags ask for."""
    flags = set(flags)
    if refused or flags & REFUSALS:
        return "refused"
    return "ok_with_warning" if flags - NOTES else "ok"


def is_short(flops: Float[np.ndarray, " runs"]) -> bool:
    """Whether budgets span less than about a decade: `short_compute_span`."""
    return bool(np.ptp(np.log10(flops)) < 0.95)


def is_weak(value: float, ci95: Sequence[float] | Float[np.ndarray, " 2"]) -> bool:
    """Whether the interval of E is wide against E or reaches 0: `E_weakly_identified`."""
    low, high = ci95
    return bool(high - low > 0.3 * value or low < 0.01 * value)


def is_wide(draws: Float[np.ndarray, "draws ..."]) -> bool:
    """Whether the interval of an exponent says little: `wide_interval`."""
    return bool((np.ptp(interval95(draws), axis=0) > 0.2).any())


def interval95(draws: Float[np.ndarray, "draws ..."]) -> Float[np.ndarray, "2 ..."]:
    """The central 95 % of bootstrap draws, ignoring draws that are not finite."""
    return np.nanquantile(draws, [0.025, 0.975], axis=0)
