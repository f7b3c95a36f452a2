# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is trained with an autoencoder, and by which losses and optimizers: one state for every stage."""

import functools
import json
from collections.abc import Callable

import jax
import optax
from flax import nnx
from jaxtyping import PyTree
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.arrays import Key, Scalar
from dit_jax.autoencoder.adversarial import adversarial_loss
from dit_jax.autoencoder.discriminator import Discriminator
from dit_jax.autoencoder.losses import Distance, autoencoder_loss
from dit_jax.autoencoder.model import Autoencoder
from dit_jax.autoencoder.stages import StageConfig, stage_stops
from dit_jax.evaluate.fidelity import ms_ssim
from dit_jax.interop.lpips import load_lpips
from dit_jax.mesh import make_mesh
from dit_jax.pixels import as_pixels
from dit_jax.train.optimizer import OptimizerConfig, at_rest, by_branch, make_optimizer
from dit_jax.train.state import abstract_module, make_init, merge_module
from dit_jax.train.step import Metrics, make_train_steps


class Both(nnx.Module):
    """What is trained: the branches of the parameters."""

    def __init__(self, makers: dict[str, Callable[[nnx.Rngs], nnx.Module]], rngs: nnx.Rngs):
        for name, make in makers.items():
            setattr(self, name, make(rngs))


class Trainee:
    """Modules, losses and optimizers of a config's autoencoder, and of its discriminator if a stage has one.

    Attributes:
      stages: the step that each ends at, its config, and its compiled steps (see `make_train_steps`).
      graphs: structures of the modules by their names, which are branches of the parameters.
      mesh: over this machine's devices.
      init: `key -> TrainState`.
      abstract: shapes and shardings of the state.
    """

    def __init__(self, config: ConfigDict):
        self._config = config
        stages = build.autoencoder_stages(config)
        stops = stage_stops(stages, config.autoencoder.steps)
        sizes, critic = build.autoencoder_config(config), build.section(config, "discriminator")
        makers = {"autoencoder": lambda rngs: Autoencoder(sizes, rngs=rngs)}
        if any(stage.adversarial for stage in stages):
            makers["discriminator"] = lambda rngs: Discriminator(critic, rngs=rngs)
        self.graphs = {name: abstract_module(make)[0] for name, make in makers.items()}
        self.mesh = make_mesh(build.section(config, "mesh"))
        optimizer = by_branch(self._optimizers(adversarial=True))
        self.init, self.abstract = make_init(lambda rngs: Both(makers, rngs), optimizer, self.mesh)
        self.stages = [(stop, stage, self._steps(stage)) for stop, stage in zip(stops, stages)]

    def _steps(self, stage: StageConfig) -> Callable:
        grads = jax.value_and_grad(self._loss(stage), has_aux=True)
        optimizer = build.section(self._config, "autoencoder_optimizer")
        if optimizer.accumulation_steps > 1:
            raise ValueError(
                f"autoencoder_optimizer.accumulation_steps={optimizer.accumulation_steps}: an autoencoder trains on "
                "whole batches; set 1, and loader.batch_size lower"
            )
        return make_train_steps(grads, optimizer, self.abstract, self._optimizers(stage.adversarial))

    def _optimizers(self, adversarial: bool) -> dict[str, optax.GradientTransformation]:
        """By branch. The discriminator's is there in every stage, so that the state is one tree in all."""
        autoencoder = build.section(self._config, "autoencoder_optimizer")
        optimizers = {"autoencoder": make_optimizer(autoencoder)}
        if "discriminator" in self.graphs:
            critic = build.section(self._config, "discriminator")
            adam = make_optimizer(OptimizerConfig(lr=critic.lr, b1=critic.b1, b2=critic.b2))
            # The schedule's rate is the autoencoder's.
            chain = optax.chain(adam, optax.scale(critic.lr / autoencoder.lr))
            optimizers["discriminator"] = chain if adversarial else at_rest(chain)
        return optimizers

    def _loss(self, stage: StageConfig) -> Callable[[PyTree, PyTree, Key], tuple[Scalar, Metrics]]:
        weights = build.stage_loss(self._config, stage)
        distances = _distances(self._config, weights.structural, weights.perceptual)
        make = {
            name: lambda params, graph=graph: merge_module(graph, params)
            for name, graph in self.graphs.items()
        }

        def loss(params: PyTree, batch: dict[str, jax.Array], key: Key) -> tuple[Scalar, Metrics]:
            video = as_pixels(batch["video"])
            if stage.adversarial:
                return adversarial_loss(
                    make["autoencoder"], make["discriminator"], params, video, key, weights, distances
                )
            return autoencoder_loss(
                make["autoencoder"](params["autoencoder"]), video, key, weights, distances
            )

        return loss


def trainee(config: ConfigDict) -> Trainee:
    """The trainee of a config, built once in this process."""
    return _trainee(config.to_json(sort_keys=True))


@functools.lru_cache(maxsize=4)
def _trainee(config: str) -> Trainee:
    return Trainee(ConfigDict(json.loads(config)))


def _distances(config: ConfigDict, structural: float, perceptual: float) -> dict[str, Distance]:
    """Those that have a weight."""
    distances = {}
    if structural:
        distances["structural"] = lambda decoded, video: 1 - ms_ssim(decoded, video).mean()
    if perceptual:
        path = config.autoencoder.perceptual_weights
        if not path:
            raise ValueError(
                "autoencoder_loss.perceptual needs config.autoencoder.perceptual_weights: name a file"
            )
        network = load_lpips(path)
        distances["perceptual"] = lambda decoded, video: network(decoded, video).mean()
    return distances
