# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The known world: captioned videos of coloured shapes whose every fact is known exactly.

A simulator, not a data set: any number of clips of any duration, size and frame rate, each with captions and
its truth. The same config and index give the same bytes on every machine, and the same seed and index show
the same world at another size of the same aspect ratio, another frame rate or another duration.

| level | shapes | motion | scene |
|---|---|---|---|
| 0 | one, large | four directions; reaches no wall in the first second | plain dark background |
| 1 | one or two, of three sizes | eight directions; bounces off walls; shapes pass each other | " |
| 2 | as 1 | + gravity in half of the clips | " |
| 3 | two or three, small or medium | + elastic collisions | " |
| 4 | one to three, small or medium | as 3; the first shape passes behind the bar | + a grey bar in front |

Shapes move at constant velocity, or fall freely, between impacts.
"""

import dataclasses
import operator
from fractions import Fraction
from typing import Any

import numpy as np

from dit_jax.data.clip import Clip
from dit_jax.data.known_world_captions import caption, region
from dit_jax.data.known_world_physics import TICKS_PER_SECOND, UNIT, Body, Motion, Scene, simulate
from dit_jax.data.known_world_render import render
from dit_jax.data.known_world_scene import LEVELS, draw_scene

_ENDLESS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class KnownWorldConfig:
    """A known world.

    Attributes:
      level: how much may happen, 0 to 4 (see the table above).
      num_frames: frames of a clip.
      height, width: pixels of a frame.
      fps: frames per second, at most 240. Frames show the last tick before their instant, so they are
        evenly spaced where fps divides 240, and uneven by up to 1/240 second elsewhere.
      seed: names an independent stream of clips.
      num_clips: length of the source; None for 2^31 - 1, in effect endless.
    """

    level: int = 0
    num_frames: int = 9
    height: int = 32
    width: int = 32
    fps: float = 8.0
    seed: int = 0
    num_clips: int | None = None

    def __post_init__(self) -> None:
        _check_range("level", self.level, 0, len(LEVELS) - 1)
        _check_range("num_frames", self.num_frames, 1, 2**20)
        _check_range("height", self.height, 8, 4096)
        _check_range("width", self.width, 8, 4096)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        if self.num_clips is not None:
            _check_range("num_clips", self.num_clips, 0, _ENDLESS)
        if not 0 < self.fps <= TICKS_PER_SECOND:
            raise ValueError(
                f"fps is {self.fps}, must be above 0 and at most {TICKS_PER_SECOND}: choose another"
            )
        if not 1 / 4 <= self.width / self.height <= 4:
            raise ValueError(
                f"width / height is {self.width}/{self.height}, must be from 1/4 to 4: use a squarer frame"
            )


class KnownWorld:
    """A `ClipSource` of the known world.

    A clip's `captions` are "tag", "short" and "dense" (see `known_world_captions.caption`). Its `truth`, for
    `n` objects from back to front, in pixels with the frame's top left corner at (0, 0), so that the
    first pixel's centre is at (0.5, 0.5), x to the right and y down:

    - `objects`: per object its `shape`, `colour`, `size` (word), `size_pixels` (the side of its bounding
      box; collisions see a disc of this diameter, with mass in proportion to its area), `direction` and
      `speed` (words, of its first motion), and `region` (where it starts);
    - `positions`: float64 `[n, T, 2]`, the centroid (x, y) by frame;
    - `velocities`: float64 `[n, T, 2]`, pixels per frame, at the frame's instant;
    - `visible`: float64 `[n, T]`, the fraction not behind a nearer object or the occluder;
    - `events`: in order, `{"frame", "kind": "wall", "object", "wall"}`,
      `{"frame", "kind": "collision", "objects": [i, j]}`, `{"frame", "kind": "hide" | "emerge", "object"}`
      (begins, or ceases, to lie in part behind the occluder); `frame` is the first that shows it;
    - `gravity`: pixels per frame squared, downwards; 0.0 for none;
    - `occluder`: `[left, top, right, bottom]`, or None.
    """

    def __init__(self, config: KnownWorldConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return _ENDLESS if self.config.num_clips is None else self.config.num_clips

    def __repr__(self) -> str:
        return f"KnownWorld({self.config})"

    def __getitem__(self, index: int) -> Clip:
        config, index = self.config, operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} is not in this known world of {len(self)} clips")
        scene = draw_scene(config.level, config.seed, index, UNIT * config.width // config.height)
        motion = simulate(scene, _ticks(config))
        video, visible = render(scene, motion, config.height, config.width)
        truth = {**_truth(scene, motion, config), "visible": visible}
        key = f"known_world/{config.level}/{config.seed}/{index}"
        return Clip(video, config.fps, caption(truth), key, truth)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, must be an integer from {low} to {high}: choose one of those")


def _ticks(config: KnownWorldConfig) -> list[int]:
    """The tick that each frame shows: the last one not after the frame's instant."""
    per_frame = TICKS_PER_SECOND / Fraction(config.fps)
    return [k * per_frame.numerator // per_frame.denominator for k in range(config.num_frames)]


def _truth(scene: Scene, motion: Motion, config: KnownWorldConfig) -> dict[str, Any]:
    pixel = config.height / UNIT  # a power of two in the denominator: products with it are exact
    ticks = float(TICKS_PER_SECOND / Fraction(config.fps))
    positions = np.array(motion.centres, np.float64).swapaxes(0, 1) * pixel
    objects = [
        _object(body, start, config) for body, start in zip(scene.bodies, positions[:, 0], strict=True)
    ]
    bar = scene.occluder
    return {
        "objects": objects,
        "positions": positions,
        "velocities": np.array(motion.velocities, np.float64).swapaxes(0, 1) * (pixel * ticks),
        "events": sorted(motion.events + _passages(scene, motion), key=lambda event: event["frame"]),
        "gravity": scene.gravity * pixel * ticks * ticks,
        "occluder": [bar[0] * pixel, 0.0, bar[1] * pixel, float(config.height)] if bar else None,
    }


def _object(body: Body, start: np.ndarray, config: KnownWorldConfig) -> dict[str, Any]:
    return {
        "shape": body.shape,
        "colour": body.colour,
        "size": body.size,
        "size_pixels": 2 * body.half * config.height / UNIT,
        "direction": body.direction,
        "speed": body.speed,
        "region": region(*start.tolist(), config.width, config.height),
    }


def _passages(scene: Scene, motion: Motion) -> list[dict[str, Any]]:
    """When each body begins and ceases to lie behind the occluder."""
    if not scene.occluder:
        return []
    left, right = scene.occluder
    events = []
    for i, body in enumerate(scene.bodies):
        behind = False
        for frame, centres in enumerate(motion.centres):
            now = left - body.half < centres[i][0] < right + body.half
            if now != behind:
                events.append({"frame": frame, "kind": "hide" if now else "emerge", "object": i})
            behind = now
    return events
