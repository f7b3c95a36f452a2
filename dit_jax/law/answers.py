# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a law says of questions other than a budget's best run.

How a given size fares, which size is cheapest once its use is paid for too, and what other metrics become.
Sizes come from a surface; the loss of a budget's best run is the one in `predictions`, and a surface adds what
another size costs.
"""

from collections.abc import Sequence

import numpy as np
import scipy  # scipy.special loads when first used
from jaxtyping import Float

from dit_jax.law.extrapolate import Prediction, Spread
from dit_jax.law.flags import interval95
from dit_jax.law.metrics import fit_metrics
from dit_jax.law.parametric import Parametric
from dit_jax.law.predict import Law
from dit_jax.law.surface import REACH, Surface
from dit_jax.law.table import Table

FORWARD = 1 / 3  # of the training FLOPs of a token: backward is twice forward
MOST_TOKENS = 120.0  # log tokens: none beyond
HALVINGS = {"tokens": 45, "params": 30}  # of a bracket: the cost is flat about its least, and needs fewer
NUDGE = 1e-3  # log params, for the slope of a cost
QUANTILES = 400  # of a predicted loss

Places = Float[np.ndarray, "laws points"]


def metrics_json(law: Law, target_flops: Sequence[float], measured: Table | None = None) -> dict[str, object]:
    """Laws of the other metrics, and what they become at each budget.

    Args:
      law: predicts the losses.
      target_flops: budgets to predict.
      measured: the runs as they were measured, with those that a law of the best leaves out; None takes the
        runs of the law.
    """
    fitted = fit_metrics(law.table if measured is None else measured)
    losses = [_log_losses(law, flops) for flops in target_flops] if law.extrapolation is not None else []
    return {
        name: one.summary() | {"predictions": [_metric(one.at(x), c) for x, c in zip(losses, target_flops)]}
        for name, one in fitted.items()
    }


def _log_losses(law: Law, flops: float) -> Float[np.ndarray, " draws"]:
    """Evenly spaced quantiles of the predicted log loss, its median the prediction."""
    at = law.extrapolation.predict(np.log([flops]))
    normal = scipy.special.ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
    return at.mean[0] + at.half_width(of_a_run=False)[0] / 1.96 * normal


def _metric(found: tuple[float, tuple[float, float]] | None, flops: float) -> dict[str, object]:
    value, ends = (None, None) if found is None else found
    return {"flops": float(flops), "value": value, "ci95": ends and list(ends)}


def sized_surface(law: Law) -> tuple[Parametric | None, str | None]:
    """The surface that knows sizes and predicted best of those tried, or why there is none."""
    if law.extrapolation is None:
        return None, "the law is refused"
    weights = law.extrapolation.weights
    surfaces = {"parametric": law.parametric, **law.rivals}
    sized = [name for name, one in surfaces.items() if name in weights and "params" in one.form.columns]
    used = sorted(sized, key=lambda name: -weights[name])
    one = surfaces[[*used, "parametric"][0]]
    if one.best is None or "not_converged" in one.flags:
        return None, f"no surface could be fitted: {', '.join(one.flags)}"
    if "params" not in one.form.columns:
        return None, f"the law {one.form.name!r} knows no sizes"
    return one, None


def fixed_size(law: Law, params: Sequence[float], target_flops: Sequence[float]) -> list[dict[str, object]]:
    """How far to train models of given sizes, and what it costs that they are not the best ones.

    A small model trained past its optimum is cheap to use (Gadre et al. 2024, arXiv 2403.08540).

    Args:
      law: a fitted law.
      params: sizes.
      target_flops: budgets to spend on each.

    Returns:
      One entry a size: `params`, `law` (the form), `status` and `flags` of its fit, `reason` where there is no
      answer; `budgets`, each with `flops`, `tokens`, `tokens_per_param`, `times_optimal` (that over the best
      size's), `loss`, `loss_ci95` (of the law), `loss_pi95` (of a run), `penalty` (loss above the best size's),
      `flops_if_optimal` (at which a best size has the same loss), `overhead` (flops over that), both ratios and
      the penalty with `_ci95`, and `extrapolates` (tokens per parameter that no run had); and `stop`, see
      `_stop`.

    Raises:
      ValueError: a size or budget is not a positive number.
    """
    _check("params", params)
    _check("target_flops", target_flops)
    surface, reason = sized_surface(law)
    return [
        _head(surface, reason)
        | {
            "params": float(size),
            "budgets": [_fixed(law, surface, size, c) for c in target_flops] if surface else None,
            "stop": _stop(law, surface, size) if surface else None,
        }
        for size in params
    ]


def _fixed(law: Law, surface: Parametric, params: float, flops: float) -> dict[str, object]:
    n, c = np.log(params), np.log(flops)
    d = float(_log_tokens(surface.best, c, n))
    bests = [(laws, *laws.optimum(flops)) for laws in (surface.best, surface.draws)]
    place = np.array([n]), np.array([d])
    here = [np.log(laws.loss(*place))[:, 0] for laws, _, _ in bests]
    above = [loss - best for loss, (_, _, best) in zip(here, bests)]
    optimal = [
        cheapest(laws, loss[:, None], 0.0)[2][:, 0] for (laws, _, _), loss in zip(bests, here)
    ]  # log FLOPs
    ratio = [d - n - (size[:, 1] - size[:, 0]) for _, size, _ in bests]
    at = _moved(
        law.extrapolation.predict(np.array([c])), above[0][0], _variance(here[1]) - _variance(bests[1][2])
    )
    best_loss = np.exp(at.mean[0] - above[0][0])
    return {
        "flops": float(flops),
        "tokens": float(np.exp(d)),
        "tokens_per_param": float(np.exp(d - n)),
        **_with_interval("times_optimal", np.exp(ratio[0]), np.exp(ratio[1])),
        "loss": float(np.exp(at.mean[0])),
        "loss_ci95": np.exp(at.interval95(of_a_run=False)[:, 0]).tolist(),
        "loss_pi95": np.exp(at.interval95()[:, 0]).tolist(),
        **_with_interval("penalty", best_loss * np.expm1(above[0]), best_loss * np.expm1(above[1])),
        "flops_if_optimal": float(np.exp(optimal[0][0])),
        **_with_interval("overhead", np.exp(c - optimal[0]), np.exp(c - optimal[1])),
        "extrapolates": _extrapolates(law.table, d - n),
    }


def _variance(draws: Float[np.ndarray, " draws"]) -> float:
    return float(Spread.of(draws[:1], draws[:, None]).variance[0])


def _moved(at: Prediction, above: float, more: float) -> Prediction:
    """The prediction for a budget's best run, moved to another size, with the variance that this adds."""
    sd = np.sqrt(at.sd**2 + max(more, 0.0))
    return Prediction(at.mean + above, sd, at.noise, at.discrepancy, at.dof)


