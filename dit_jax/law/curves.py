# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The best loss at each budget, and the forms it may follow beyond the last one.

Three forms, none of which is right for every ladder: a power law that trusts the latest budgets most, a
power law bent by as much curvature as the data insist on, and a power law that saturates at E.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

LogFlops = Float[np.ndarray, " budgets"]
LogLoss = Float[np.ndarray, "draws budgets"]
Targets = Float[np.ndarray, " targets"]  # log FLOPs
Predicted = Float[np.ndarray, "draws targets"]

HALF_LIFE = np.log(10) / 2  # log FLOPs over which a budget's say in the local slope halves
BEND = 0.25  # prior sd of the slope's change over the fitted span, relative to the slope
EXPONENTS = (0.005, 1.0)  # where a saturating law's exponent is sought


def local_power(x: LogFlops, y: LogLoss, targets: Targets) -> Predicted:
    """A straight line in log-log, the latest budgets weighing most."""
    return _line(x, y, targets, 2.0 ** ((x - x[-1]) / HALF_LIFE))[0]


def bent_power(x: LogFlops, y: LogLoss, targets: Targets) -> Predicted:
    """A parabola in log-log whose curvature is shrunk towards none; it flattens rather than turn upwards."""
    line, slope = _line(x, y, targets, np.ones_like(x))
    if len(x) < 3:
        return line
    centred = x - x.mean()
    basis = np.stack([np.ones_like(x), centred], 1)
    linear_part = np.linalg.lstsq(basis, centred**2, rcond=None)[0]
    bump = centred**2 - basis @ linear_part  # what a square adds to a line
    curvature = y @ bump / (bump @ bump)
    residual = y - _line(x, y, x, np.ones_like(x))[0] - curvature[:, None] * bump
    variance = (residual**2).sum(1) / max(len(x) - 3, 1) + 1e-6
    prior = (BEND * slope / np.ptp(x)) ** 2
    curvature = (curvature * prior / (prior + variance / (bump @ bump) + 1e-300))[:, None]
    level, tilt = y.mean(1)[:, None] - curvature * linear_part[0], slope[:, None] - curvature * linear_part[1]
    bottom = np.where(curvature > 0, -tilt / (2 * np.maximum(curvature, 1e-300)), np.inf)
    beyond = np.minimum(targets - x.mean(), np.maximum(bottom, centred[-1]))
    return level + tilt * beyond + curvature * beyond**2


def saturating_power(x: LogFlops, y: LogLoss, targets: Targets) -> Predicted:
    """E + k C^-g; with two budgets a straight line, which they cannot tell from it."""
    if len(x) < 3:
        return local_power(x, y, targets)
    floor, scale, exponent = fit_saturating(x, y)
    decay = np.exp(-exponent[:, None] * (targets - x.mean()))
    return np.log(floor[:, None] + scale[:, None] * decay)


CURVES: dict[str, Callable[[LogFlops, LogLoss, Targets], Predicted]] = {
    "local_power": local_power,
    "bent_power": bent_power,
    "saturating_power": saturating_power,
}


def fit_saturating(x: LogFlops, y: LogLoss) -> tuple[Float[np.ndarray, " draws"], ...]:
    """Least relative squares of L = E + k exp(-g (x - mean x)), E and k not negative, for every draw.

    For a given g the rest is linear (variable projection); g is found on a grid that is refined about
    its best point.

    Returns:
      E, k and g of each draw.
    """
    grid = np.broadcast_to(np.geomspace(*EXPONENTS, 40), (len(y), 40))
    step = np.log(EXPONENTS[1] / EXPONENTS[0]) / 39
    every = np.arange(len(y))
    for _ in range(7):
        cost, floor, scale = _profile(x - x.mean(), y, grid)
        best = cost.argmin(1)
        found = floor[every, best], scale[every, best], grid[every, best]
        grid = found[2][:, None] * np.exp(np.linspace(-step, step, 11))
        step /= 5
    return found


def _profile(
    x: LogFlops, y: LogLoss, exponent: Float[np.ndarray, "draws grid"]
) -> tuple[Float[np.ndarray, "draws grid"], ...]:
    """The best E and k for each exponent, and their relative squared error."""
    weight = np.exp(-y)[:, None, :]
    decay = np.exp(-exponent[..., None] * x) * weight
    one = np.broadcast_to(weight, decay.shape)
    aa, ab, bb = (one * one).sum(-1), (one * decay).sum(-1), (decay * decay).sum(-1)
    a, b = one.sum(-1), decay.sum(-1)
    det = np.maximum(aa * bb - ab**2, 1e-300)
    floor, scale = (bb * a - ab * b) / det, (aa * b - ab * a) / det
    floor, scale = np.where(floor < 0, 0, floor), np.where(floor < 0, b / bb, scale)
    floor, scale = np.where(scale < 0, a / aa, floor), np.where(scale < 0, 0, scale)
    return ((floor[..., None] * one + scale[..., None] * decay - 1) ** 2).sum(-1), floor, scale


def _line(
    x: LogFlops, y: LogLoss, targets: Targets, weight: LogFlops
) -> tuple[Predicted, Float[np.ndarray, " draws"]]:
    weight = weight / weight.sum()
    centre, mean = weight @ x, y @ weight
    slope = (y * weight) @ (x - centre) / (weight @ (x - centre) ** 2)
    return mean[:, None] + slope[:, None] * (targets - centre), slope
