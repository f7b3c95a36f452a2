# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How the compute-optimal size grows: N_opt ~ C^a and D_opt ~ C^b through the isoFLOP vertices."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy
from jaxtyping import Float

from dit_jax.law.flags import interval95, is_wide, status
from dit_jax.law.slices import Slice

BY_CHANCE = 0.1  # vertices whose misses noise makes so often show no scatter of their own


@dataclasses.dataclass(frozen=True, eq=False)
class Isoflop:
    """A power law for the best size and one for its tokens, in logs about `centre` (log FLOPs).

    `lines` holds intercept and slope, `draws` the same for each bootstrap draw; the last axis is
    (params, tokens). None where refused.
    """

    status: str
    flags: tuple[str, ...]
    vertices: tuple[Slice, ...]
    centre: float = 0.0
    lines: Float[np.ndarray, "2 2"] | None = None
    draws: Float[np.ndarray, "draws 2 2"] | None = None

    def at(self, flops: float) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "draws 2"]]:
        """Log params and log tokens at a budget, and their draws."""
        x = np.array([1.0, np.log(flops) - self.centre])
        return x @ self.lines, np.einsum("i,dij->dj", x, self.draws)

    def summary(self) -> dict[str, object]:
        """This method's part of `law.json`."""
        known = self.lines is not None
        ends = interval95(self.draws[:, 1]).T.tolist() if known else (None, None)
        return {
            "status": self.status,
            "flags": list(self.flags),
            "exponents": dict(zip("ab", self.lines[1].tolist())) if known else None,
            "exponents_ci95": dict(zip("ab", ends)) if known else None,
            "vertices": [_entry(vertex) for vertex in self.vertices],
        }


def fit_isoflop(slices: Sequence[Slice], seed: int = 0, alike: bool = False) -> Isoflop:
    """Lines through the log vertices of the budgets with at least four sizes and a minimum inside the grid.

    They weigh by the inverse of their variance. The interval of an exponent holds the noise of the vertices
    and their scatter about the line.

    Args:
      slices: of `dit_jax.law.slices`, budgets upwards.
      seed: of the draws of the scatter.
      alike: every vertex weighs the same, however sure, as in Hoffmann et al. 2022.
    """
    found = dict.fromkeys(flag for one in slices for flag in one.flags)
    usable = [one for one in slices if one.parabola is not None and "a2_too_few_points" not in one.flags]
    if len(usable) < 2:
        flags = (*found, "one_budget") if len(slices) == 1 else tuple(found)
        return Isoflop("refused", flags, tuple(slices))
    log_flops = np.log([one.flops for one in usable])
    centre = float(log_flops.mean())
    design = np.vander(log_flops - centre, 2, increasing=True)
    points = np.stack([one.vertex[:2] for one in usable])
    clouds = np.stack([one.draws[:, :2] for one in usable], 1)
    sd = np.array([one.sd for one in usable])
    sd = np.maximum(sd, np.median(sd))  # a vertex surer than most may owe it to luck: noise makes bends too
    scatter = _scatter(design, points[:, 0], sd)
    project = weighted_line(design, np.ones_like(sd) if alike else 1 / (sd**2 + scatter))
    shift = np.sqrt(scatter) * np.random.default_rng(seed).standard_normal(clouds.shape[:2])
    clouds = clouds + shift[..., None] * [1, -1]  # at a budget, what params gain tokens lose
    draws = np.einsum("ib,dbj->dij", project, clouds)
    found |= _exponent_flags(len(usable), draws)
    return Isoflop(status(found), tuple(found), tuple(slices), centre, project @ points, draws)


def weighted_line(
    design: Float[np.ndarray, "budgets 2"], weights: Float[np.ndarray, " budgets"]
) -> Float[np.ndarray, "2 budgets"]:
    """From values at the budgets to intercept and slope, by weighted least squares."""
    root = np.sqrt(weights / weights.max())
    return np.linalg.pinv(design * root[:, None]) * root


def _scatter(
    design: Float[np.ndarray, "budgets 2"],
    log_params: Float[np.ndarray, " budgets"],
    sd: Float[np.ndarray, " budgets"],
) -> float:
    """Variance of vertices about their line that, with that of each, explains what they miss it by.

    After Paule and Mandel 1982; none where the noise of the vertices makes such misses once in ten sweeps.
    """
    dof = len(design) - 2

    def surplus(scatter: float, usual: float = dof) -> float:
        weights = 1 / (sd**2 + scatter)
        miss = log_params - design @ (weighted_line(design, weights) @ log_params)
        return float(weights @ miss**2 - usual)

    least, most = 1e-18, float(np.ptp(log_params) ** 2) + 1.0
    if dof < 1 or surplus(least, scipy.special.chdtri(dof, BY_CHANCE)) <= 0:
        return least
    return scipy.optimize.brentq(surplus, least, most)


def _exponent_flags(num_budgets: int, draws: Float[np.ndarray, "draws 2 2"]) -> dict[str, None]:
    found = {"a2_zero_dof": num_budgets == 2, "wide_interval": is_wide(draws[:, 1])}
    return dict.fromkeys(flag for flag, seen in found.items() if seen)


def _entry(one: Slice) -> dict[str, object]:
    params, tokens, loss = np.exp(one.vertex).tolist()
    return {"flops": one.flops, "params": params, "tokens": tokens, "loss": loss, "flags": list(one.flags)}