def _stop(law: Law, surface: Parametric, params: float) -> dict[str, object] | None:
    """Where twice the tokens gain less than the noise of one seed; None where noise is not known.

    Returns:
      `tokens` with `tokens_ci95`, `tokens_per_param`, `flops`, and `extrapolates`.
    """
    if not law.noise.seed > 0:
        return None
    n = np.log(params)
    d = [_where_doubling_is_noise(laws, n, law.noise.seed) for laws in (surface.best, surface.draws)]
    return {
        **_with_interval("tokens", np.exp(d[0]), np.exp(d[1])),
        "tokens_per_param": float(np.exp(d[0][0] - n)),
        "flops": float(np.exp(_log_flops(surface.best, n, d[0][0]))),
        "extrapolates": _extrapolates(law.table, d[0][0] - n),
    }


def _where_doubling_is_noise(laws: Surface, n: float, noise: float) -> Float[np.ndarray, " laws"]:
    def still_gains(d: Places) -> np.ndarray:
        return np.log(laws.loss(n, d) / laws.loss(n, d + np.log(2))) > noise

    zero = np.zeros((len(laws.theta), 1))
    n = np.full_like(zero, n)
    return _last_true(still_gains, zero, zero + MOST_TOKENS)[:, 0]


def with_inference(
    law: Law, loss_at_flops: Sequence[float], inference_tokens: float
) -> list[dict[str, object]]:
    """The size that is cheapest to train and to use, at the loss of each budget's best run.

    Minimises C(N, D) + C(N, D_inference) / 3 subject to L(N, D) = L: with C = 6 N D the 6 N D + 2 N D_inference of
    Sardana et al. 2024, arXiv 2401.00448. The training FLOPs are counted as the runs count theirs; using a token
    is its forward pass, a third.

    A diffusion model sees every token of a sample once a sampling step: inference tokens = samples x tokens of
    a sample x sampling steps, x 2 with guidance.

    Args:
      law: a fitted law.
      loss_at_flops: budgets whose best loss is wanted.
      inference_tokens: passed through the model over its life; 0 gives the compute optimum.

    Returns:
      One entry a budget: as `fixed_size` its `law`, `status`, `flags` and `reason`; `flops`, `inference_tokens`,
      and, None without a surface, `loss`, `params`, `tokens`, `saving` (of the total that the compute-optimal
      model of that loss needs, as a fraction), these three with `_ci95`, `tokens_per_param`, `train_flops`,
      `total_flops`, `total_flops_compute_optimal` and `extrapolates`.

    Raises:
      ValueError: a budget is not a positive number, or the tokens are negative.
    """
    _check("loss_at_flops", loss_at_flops)
    if not (np.isfinite(inference_tokens) and inference_tokens >= 0):
        raise ValueError(f"inference_tokens is {inference_tokens!r}: give a number, 0 for a model never used")
    surface, reason = sized_surface(law)
    return [
        _head(surface, reason)
        | {"flops": float(c), "inference_tokens": float(inference_tokens)}
        | (_served(law, surface, c, inference_tokens) if surface else dict.fromkeys(SERVED))
        for c in loss_at_flops
    ]


