# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled functions of one model: initialise, train, evaluate, sample.

Runs that differ in budget, learning rate and seed alone share a program, so that a sweep compiles once for
each size.
"""

import functools
import json
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.arrays import Cond, Key, KnownSites, Latents, Scalar, Sites, Time, Times, Video
from dit_jax.autoencoder.files import load_autoencoder
from dit_jax.autoencoder.latents import LatentStats
from dit_jax.autoencoder.streaming import CausalAutoencoder
from dit_jax.cascade import coarse
from dit_jax.diffusion.guidance import guided
from dit_jax.diffusion.objective import Draws, draw, flow_matching_loss, num_counted, used_times
from dit_jax.diffusion.path import Network, add_noise, as_velocity
from dit_jax.diffusion.sampler import SamplerConfig, sample
from dit_jax.diffusion.time import time_bins
from dit_jax.evaluate.loss_grid import make_loss_grid
from dit_jax.first_frame import NULL, drawn_frame
from dit_jax.mesh import compiler_options, make_mesh, on_mesh
from dit_jax.pixels import as_pixels
from dit_jax.scales import scales
from dit_jax.train.accumulate import accumulated
from dit_jax.train.optimizer import make_optimizer
from dit_jax.train.state import abstract_module, count_parameters, make_begin, make_init, merge_module
from dit_jax.train.step import make_train_steps

# What a program depends on. Learning rate and warm-up reach it as traced values.
SECTIONS = ("backbone", "text", "objective", "optimizer", "evaluate", "mesh")
STORED = ("data", "frozen_text", "loader")  # and that of stored text tokens on those of the empty prompt
TRACED = ("lr", "warmup_steps")
Drawn = tuple[Sites, Cond, Draws, Float[Array, " B"]]
COARSE = 1  # folded into the key of a step


class Program:
    """Compiled functions and sizes of a config's model.

    Args:
      config: of a run.
      encode: pixels to latents, where it trains on clips as they come.
      folder: of the run, in which stored text tokens are looked for.
      mesh: over this machine's devices, or those of a machine that is planned for.
      null: what conditions where there is no text; looked up by default.

    Attributes:
      mesh: where it lies.
      init: `key -> TrainState`.
      begin: `params -> TrainState`, with parameters from elsewhere.
      abstract: shapes and shardings of the state.
      steps: `(state, batches, horizon) -> (state, metrics)`, see `make_train_steps`.
      loss_grid: `(params, latents, cond) -> errors`, see `make_loss_grid`.
      params_total: parameters, with the text encoder.
      params_active: those that work on every token: without embeddings and per-clip modulation.
    """

    def __init__(
        self,
        config: ConfigDict,
        encode: Callable[[Video], Latents] | None = None,
        folder: str | pathlib.Path = ".",
        mesh: Mesh | None = None,
        null: Cond | None = None,
    ):
        self._objective = build.section(config, "objective")
        self._encode = encode
        null = build.null_text(config, folder) if null is None else null
        self._null = jax.tree.map(jnp.asarray, null)
        make, optimizer = build.denoiser(config), build.section(config, "optimizer")
        evaluation = build.section(config, "evaluate")
        self._graph, shapes = abstract_module(make)
        axes = build.section(config, "mesh")
        self.mesh, self._context = make_mesh(axes) if mesh is None else mesh, axes.context
        scale = scales(config)
        self.init, self.abstract = make_init(make, make_optimizer(optimizer, scale), self.mesh, scale)
        self.begin = make_begin(make_optimizer(optimizer, scale), self.abstract)
        grads = accumulated(self._drawn, self._loss, optimizer.accumulation_steps)
        self.steps = make_train_steps(
            grads, optimizer, self.abstract, scales=scale, sparse_cores=axes.sparse_cores
        )
        self._compiled = compiler_options(self.abstract.step.sharding, axes.sparse_cores)
        backbone = build.backbone_config(config)
        self._refines = bool(getattr(backbone, "low_resolution_channels", 0))
        self._animates = getattr(backbone, "known_input", "none") == "augmented_frame"
        errors = make_loss_grid(
            lambda params, *inputs: self.velocity(params)(*inputs, None),
            self._noised,
            evaluation.num_times,
            self._null,
            evaluation.seed,
            NamedSharding(self.mesh, PartitionSpec()),
        )
        self.loss_grid = lambda params, x0, cond: errors(
            params, x0, self._with_coarse(x0, cond, jax.random.key(evaluation.seed))
        )
        # Withheld with the text in training and guidance, but not where the text is measured.
        if self._animates:
            self._null = {**self._null, "first_frame": NULL}
        self.params_total = count_parameters(shapes)
        self.params_active = count_active(shapes["backbone"])

    def velocity(self, params: PyTree) -> Network:
        """The velocity that `params` predict."""
        how, denoise = self._objective, merge_module(self._graph, params)

        def placed(x_t: Sites, t: Times, cond: Cond, known: KnownSites | None) -> Sites:
            with on_mesh(self.mesh, self._context):
                return denoise(x_t, t, cond, known)

        return as_velocity(placed, how.output, how.path, how.sigma_data)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a program lives as long as its process
    def sampler(self, config: SamplerConfig) -> Callable[..., Latents]:
        """A jitted `(params, noise, cond, known, given, key) -> latents`."""

        def draw_latents(params, noise, cond, known=None, given=None, key=None):
            scales = config.guidance_scale, config.guidance_last
            velocity = guided(self.velocity(params), self._null, *scales)
            return sample(velocity, noise, cond, config, self._objective, known=known, given=given, key=key)

        return jax.jit(draw_latents, compiler_options=self._compiled)

    def _drawn(self, batch: dict[str, jax.Array], key: Key) -> Drawn:
        """What the loss of a batch reads besides the parameters."""
        cond = dict(batch)
        x0 = next((cond.pop(name) for name in ("latents", "tokens") if name in cond), None)
        x0 = self._encode(cond.pop("video")) if x0 is None else x0
        cond = self._with_coarse(x0, cond, jax.random.fold_in(key, COARSE))
        draws = draw(key, x0, cond, self._objective)
        # Each clip carries the count of the whole batch, which a part of it can not know.
        total = num_counted(x0, cond, draws.known)
        return x0, cond, draws, jnp.broadcast_to(total, len(x0))

    def _loss(self, params: PyTree, drawn: Drawn) -> Scalar:
        x0, cond, draws, total = drawn
        velocity = self.velocity(params)
        return flow_matching_loss(velocity, x0, cond, self._null, draws, self._objective, total[0])

    def _with_coarse(self, x0: Sites, cond: Cond, key: Key) -> Cond:
        """`cond`, with the clip that a super-resolution network is to refine, or the frame that one is to animate."""
        if self._animates:
            return {**cond, **drawn_frame(x0, key)}
        return {**cond, **coarse(x0, key)} if self._refines else cond

    def _noised(self, x0: Latents, noise: Latents) -> tuple[Latents, Time]:
        """Clips at the times of the evaluation, one each."""
        times = used_times(time_bins(len(x0), self._objective.path), x0, {}, self._objective)
        return add_noise(x0, noise, times, {}, self._objective.path), times


def count_active(backbone: PyTree) -> int:
    """Parameters that work on every token: all but embeddings and modulation."""
    leaves = jax.tree_util.tree_leaves_with_path(backbone)
    per_clip = ("embedding", "modulation")
    return sum(
        leaf.size for path, leaf in leaves if not any(word in jax.tree_util.keystr(path) for word in per_clip)
    )


def program(config: ConfigDict, folder: str | pathlib.Path = ".") -> Program:
    """The program of a config, built once in this process.

    Args:
      config: of a run.
      folder: the run's, to which the autoencoder's path may be relative.
    """
    frozen = config.text.get("name", "byte") != "byte"
    static = {name: config[name].to_dict() for name in (*SECTIONS, *(STORED if frozen else ()))}
    for name in TRACED:
        static["optimizer"].pop(name, None)
    weights = None if config.data.source == "latents" else str(build.autoencoder_path(config, folder))
    return _program(json.dumps(static, sort_keys=True), weights, str(folder) if frozen else ".")


@functools.lru_cache(maxsize=32)
def _program(static: str, weights: str | None, folder: str) -> Program:
    encode = weights and make_encoder(*load_autoencoder(weights))
    return Program(ConfigDict(json.loads(static)), encode, folder)


def make_encoder(model: CausalAutoencoder, stats: LatentStats) -> Callable[[Video], Latents]:
    """uint8 video to latents of zero mean and unit deviation."""
    return lambda video: stats.normalize(model.encode(as_pixels(video)))
