# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The families of laws that can be fitted to all runs at once: a floor and one power term per column.

A law is a row of numbers, `theta`: E, the log of each term at the mean of its column, the exponents, and for
repeated data log R*, for a broken law the exponent after its break, where that is and how wide. A family may tie
the exponents or do without the floor; what it leaves free is `free`.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from dit_jax.law.table import Table

COEFFICIENTS = ("A", "B", "G")
EXPONENTS = ("alpha", "beta", "gamma")
BREAK = ("alpha_after", "flops_break", "width")
LARGEST = {
    "E": np.inf,
    "A": 60.0,
    "alpha": 3.0,
    "R_star": np.log(1e4),
    "flops_break": np.inf,
    "width": np.log(3),
}
SMALLEST = {
    "E": 0.0,
    "A": -60.0,
    "alpha": 1e-3,
    "R_star": np.log(1e-2),
    "flops_break": -np.inf,
    "width": np.log(0.1),
}


@dataclasses.dataclass(frozen=True)
class Form:
    """A family of laws.

    Attributes:
      name: what `--law` calls it.
      columns: of the table; each gives one term, coefficient over column to the exponent.
      tied: one exponent serves all terms.
      floor: whether there is an E.
      repeats: tokens seen again count for less, by one more number, R*.
      broken: the exponent of the one term changes at a break, see `dit_jax.law.surface.hinge`.
    """

    name: str
    columns: tuple[str, ...] = ("params", "tokens")
    tied: bool = False
    floor: bool = True
    repeats: bool = False
    broken: bool = False

    @property
    def of_compute(self) -> bool:
        """Whether it knows no size: a law of the best run of each budget."""
        return self.columns == ("flops",)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers in theta."""
        k = len(self.columns)
        more = ("R_star",) * self.repeats + BREAK * self.broken
        return ("E", *COEFFICIENTS[:k], *EXPONENTS[:k], *more)

    @property
    def tied_names(self) -> tuple[str, ...]:
        """The exponents that are alpha."""
        return EXPONENTS[1 : len(self.columns)] if self.tied else ()

    @property
    def free(self) -> tuple[str, ...]:
        """Of those that are fitted."""
        untied = self.names if self.floor else self.names[1:]
        return tuple(name for name in untied if name not in self.tied_names)

    @property
    def expand(self) -> Float[np.ndarray, "full free"]:
        """From the free numbers to theta."""
        source = {name: "alpha" if name in self.tied_names else name for name in self.names}
        return np.array([[float(source[name] == free) for free in self.free] for name in self.names])

    @property
    def bounds(self) -> Float[np.ndarray, "2 free"]:
        """Least and largest of the free numbers; wide enough for any table."""
        exponents = (*EXPONENTS, "alpha_after")
        kinds = ["A" if n in COEFFICIENTS else "alpha" if n in exponents else n for n in self.free]
        return np.array([[ends[kind] for kind in kinds] for ends in (SMALLEST, LARGEST)])

    def missing(self, table: Table) -> list[str]:
        """Columns that the form needs and the table lacks."""
        needed = (*self.columns, *(("unique_tokens",) if self.repeats else ()))
        return [name for name in needed if getattr(table, name) is None]


FORMS = {
    form.name: form
    for form in (
        # Hoffmann et al. 2022, arXiv 2203.15556, approach 3
        Form("additive"),
        # one exponent: what Gadre et al. 2024, arXiv 2403.08540, write as (a M^eta + b M^-eta) C^-eta with M = D/N
        Form("tied", tied=True),
        # a foil: without a floor a frontier is 3.6 to 4.4 % optimistic on published runs
        Form("no_E", floor=False),
        # Muennighoff et al. 2023, arXiv 2305.16264: repeated tokens are worth less and less
        Form("repeated", repeats=True),
        # space and time apart, for runs that vary resolution against duration
        Form("video", columns=("params", "spatial_tokens", "temporal_tokens")),
        # loss against compute alone, for a table of best runs
        Form("compute", columns=("flops",)),
        # the same with one break, Caballero et al. 2022, arXiv 2210.14891, equation 1 with n = 1: their a is E,
        # b is A, c0 is alpha, c1 is alpha_after - alpha, d1 is flops_break, f1 is width
        Form("broken", columns=("flops",), broken=True),
    )
}
