# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to show: a law, its document, and the runs by what became of them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dit_jax.law.flags import NOTES
from dit_jax.law.predict import Law
from dit_jax.law.slices import Slice
from dit_jax.law.table import Table

NAMES = {
    "additive": r"$E + A/N^\alpha + B/D^\beta$",
    "tied": r"one exponent, $\alpha = \beta$",
    "no_E": r"$A/N^\alpha + B/D^\beta$, no $E$",
    "repeated": r"$E + A/N^\alpha + B/D'^\beta$, repeats worth less",
    "video": r"$E + A/N^\alpha + B/S^\beta + G/T^\gamma$",
    "compute": r"$E + A/C^\alpha$",
    "broken": r"$E + A/C^\alpha$ with a break",
    "frontier": "frontier of the budgets",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A law with its document, and runs of the same source that may not have been fitted."""

    law: Law
    document: Mapping[str, Any]
    others: Table | None = None

    @property
    def runs(self) -> Table:
        """Those that were fitted."""
        return self.law.table

    @functools.cached_property
    def left_out(self) -> Table:
        """Runs that the fit threw away."""
        rows = [one["row"] for one in self.document["rows"]["dropped"]]
        return self._others(lambda table: np.isin(table.row, rows))

    @functools.cached_property
    def untuned(self) -> Table:
        """Runs at an lr or batch that is not the best of their size and tokens."""
        return self._others(self._tuned_elsewhere)

    @functools.cached_property
    def unseen(self) -> Table:
        """Runs that were held out."""
        known = {*self.left_out.row.tolist(), *self.untuned.row.tolist()}
        return self._others(lambda table: ~np.isin(table.row, list(known)))

    def at(self, params: float, tokens: float) -> Table:
        """Every run of one size and number of tokens, as it was measured."""
        source = self.runs if self.others is None else self.others
        return source.select(_near(source, params, tokens))

    @property
    def budgets(self) -> list[Slice]:
        """Budgets of several sizes."""
        return [one for one in self.law.isoflop.vertices if one.num_sizes > 2]

    @property
    def reach(self) -> Float[np.ndarray, " points"]:
        """Log FLOPs from the first run to the last budget asked about."""
        ahead = [one["flops"] for one in self.document["predictions"]]
        ahead += [self.document["heldout"]["flops"]] if self.document["heldout"] else []
        last = max([self.runs.flops.max(), *self.unseen.flops, *ahead])
        return np.linspace(np.log(self.runs.flops.min()), np.log(last), 60)

    def title(self, finding: str) -> str:
        refused = self.document["status"] == "refused"
        return f"{finding} (no law could be fitted)" if refused else finding

    def _others(self, keep: Callable[[Table], Bool[np.ndarray, " runs"]]) -> Table:
        if self.others is None:
            return self.runs.select(np.zeros(len(self.runs), bool))
        fitted = {*zip(self.runs.row, self.runs.params, self.runs.tokens)}
        theirs = zip(self.others.row, self.others.params, self.others.tokens)
        rest = self.others.select(np.array([one not in fitted for one in theirs], bool))
        return rest.select(keep(rest))

    def _tuned_elsewhere(self, table: Table) -> Bool[np.ndarray, " runs"]:
        found = [_near(table, one.params, one.tokens) for one in self.law.settings]
        return np.any([np.zeros(len(table), bool), *found], axis=0)


def flagged(one: Slice) -> bool:
    """Whether a budget's best size is to be doubted."""
    return bool(set(one.flags) - NOTES)


def _near(table: Table, params: float, tokens: float) -> Bool[np.ndarray, " runs"]:
    return np.isclose(table.params, params, rtol=1e-9) & np.isclose(table.tokens, tokens, rtol=1e-9)