SERVED = (
    *(
        "loss",
        "params",
        "params_ci95",
        "tokens",
        "tokens_ci95",
        "tokens_per_param",
        "train_flops",
        "total_flops",
    ),
    *("total_flops_compute_optimal", "saving", "saving_ci95", "extrapolates"),
)


def _served(law: Law, surface: Parametric, flops: float, inference_tokens: float) -> dict[str, object]:
    found = []
    for laws in (surface.best, surface.draws):
        size, log_loss = laws.optimum(flops)
        alone = _log_total(laws, size[:, 0], size[:, 1], inference_tokens)
        n, d, total = (one[:, 0] for one in cheapest(laws, log_loss[:, None], inference_tokens))
        found.append((n, d, total, alone))
    (n, d, total, alone), draws = found
    return {
        "loss": float(np.exp(law.extrapolation.predict(np.log([flops])).mean[0])),
        **_with_interval("params", np.exp(n), np.exp(draws[0])),
        **_with_interval("tokens", np.exp(d), np.exp(draws[1])),
        "tokens_per_param": float(np.exp(d - n)[0]),
        "train_flops": float(np.exp(_log_flops(surface.best, n, d))[0]),
        "total_flops": float(np.exp(total[0])),
        "total_flops_compute_optimal": float(np.exp(alone[0])),
        **_with_interval("saving", -np.expm1(total - alone), -np.expm1(draws[2] - draws[3])),
        "extrapolates": _extrapolates(law.table, float(d[0] - n[0])),
    }


def cheapest(laws: Surface, log_loss: Places, inference_tokens: float) -> tuple[Places, Places, Places]:
    """Log params, log tokens and log FLOPs in all of the cheapest model of a loss, training and use.

    The log of the cost is convex in log params along a line of equal loss: its slope is bisected. Sizes too
    small for the loss count as dear, the smaller the dearer.
    """

    def falls(n: Places) -> np.ndarray:
        near = np.concatenate([n - NUDGE, n + NUDGE], 1)
        d = _tokens_for(laws, near, np.tile(log_loss, 2))
        cost = np.where(d < MOST_TOKENS - 1, _log_total(laws, near, d, inference_tokens), 1e6 - near)
        before, after = np.split(cost, 2, 1)
        return after < before

    middle = np.full(log_loss.shape, laws.middle)
    n = _last_true(falls, middle - REACH, middle + REACH, HALVINGS["params"])
    d = _tokens_for(laws, n, log_loss)
    return n, d, _log_total(laws, n, d, inference_tokens)


def _tokens_for(laws: Surface, n: Places, log_loss: Places) -> Places:
    """Log tokens with which sizes reach a loss; `MOST_TOKENS` where they never do."""
    zero = np.zeros_like(n)
    return _last_true(lambda d: np.log(laws.loss(n, d)) > log_loss, zero, zero + MOST_TOKENS)


def _last_true(holds, low: Places, high: Places, halvings: int = HALVINGS["tokens"]) -> Places:
    """Where a condition that holds at `low` and not at `high` ends."""
    for _ in range(halvings):
        middle = (low + high) / 2
        true = holds(middle)
        low, high = np.where(true, middle, low), np.where(true, high, middle)
    return (low + high) / 2


def _log_total(laws: Surface, n, d, inference_tokens: float):
    train = _log_flops(laws, n, d)
    if inference_tokens == 0:
        return train
    return np.logaddexp(train, train - d + np.log(FORWARD * inference_tokens))


def _log_flops(laws: Surface, n, d):
    t0, t1, t2 = laws.tokens_at
    return (d - t0 - t2 * n) / t1


def _log_tokens(laws: Surface, log_flops, n):
    t0, t1, t2 = laws.tokens_at
    return t0 + t1 * log_flops + t2 * n


def _extrapolates(table: Table, log_ratio: float) -> bool:
    """Whether no run had so few or so many tokens a parameter; whole steps move a run by a few per cent."""
    seen = np.log(table.tokens / table.params)
    return bool(not seen.min() - 0.1 <= log_ratio <= seen.max() + 0.1)


def _head(surface: Parametric | None, reason: str | None) -> dict[str, object]:
    if surface is None:
        return {"law": None, "status": "refused", "flags": [], "reason": reason}
    head = {"law": surface.form.name, "status": surface.status, "flags": list(surface.flags)}
    return head | {"reason": None}


def _with_interval(name: str, best: np.ndarray, draws: np.ndarray) -> dict[str, object]:
    return {name: float(best[0]), f"{name}_ci95": interval95(draws).tolist()}


def _check(name: str, values: Sequence[float]) -> None:
    for value in values:
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} has {value!r}: give positive numbers, such as 1e9")
