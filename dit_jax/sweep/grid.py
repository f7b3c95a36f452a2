# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The isoFLOP grid: several widths at each of several budgets.

Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", arXiv 2203.15556, section 3.2.
"""

import dataclasses

from ml_collections import ConfigDict

from dit_jax.sweep.flops import step_flops
from dit_jax.sweep.ladder import ladder


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """An isoFLOP sweep, and the budget held out to test its law.

    Attributes:
      budgets: training FLOPs.
      widths: rungs of the ladder; a budget takes those whose runs are neither too short nor too long.
      min_steps: shorter runs are limited by their steps, not by their size.
      max_steps: of any run.
      batch_exponent: the batch grows with this power of the budget, from `loader.batch_size` at the least one (Bi
        et al. 2024, DeepSeek LLM, arXiv 2401.02954, eq. 1, fit 0.327); 0: it is the same at all. It is a whole
        multiple of `loader.batch_size`, so that what suits the mesh still does.
      seeds: runs of every point, with seeds counted from `config.seed`.
      heldout_factor: the held-out budget over the largest.
      heldout_widths: rungs around the predicted best one that are run there; the least loss counts.
      num_samples: clips to generate and score.
      num_shown: of them, in `samples/`.
      workers: processes; 0 for one per core.
    """

    budgets: tuple[float, ...] = (1e10, 2e10, 4e10, 8e10)
    widths: tuple[int, ...] = (8, 12, 16, 24, 32, 48)
    min_steps: int = 150
    max_steps: int = 5000
    batch_exponent: float = 0.0
    seeds: int = 1
    heldout_factor: float = 3.0
    heldout_widths: int = 1
    num_samples: int = 64
    num_shown: int = 6
    workers: int = 0

    def __post_init__(self):
        object.__setattr__(self, "budgets", tuple(sorted({float(b) for b in self.budgets})))
        object.__setattr__(self, "widths", tuple(sorted(set(self.widths))))
        if not self.budgets or self.budgets[0] <= 0 or not self.widths:
            raise ValueError(f"budgets={self.budgets} must be positive and widths={self.widths} not empty")
        if not 0 <= self.batch_exponent < 1:
            raise ValueError(
                f"batch_exponent={self.batch_exponent} must be from 0 to below 1, lest runs get shorter with compute"
            )
        if self.heldout_factor <= 1:
            raise ValueError(
                f"heldout_factor={self.heldout_factor} must exceed 1: held out is what lies beyond the fit"
            )
        least = dict(seeds=1, heldout_widths=1, num_samples=1, num_shown=1, min_steps=1, workers=0)
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {number}")


def trial(
    config: ConfigDict,
    sweep: SweepConfig,
    latent_shape: tuple[int, ...],
    budget: float,
    width: int,
    seed: int,
) -> ConfigDict | None:
    """The config of one run, None where its steps fall outside the sweep's bounds."""
    run = ladder(config, width)
    run.loader.batch_size *= round((budget / sweep.budgets[0]) ** sweep.batch_exponent)
    chunk = run.train.chunk_steps
    steps = chunk * round(budget / step_flops(run, latent_shape) / chunk)
    if not sweep.min_steps <= steps <= sweep.max_steps:
        return None
    run.trial = f"c{budget:.3g}-w{width}-s{seed}".replace("+", "")
    run.budget_flops = budget
    run.seed = seed
    run.train.total_steps = steps
    run.train.save_every_steps = max(chunk, chunk * (steps // chunk // 2))
    run.optimizer.warmup_steps = min(run.optimizer.warmup_steps, steps // 10)
    del run.sweep
    return run


def isoflop_grid(config: ConfigDict, sweep: SweepConfig, latent_shape: tuple[int, ...]) -> list[ConfigDict]:
    """The runs of a sweep, the dearest budgets first.

    Raises:
      ValueError: a budget has fewer than three widths within the bounds on steps.
    """
    trials = []
    for budget in reversed(sweep.budgets):
        configs = [trial(config, sweep, latent_shape, budget, width, config.seed) for width in sweep.widths]
        kept = [run.backbone.width for run in configs if run is not None]
        if len(kept) < 3:
            raise ValueError(
                f"budget {budget:.3g} FLOPs has {len(kept)} of the 3 widths it needs between "
                f"min_steps={sweep.min_steps} and max_steps={sweep.max_steps}: "
                "widen config.sweep.widths or these bounds"
            )
        for width in kept:
            for seed in range(config.seed, config.seed + sweep.seeds):
                trials.append(trial(config, sweep, latent_shape, budget, width, seed))
    if len({run.trial for run in trials}) < len(trials):
        raise ValueError(f"budgets={sweep.budgets} have names in common: put them further apart")
    return trials
