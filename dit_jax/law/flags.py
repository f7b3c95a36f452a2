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


def interval95(draws: Float[np.ndarray, "draws ..."]) -> Float[np.ndarray, "2 ..."]:
    """The central 95 % of bootstrap draws, ignoring draws that are not finite."""
    return np.nanquantile(draws, [0.025, 0.975], axis=0)
