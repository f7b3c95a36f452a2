# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes and remat policies of a topology, each compiled, the fastest that fit first."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from dit_jax.layers.stack import REMAT
from dit_jax.mesh import AXES
from dit_jax.plan.page import mesh_name
from dit_jax.plan.plan import make_plan
from dit_jax.plan.topology import Topology


def meshes(num_chips: int, fixed: dict[str, int]) -> Iterator[dict[str, int]]:
    """Every way to split chips over the axes; `fixed` ones keep their size.

    Raises:
      ValueError: a fixed axis is none of a mesh.
    """
    if unknown := set(fixed) - set(AXES):
        raise ValueError(f"{min(unknown)!r} is no axis of a mesh: choose of {', '.join(AXES)}")
    sizes = [n for n in range(1, num_chips + 1) if num_chips % n == 0]
    for shape in itertools.product(*([fixed[axis]] if axis in fixed else sizes for axis in AXES)):
        if math.prod(shape) == num_chips:
            yield dict(zip(AXES, shape))


def search(
    config: ConfigDict,
    where: Topology,
    fixed: dict[str, int],
    remats: Sequence[str] = tuple(REMAT),
    report: Callable[[str], None] = lambda line: None,
    **budget: float | str | None,
) -> list[dict[str, Any]]:
    """Plans of all meshes and policies; those that fit first, by tokens per second, then by memory.

    Args:
      config: of a run; its mesh and remat are those searched over.
      where: to train.
      fixed: axes of the mesh that are not searched.
      remats: policies; a backbone without any is planned as it is.
      report: told of each, also of those that are impossible, with the reason.
      budget: `tokens`, `dollars_per_chip_hour` and `what`, see `make_plan`.

    Raises:
      ValueError: no mesh is possible; the last reason is told.
    """
    plans, reason = [], f"no mesh with {fixed} has {len(where.devices)} chips: free an axis"
    policies = remats if "remat" in config.backbone else (None,)
    for mesh, remat in itertools.product(meshes(len(where.devices), fixed), policies):
        name = f"{mesh_name(mesh)} remat={remat}"
        try:
            plans.append(make_plan(_with(config, mesh, remat), where, **budget))
        except ValueError as error:
            reason = f"{name}: {error}"
            report(f"impossible: {reason}")
        else:
            report(_line(name, plans[-1]))
    if not plans:
        raise ValueError(reason)
    return ranked(plans)


def _line(name: str, plan: dict[str, Any]) -> str:
    """With its figures, so that what was compiled is known when a search is stopped."""
    if not plan["fits"]:
        return f"does not fit: {name}: {plan['refusal']}"
    seconds, peak = plan["step_seconds"], plan["hbm_bytes"]["peak"]
    step = [f"{1e3 * seconds['estimate']:.4g} ms a step"] if seconds else []
    memory = [f"peak {peak / 2**30:.3g} GiB"] if peak else []  # not every compiler tells it
    return f"planned: {name}: {', '.join(step + memory)}"


def ranked(plans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that fit first, by seconds per token where a speed is known, then by memory."""

    def key(plan: dict[str, Any]) -> tuple:
        seconds = plan["step_seconds"]
        per_token = seconds["estimate"] / plan["tokens_per_step"] if seconds else 0.0
        return not plan["fits"], per_token, plan["hbm_bytes"]["peak"] or math.inf

    return sorted(plans, key=key)


def _with(config: ConfigDict, mesh: dict[str, int], remat: str | None) -> ConfigDict:
    config = copy.deepcopy(config)
    config.mesh.update(mesh)
    if remat is not None:
        config.backbone.remat = remat
    return config
