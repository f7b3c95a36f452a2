# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint and prompts to video.

from dit_jax.generate import load
model = load("runs/quickstart/trials/c4.8e11-w40-s0")
video = model(["A large red circle moves right from the left side of a dark background."])
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, UInt8
from ml_collections import ConfigDict

from dit_jax import build
from dit_jax.arrays import Latents
from dit_jax.backbone.unet_latent_config import AUGMENTED, MICRO
from dit_jax.cascade import ENLARGED, UPSAMPLE, Cascade, augmented
from dit_jax.diffusion.known import FRAME_FACTOR, task_mask
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.files import read_config
from dit_jax.first_frame import noised_frame
from dit_jax.pixels import as_bytes
from dit_jax.program import make_encoder, program
from dit_jax.train.checkpoint import CHECKPOINTS, Checkpointer

ANIMATE = "image_to_video"  # of which some networks see the image beside the clip, and not in it
NOISE_AUGMENTATION = 0.1  # time to which a clip is noised before it is refined

Videos = UInt8[np.ndarray, "B T H W C"]


class Generator:
    """A trained model, ready to draw clips.

    Args:
      config: of the run.
      folder: of the run, to which the autoencoder's path may be relative.
      params: of the denoiser.
    """

    def __init__(self, config: ConfigDict, folder: str | pathlib.Path, params: PyTree):
        self.config = config
        self.params = params
        self._program = program(config, folder)
        self._animates = getattr(build.backbone_config(config), "known_input", "") == "augmented_frame"
        self._read = build.encode_prompts(config)
        self._latent_shape = build.latent_shape(config, folder)
        model, stats = build.autoencoder(config, folder)
        self.temporal_compression = model.config.temporal_compression
        self._encode = jax.jit(make_encoder(model, stats))
        self._decode = jax.jit(lambda latents: model.decode(stats.denormalize(latents)))

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
        task: str = "none",
        given: Videos | None = None,
        micro: Mapping[str, float] | None = None,
    ) -> Videos:
        """Draws one clip for each prompt.

        Args:
          prompts: an empty one draws without text.
          seed: of the noise; the same seed, prompts and model give the same clips.
          sampler: the config's own by default.
          task: what of `given` is kept, a name in `diffusion.known.TASKS`; or `upsample`: what is refined by a
            super-resolution model.
          given: clips of the model's size, one per prompt; needed by every task but `none`.
          micro: what the model is told besides, by name, such as `motion`; the frame rate is the config's unless
            it is given here.

        Raises:
          ValueError: no prompts, an unknown task, or a task without its clips.
        """
        if not prompts:
            raise ValueError("no prompts: give at least one, which may be empty")
        cond = jax.tree.map(jnp.asarray, self._read(list(prompts)))
        key = jax.random.key(seed)
        noise = jax.random.normal(key, (len(prompts), *self._latent_shape))
        cond |= {name: jnp.full((len(prompts),), value) for name, value in self._micro(micro or {}).items()}
        known, latents = self._given(task, given, len(prompts))
        if task == UPSAMPLE:
            level = jnp.full((len(prompts),), NOISE_AUGMENTATION)
            cond, latents = cond | augmented(latents, level, jax.random.fold_in(key, 2)), None
        elif task == ANIMATE and self._animates:
            level = cond.get(AUGMENTED, jnp.full((len(prompts),), MICRO[AUGMENTED].default))
            cond, known = cond | noised_frame(latents, level, jax.random.fold_in(key, 2)), None
            latents = None
        draw = self._program.sampler(sampler or build.section(self.config, "sampler"))
        key = jax.random.fold_in(key, 1)  # of what is drawn on the way
        return as_bytes(self._decode(draw(self.params, noise, cond, known, latents, key)))

    def _micro(self, given: Mapping[str, float]) -> dict[str, float]:
        names, fps = build.micro(self.config), self.config.data.fps
        values = ({"fps": fps} if fps else {}) | dict(given)
        if missing := [name for name in names if name not in values]:
            raise ValueError(
                f"the model is told the {missing[0]} of clips: give it, as micro={{{missing[0]!r}: 4.0}}"
            )
        return {name: value for name, value in values.items() if name in names or name in given}

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of what is drawn."""
        data = self.config.data
        return data.num_frames, data.height, data.width

    @property
    def frame_factor(self) -> int:
        """T frames become `frame_factor (T - 1) + 1` by the task `slow_motion`."""
        return build.section(self.config, "objective").frame_factor

    def check_size(self, size: tuple[int, int, int], role: str) -> None:
        """Raises ValueError unless clips of `size` (frames, height, width) are what is drawn."""
        if self.size != size:
            raise ValueError(
                f"the {role} model draws {self.size} (frames, height, width); here it must be {size}"
            )

    def reconstruct(self, video: Videos) -> Videos:
        """Clips through the autoencoder alone: the ceiling of what can be drawn."""
        return as_bytes(self._decode(self._encode(video)))

    def _given(self, task: str, given: Videos | None, count: int) -> tuple[Array | None, Latents | None]:
        mask = None if task == UPSAMPLE else task_mask(task, self._latent_shape[:3], self.frame_factor)
        if task == "none":
            return None, None
        if given is None or len(given) != count:
            raise ValueError(f"task={task!r} needs one clip for each of the {count} prompts: give them")
        known = None if mask is None else jnp.broadcast_to(mask, (count, *mask.shape))
        return known, self._encode(given)


def chain(base: Generator, interpolate: Generator | None, upsample: Generator | None, **how: Any) -> Cascade:
    """Generators one after the other: a clip, frames between any two of its frames, twice as many pixels.

    Raises:
      ValueError: a model does not have the size that is to come out, or its autoencoder compresses time, so that
        frames between frames are none of its latents.
    """
    stage = lambda model: model and (lambda p, given, task: model(p, given=given, task=task, **how))  # noqa: E731
    frames, height, width = base.size
    factor = interpolate.frame_factor if interpolate is not None else FRAME_FACTOR
    if interpolate is not None:
        frames = factor * (frames - 1) + 1
        interpolate.check_size((frames, height, width), "interpolating")
        if interpolate.temporal_compression > 1:
            raise ValueError(
                f"the interpolating model's autoencoder compresses time {interpolate.temporal_compression}-fold: "
                "use one that was trained with autoencoder.model.temporal_compression=1"
            )
    if upsample is not None:
        upsample.check_size((frames, ENLARGED * height, ENLARGED * width), "upsampling")
    return Cascade(stage(base), stage(interpolate), stage(upsample), factor)


def load(folder: str | pathlib.Path) -> Generator:
    """The generator of a run's newest checkpoint, with its averaged parameters.

    Raises:
      FileNotFoundError: `folder` is not a run's, or it has not saved yet.
    """
    folder = pathlib.Path(folder)
    config = read_config(folder)
    if "sweep" in config:
        raise FileNotFoundError(f"{folder} is a sweep's: give the folder of one of its runs, in trials/")
    config.mesh = dict(data=-1, fsdp=1, model=1, seq=1)  # whatever it was trained on
    checkpointer = Checkpointer(folder / CHECKPOINTS)
    try:
        params = checkpointer.load("ema", program(config, folder).abstract.ema)
    finally:
        checkpointer.close()
    return Generator(config, folder, params)
