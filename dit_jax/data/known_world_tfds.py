# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The known world as a TFDS data set, readable and writable without TensorFlow.

Importing this module registers it:

    import dit_jax.data.known_world_tfds
    builder = tfds.builder("known_world/level0", data_dir=...)
    builder.download_and_prepare()
    source = builder.as_data_source(split="train")
    clip = to_clip(source[0])

For a world of another size, pass a config: `tfds.builder("known_world", config=KnownWorldTfdsConfig(...))`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from dit_jax.data.clip import Clip
from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.known_world_scene import LEVELS, MAX_OBJECTS

_VALIDATION_SEEDS = 1 << 62  # added to the seed: no clip of training is drawn again, whatever its seed
_WORDS = ("shape", "colour", "size", "direction", "speed", "region")


@dataclasses.dataclass(eq=False, kw_only=True)
class KnownWorldTfdsConfig(tfds.core.BuilderConfig):
    """A known world of fixed length.

    Attributes:
      world: the clips; its `num_clips` is not used, and its seed must be below 2^62.
      num_train, num_validation: clips of each split.
    """

    world: KnownWorldConfig = dataclasses.field(default_factory=KnownWorldConfig)
    num_train: int = 10_000
    num_validation: int = 1_000

    def __post_init__(self) -> None:
        if self.world.seed >= _VALIDATION_SEEDS:
            raise ValueError(f"seed is {self.world.seed}, must be below 2^62 here: choose a smaller one")

    def split(self, name: str) -> KnownWorld:
        """The source of which a split, "train" or "validation", is a copy."""
        seed, count = {
            "train": (self.world.seed, self.num_train),
            "validation": (self.world.seed + _VALIDATION_SEEDS, self.num_validation),
        }[name]
        return KnownWorld(dataclasses.replace(self.world, seed=seed, num_clips=count))


class KnownWorldBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes a known world; configs `level0` to `level4` are 9 frames of 32 x 32 at 8 per second."""

    name = "known_world"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 - TFDS's own form
        KnownWorldTfdsConfig(
            name=f"level{level}",
            description=f"The known world at level {level}.",
            world=KnownWorldConfig(level=level),
        )
        for level in range(len(LEVELS))
    ]

    def __init__(self, *, file_format: str = "array_record", **kwargs: Any) -> None:
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Coloured shapes under simple physics, with exact captions and truth.",
            features=_features(self.builder_config.world),
            disable_shuffling=True,  # clip i of the source is example i
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {name: self._generate_examples(name) for name in ("train", "validation")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        source = self.builder_config.split(split)
        for index in range(len(source)):
            yield index, _to_example(source[index])


def to_clip(example: Mapping[str, Any]) -> Clip:
    """The clip of which an example, as read by `as_data_source`, is a copy."""
    truth, objects = example["truth"], example["objects"]
    count = len(objects["shape"])
    captions = {level: text.decode() for level, text in example["captions"].items()}
    return Clip(
        video=example["video"],
        fps=float(example["fps"]),
        captions=captions,
        key=example["key"].decode(),
        truth={
            "objects": [_to_object(objects, i) for i in range(count)],
            **{name: truth[name][:count] for name in ("positions", "velocities", "visible")},
            "events": [_to_event(example["events"], i) for i in range(len(example["events"]["frame"]))],
            "gravity": float(truth["gravity"]),
            "occluder": truth["occluder"].tolist() if truth["occluder"].any() else None,
        },
    )


def _features(world: KnownWorldConfig) -> tfds.features.FeaturesDict:
    def tensor(*shape: int, dtype: Any = np.float64) -> tfds.features.Tensor:
        # The default encoding stores a list of numbers: several times slower to read, and floats lose half.
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    frames, text = world.num_frames, tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "video": tensor(frames, world.height, world.width, 3, dtype=np.uint8),
            "fps": tensor(),
            "captions": {"tag": text(), "short": text(), "dense": text()},
            "key": text(),
            "objects": tfds.features.Sequence({**{word: text() for word in _WORDS}, "size_pixels": tensor()}),
            "events": tfds.features.Sequence(
                {
                    "frame": tfds.features.Scalar(np.int64),
                    "kind": text(),
                    "object": tfds.features.Scalar(np.int64),
                    "other": tfds.features.Scalar(np.int64),  # -1 but in a collision
                    "wall": text(),  # empty but at a wall
                }
            ),
            "truth": {  # objects beyond the clip's are zero
                "positions": tensor(MAX_OBJECTS, frames, 2),
                "velocities": tensor(MAX_OBJECTS, frames, 2),
                "visible": tensor(MAX_OBJECTS, frames),
                "gravity": tensor(),
                "occluder": tensor(4),  # zero for none
            },
        }
    )


def _to_example(clip: Clip) -> dict[str, Any]:
    truth = clip.truth
    return {
        "video": clip.video,
        "fps": clip.fps,
        "captions": dict(clip.captions),
        "key": clip.key,
        "objects": truth["objects"],
        "events": [_from_event(event) for event in truth["events"]],
        "truth": {
            **{name: _padded(truth[name]) for name in ("positions", "velocities", "visible")},
            "gravity": truth["gravity"],
            "occluder": np.array(truth["occluder"] or [0.0] * 4),
        },
    }


def _padded(values: np.ndarray) -> np.ndarray:
    out = np.zeros((MAX_OBJECTS, *values.shape[1:]), values.dtype)
    out[: len(values)] = values
    return out


def _from_event(event: Mapping[str, Any]) -> dict[str, Any]:
    first, other = event["objects"] if event["kind"] == "collision" else (event["object"], -1)
    return {
        "frame": event["frame"],
        "kind": event["kind"],
        "object": first,
        "other": other,
        "wall": event.get("wall", ""),
    }


def _to_event(events: Mapping[str, Any], i: int) -> dict[str, Any]:
    kind, body = events["kind"][i].decode(), int(events["object"][i])
    event = {"frame": int(events["frame"][i]), "kind": kind}
    if kind == "collision":
        return {**event, "objects": [body, int(events["other"][i])]}
    wall = {"wall": events["wall"][i].decode()} if kind == "wall" else {}
    return {**event, "object": body, **wall}


def _to_object(objects: Mapping[str, Any], i: int) -> dict[str, Any]:
    words = {word: objects[word][i].decode() for word in _WORDS}
    return {**words, "size_pixels": float(objects["size_pixels"][i])}
