# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Other metrics of a run as monotone functions of its loss, and so of its compute.

Distances and other positive metrics are a power of the loss (as Peebles and Xie 2023, arXiv 2212.09748, plot
FID against compute), scores in [0, 1] a power of it in odds, which keeps them in their bounds wherever the
loss goes; a metric that is negative at times is linear in log loss.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy  # scipy.optimize, scipy.special and scipy.stats load when first used
from jaxtyping import Bool, Float, Int

from dit_jax.law.flags import interval95
from dit_jax.law.power import Interval
from dit_jax.law.table import Table

FEWEST = 4  # points
LACK_OF_FIT = 0.01  # chance that runs on the form would leave isotonic regression so much the better

Points = Float[np.ndarray, " points"]

# What each form is linear in, and the way back.
FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "log": (np.log, np.exp),
    "logit": (lambda y: scipy.special.logit(_off_the_ends(y)), lambda z: scipy.special.expit(z)),
    "linear": (np.asarray, np.asarray),
}


@dataclasses.dataclass(frozen=True, eq=False)
class MetricLaw:
    """`form(metric) = level + slope * (log loss - centre)`.

    Attributes:
      form: one of `FORMS`.
      flags: `metric_not_monotone_in_loss`: refused, nothing is predicted; `metric_form_misfit`: the metric is
        monotone in the loss, but not by this form.
      spearman: rank correlation with the loss, and its 95 % interval.
      correlation: Pearson's, of `form(metric)` with log loss.
      coefficients: level and slope.
      draws: of the level and slope and of the scatter of one run about them, `form` units.
      centre: mean log loss.
      floor: the rms scatter about the best monotone function, `form` units.
      scatter: the rms scatter about the form, likewise.
    """

    form: str
    flags: tuple[str, ...]
    spearman: tuple[float, Interval]
    correlation: float
    coefficients: Float[np.ndarray, " 2"]
    draws: Float[np.ndarray, "draws 3"]
    centre: float
    floor: float
    scatter: float

    @property
    def status(self) -> str:
        if "metric_not_monotone_in_loss" in self.flags:
            return "refused"
        return "ok_with_warning" if self.flags else "ok"

    def at(self, log_loss: Float[np.ndarray, " draws"], seed: int = 0) -> tuple[float, Interval] | None:
        """The metric of a run of a predicted loss, and the 95 % interval in which it will be measured.

        Args:
          log_loss: draws of the predicted log loss; its uncertainty goes into the interval.
          seed: of the scatter of one run.

        Returns:
          The value at the median loss and the interval; None where the law is refused.
        """
        if self.status == "refused":
            return None
        _, back = FORMS[self.form]
        x = np.resize(log_loss, max(len(log_loss), len(self.draws))) - self.centre
        rng = np.random.default_rng(seed)
        level, slope, scatter = rng.permutation(np.resize(self.draws, (len(x), 3))).T
        low, high = interval95(back(level + slope * x + scatter * rng.standard_normal(len(x))))
        value = back(self.coefficients @ [1.0, np.median(log_loss) - self.centre])
        return float(value), (float(low), float(high))

    def summary(self) -> dict[str, object]:
        """Numbers and text for `law.json`."""
        fitted = self.status != "refused"
        slopes = interval95(self.draws[:, 1]).tolist() if fitted else None
        return {
            "status": self.status,
            "flags": list(self.flags),
            "form": self.form,
            "spearman": self.spearman[0],
            "spearman_ci95": list(self.spearman[1]),
            "exponent": float(self.coefficients[1]) if fitted else None,
            "exponent_ci95": slopes,
        }


def fit_metrics(table: Table, draws: int = 400, seed: int = 0) -> dict[str, MetricLaw]:
    """A law for each metric of the table; checkpoints of one training run are a cluster.

    Give it the runs as they were measured, those with poor hyperparameters too: they widen the range of
    losses.
    """
    return {
        name: fit_metric(table.loss, values, table.cluster, draws=draws, seed=seed)
        for name, values in table.metrics.items()
    }


def fit_metric(
    loss: Points,
    metric: Points,
    cluster: Int[np.ndarray, " points"] | None = None,
    *,
    form: str | None = None,
    draws: int = 400,
    seed: int = 0,
) -> MetricLaw:
    """Finds how a metric follows the loss, in which direction, and whether it does at all.

    The bootstrap is wild and by cluster (Cameron, Gelbach and Miller 2008): losses stay, residuals of a
    cluster turn together.

    Args:
      loss: positive, of each run.
      metric: of each run; runs where it is not finite are left out.
      cluster: runs whose errors go together share a number; None takes each for itself.
      form: one of `FORMS`; None takes `logit` for metrics in [0, 1], `log` for other positive ones, else
        `linear`.
      draws: of the bootstrap.
      seed: of the draws.

    Raises:
      ValueError: there is no such form, or a value outside it.
    """
    known = np.isfinite(metric)
    loss, metric = np.asarray(loss, float)[known], np.asarray(metric, float)[known]
    cluster = np.arange(len(loss)) if cluster is None else np.unique(cluster[known], return_inverse=True)[1]
    form = form or _form(metric)
    _check(form, metric)
    spearman = _spearman(_means(np.log(loss), cluster), _means(metric, cluster))
    low, high = spearman[1]
    if not (low > 0 or high < 0):
        nan = float("nan")
        flags, nothing = ("metric_not_monotone_in_loss",), np.full(2, nan)
        return MetricLaw(form, flags, spearman, nan, nothing, np.empty((0, 3)), nan, nan, nan)
    return _fitted(form, np.log(loss), FORMS[form][0](metric), cluster, spearman, draws, seed)


