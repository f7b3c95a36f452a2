# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What can be said against a fit, and how bad each is."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

# Worth knowing, and the fit stands as it is.
NOTES = frozenset({"replicates_used_for_noise", "a2_off_centre"})
# Nothing can be fitted; every other flag is a warning, and a method refuses for its own reasons.
REFUSALS = frozenset({"nonpositive_loss", "no_variation"})


def status(flags: Iterable[str], refused: bool = False) -> str:
    """`refused`, `ok_with_warning` or `ok`, the worst that the flags ask for."""
    flags = set(flags)
    if refused or flags & REFUSALS:
        return "refused"
    return "ok_with_warning" if flags - NOTES else "ok"


def is_short(flops: Float[np.ndarray, " runs"]) -> bool:
    """Whether budgets span less than about a decade: `short_compute_span`."""
    return bool(np.ptp(np.log10(flops)) < 0.95)


def is_weak(value: float, draws: Float[np.ndarray, " draws"]) -> bool:
    """Whether the interval of E is wide against E or reaches 0: `E_weakly_identified`."""
    low, high = interval95(draws)
    return bool(high - low > 0.3 * value or low < 0.01 * value)


def is_wide(draws: Float[np.ndarray, "draws ..."]) -> bool:
    """Whether the interval of an exponent says little: `wide_interval`."""
    return bool((np.ptp(interval95(draws), axis=0) > 0.2).any())


def interval95(draws: Float[np.ndarray, "draws ..."]) -> Float[np.ndarray, "2 ..."]:
    """The central 95 % of bootstrap draws, ignoring draws that are not finite."""
    return np.nanquantile(draws, [0.025, 0.975], axis=0)
