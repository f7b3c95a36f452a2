# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The stages of a training: images first and video then, small crops and large ones, an adversary at the end."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage.

    Attributes:
      steps: of this stage; 0, for the last one only, is all that are left.
      num_frames: taken from a clip, anywhere in it; 1 trains on images, 0 on whole clips.
      side: pixels of a square crop, anywhere in the frame; 0 takes whole frames.
      batch_size: 0 is that of the training.
      adversarial: trains a discriminator, and the autoencoder against it.
      loss: weights that differ from those of the training, by their names in `AutoencoderLossConfig`.

    Raises:
      ValueError: for a negative size.
    """

    steps: int = 0
    num_frames: int = 0
    side: int = 0
    batch_size: int = 0
    adversarial: bool = False
    loss: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("steps", "num_frames", "side", "batch_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} of a stage must not be negative")


def stage_stops(stages: Sequence[StageConfig], total_steps: int) -> list[int]:
    """The step that each stage ends at.

    Raises:
      ValueError: the stages' steps do not add up to `total_steps`.
    """
    stops, reached = [], 0
    for stage in stages:
        reached = total_steps if not stage.steps and stage is stages[-1] else reached + stage.steps
        stops.append(reached)
    lengths = [stop - start for start, stop in zip([0, *stops], stops)]
    if reached != total_steps or min(lengths) < 1:
        raise ValueError(
            f"stages of {[stage.steps for stage in stages]} steps do not make the {total_steps} of the training: "
            "give each its steps, or 0 to the last for the rest"
        )
    return stops