def _fitted(form, log_loss: Points, z: Points, cluster, spearman, draws: int, seed: int) -> MetricLaw:
    rng = np.random.default_rng(seed)
    centre = log_loss.mean()
    design = np.stack([np.ones_like(z), log_loss - centre], 1)
    project = np.linalg.pinv(design)
    leverage = np.einsum("pi,ip->p", design, project)
    coefficients = project @ z
    residual = z - design @ coefficients
    clusters = cluster.max() + 1
    turn = rng.standard_normal((draws, clusters))[:, cluster]
    shaken = coefficients + (turn * residual / np.sqrt(np.maximum(1 - leverage, 0.1))) @ project.T
    widen = np.sqrt((clusters - 2) / rng.chisquare(clusters - 2, draws))[:, None]
    scatter = np.sqrt((residual**2).sum() / (len(z) - 2))
    cloud = np.column_stack([coefficients + widen * (shaken - coefficients), widen * scatter])
    misfit, floor = _misfit(design @ coefficients, z, design @ project, scatter, rng, draws)
    flags = ("metric_form_misfit",) if misfit < LACK_OF_FIT else ()
    correlation = float(np.corrcoef(log_loss, z)[0, 1])
    return MetricLaw(
        form, flags, spearman, correlation, coefficients, cloud, float(centre), floor, float(scatter)
    )


def _misfit(
    fitted: Points, z: Points, hat: Float[np.ndarray, "points points"], scatter: float, rng, draws: int
) -> tuple[float, float]:
    """How often runs that are on the form would leave isotonic regression as much better than it.

    Returns:
      That chance, and the rms scatter about the isotonic fit.
    """
    order = np.argsort(fitted, kind="stable")
    simulated = fitted + scatter * rng.standard_normal((draws, len(z)))
    both = np.concatenate([z[None], simulated])
    isotonic = np.array([((one - _isotonic(one, order)) ** 2).sum() for one in both])
    ratio = isotonic / np.maximum(((both - both @ hat) ** 2).sum(1), 1e-300)
    exact = scatter <= 1e-9 * np.ptp(fitted)
    chance = 1.0 if exact else float(np.mean(ratio[1:] <= ratio[0]))
    return chance, float(np.sqrt(isotonic[0] / len(z)))


def _isotonic(z: Points, order: Int[np.ndarray, " points"]) -> Points:
    rising = np.empty_like(z)
    rising[order] = scipy.optimize.isotonic_regression(z[order]).x
    return rising


def _spearman(loss: Points, metric: Points) -> tuple[float, Interval]:
    """The rank correlation and its 95 % interval by Fisher's z (Bonett and Wright 2000).

    The correlation is kept below 1, so that few points in order by chance are no proof.
    """
    n = len(loss)
    if n < FEWEST or not np.ptp(loss) or not np.ptp(metric):
        return 0.0, (-1.0, 1.0)
    rho = float(scipy.stats.spearmanr(loss, metric).statistic)
    z = np.arctanh(np.clip(rho, -1 + n**-2.0, 1 - n**-2.0))
    reach = 1.96 * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return rho, (float(np.tanh(z - reach)), float(np.tanh(z + reach)))


def _means(values: Points, cluster: Int[np.ndarray, " points"]) -> Float[np.ndarray, " clusters"]:
    return np.bincount(cluster, values) / np.bincount(cluster)


def _form(metric: Points) -> str:
    if _in_unit(metric).all():
        return "logit"
    return "log" if (metric > 0).all() else "linear"


def _check(form: str, metric: Points) -> None:
    if form not in FORMS:
        raise ValueError(f"form={form!r} is not one of {', '.join(FORMS)}")
    outside = {"log": metric <= 0, "logit": ~_in_unit(metric)}.get(form)
    if outside is not None and outside.any():
        raise ValueError(f"form={form!r} cannot hold a metric of {metric[outside][0]:g}: use 'linear'")


def _in_unit(metric: Points) -> Bool[np.ndarray, " points"]:
    return (metric >= 0) & (metric <= 1)


def _off_the_ends(score: Points) -> Points:
    """Scores of 0 or 1 moved half way to the nearest that is neither, as counts are."""
    room = np.minimum(score, 1 - score)
    least = room[room > 0].min(initial=0.5) / 2
    return np.clip(score, least, 1 - least)
