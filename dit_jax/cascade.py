# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A chain of generators: a short small clip, more frames between its frames, more pixels in each.

Singer et al. 2022, Make-A-Video, arXiv 2209.14792, equation 1. Each stage is a network of its own, such as a
`UNetPseudo3D` finetuned from the first with additional inputs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from dit_jax.arrays import Cond, Key, Latents
from dit_jax.diffusion.known import task_mask
from dit_jax.diffusion.objective import DEFAULT, ObjectiveConfig
from dit_jax.diffusion.path import Network, add_noise
from dit_jax.diffusion.sampler import SamplerConfig, sample
from dit_jax.mesh import compiler_options

INTERPOLATE, UPSAMPLE = "slow_motion", "upsample"  # what the stages after the first are asked for
ENLARGED = 2  # height and width, by the last stage

AnyVideo = Shaped[Array | np.ndarray, "B T H W C"]  # pixels or latents: whatever the stages speak
# (prompts, given, task) -> video. `given` is of the size of the video, and None for the task `none`.
Stage = Callable[[Sequence[str], AnyVideo | None, str], AnyVideo]


@dataclasses.dataclass(frozen=True)
class Cascade:
    """Draws clips by its stages in turn; itself a stage. One that is None is left out.

    Attributes:
      base: draws clips.
      interpolate: given every `frame_factor`-th frame (and between them the one before), fills in the others.
      upsample: given a clip whose pixels are repeated, draws it anew, sharp.
      frame_factor: T frames become `frame_factor (T - 1) + 1`.
    """

    base: Stage
    interpolate: Stage | None = None
    upsample: Stage | None = None
    frame_factor: int = 2

    def __post_init__(self):
        if self.frame_factor < 2:
            raise ValueError(f"frame_factor={self.frame_factor} must be at least 2, or interpolate None")

    def __call__(self, prompts: Sequence[str], given: AnyVideo | None = None, task: str = "none") -> AnyVideo:
        """Draws one clip for each prompt.

        Args:
          prompts: the text, the same for all stages.
          given: for the first stage.
          task: of the first stage.

        Raises:
          ValueError: a stage returns clips of another size than asked.
        """
        video = self.base(prompts, given, task)
        if self.interpolate is not None:
            video = _ask(
                "interpolate", self.interpolate, prompts, spread(video, self.frame_factor), INTERPOLATE
            )
        if self.upsample is not None:
            video = _ask("upsample", self.upsample, prompts, enlarge(video), UPSAMPLE)
        return video


def _ask(name: str, stage: Stage, prompts: Sequence[str], given: AnyVideo, task: str) -> AnyVideo:
    video = stage(prompts, given, task)
    if video.shape != given.shape:
        raise ValueError(f"{name} was given {given.shape} and drew {video.shape}: take a model of that size")
    return video


def spread(video: AnyVideo, factor: int) -> Shaped[Array | np.ndarray, "B _T H W C"]:
    """Every frame `factor` times, but the last once."""
    return video[:, np.arange(factor * (video.shape[1] - 1) + 1) // factor]


def enlarge(video: AnyVideo, factor: int = ENLARGED) -> Shaped[Array | np.ndarray, "B T _H _W C"]:
    """Every row and column `factor` times."""
    rows, columns = (np.arange(factor * side) // factor for side in video.shape[2:4])
    return video[:, :, rows][:, :, :, columns]


def coarse(x0: Latents, key: Key, *, factor: int = ENLARGED, most_noise: float = 0.5) -> Cond:
    """What a super-resolution network is trained under: its clip, shrunk, enlarged, and noised by a time drawn
    evenly for each (Ho et al. 2022, Cascaded Diffusion Models, arXiv 2106.15282, section 4.2).

    Args:
      x0: the clip.
      key: draws times and noise.
      factor: divides height and width.
      most_noise: the latest time.

    Raises:
      ValueError: `factor` does not divide height and width.
    """
    batch, frames, height, width, channels = x0.shape
    if height % factor or width % factor:
        raise ValueError(f"factor={factor} must divide the height and width {(height, width)} of clips")
    cells = x0.reshape(batch, frames, height // factor, factor, width // factor, factor, channels)
    level = jax.random.uniform(jax.random.fold_in(key, 0), (batch,), maxval=most_noise)
    return augmented(enlarge(cells.mean((3, 5)), factor), level, jax.random.fold_in(key, 1))


def augmented(low_resolution: Latents, level: Array, key: Key) -> Cond:
    """A clip to refine, noised to the time `level` [B] of the straight path, as `UNetPseudo3D` reads it."""
    eps = jax.random.normal(key, low_resolution.shape)
    noised = add_noise(low_resolution, eps, level, {})
    return {"low_resolution": noised, "noise_augmentation": level}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A stage that draws with a network, in the latents (or floats for pixels) that the network speaks.

    Attributes:
      velocity: `(x_t, t, cond, known) -> eps - x0`, guided or not.
      text: prompts to what the network reads of them.
      shape: (t, h, w, c) of clips that are drawn from nothing; others have the size of what is given.
      sampler: how to draw.
      objective: of the training.
      fps: frame rate that the network is told; None: nothing.
      noise_augmentation: time to which clips to refine are noised.
      shared_noise: whether all frames begin as the same noise, for a network that sees each alone, lest they
        flicker (Singer et al. 2022, section 3.2).
      seed: of the noise.
    """

    velocity: Network
    text: Callable[[Sequence[str]], Cond]
    shape: tuple[int, int, int, int]
    sampler: SamplerConfig
    objective: ObjectiveConfig = DEFAULT
    fps: float | None = None
    noise_augmentation: float = 0.1
    shared_noise: bool = False
    seed: int = 0

    def __call__(self, prompts: Sequence[str], given: AnyVideo | None = None, task: str = "none") -> Latents:
        """Draws one clip for each prompt; `task` is `upsample`, or a name in `diffusion.known.TASKS`.

        Raises:
          ValueError: an unknown task, or one that lacks its clips.
        """
        count = len(prompts)
        if task != "none" and (given is None or len(given) != count):
            raise ValueError(f"task={task!r} needs one clip for each of the {count} prompts: give them")
        shape = (count, *(self.shape if task == "none" else given.shape[1:]))
        key, of_coarse, of_steps = jax.random.split(jax.random.key(self.seed), 3)
        cond = dict(self.text(prompts))
        if self.fps is not None:
            cond["fps"] = jnp.full((count,), self.fps)
        known = None
        if task == UPSAMPLE:
            cond |= augmented(jnp.asarray(given), jnp.full((count,), self.noise_augmentation), of_coarse)
        elif task != "none":
            known = jnp.broadcast_to(self._mask(task, shape[1:4]), (*shape[:-1], 1))
        noise = jax.random.normal(key, (count, 1, *shape[2:]) if self.shared_noise else shape)
        return self._draw(
            jnp.broadcast_to(noise, shape), cond, known, None if known is None else given, of_steps
        )

    def _mask(self, task: str, shape: tuple[int, int, int]) -> Bool[Array, "t _h _w 1"]:
        return task_mask(task, shape, self.objective.frame_factor)

    @functools.cached_property
    def _draw(self) -> Callable[..., Latents]:
        def draw(noise, cond, known, given, key):
            how = dict(known=known, given=given, key=key)
            return sample(self.velocity, noise, cond, self.sampler, self.objective, **how)

        return jax.jit(draw, compiler_options=compiler_options())
