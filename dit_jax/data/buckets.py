# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Buckets: a few sizes that stand for all, with batches of one size and about as many tokens each.

Which bucket a clip goes to:

1. An image (one frame) goes to a bucket of images, and a clip of more frames to none of them. A clip goes to
   the longest duration that is not longer than itself; its first frames count.
2. It is never enlarged: a bucket is open to a clip that covers it, `height` and `width` both.
3. Of those, the highest resolution (area), then the shape that crops the least off the clip, which is resized
   to cover the bucket and cropped to the centre.

What fits nowhere is an error or, with `unfit="list"`, left out and listed with its reason.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import logging
from jaxtyping import Int

from dit_jax.data.clip import Clip, ClipSource
from dit_jax.data.clips_io import fitted
from dit_jax.data.plan import Bucketed

Size = tuple[int, int, int]  # frames (of pixels or latents), height, width


@dataclasses.dataclass(frozen=True)
class BucketConfig:
    """Which buckets there are, and how large their batches.

    Attributes:
      tokens_per_batch: of a batch of any bucket; a bucket's batch size is as many clips as that holds.
      batch_multiple: batch sizes are multiples of it: of the hosts, and of the devices that share a batch.
      durations: in frames; 1 is for images.
      resolutions: side of the square of the same area, in pixels.
      aspect_ratios: width:height.
      unfit: what to do with clips that fit no bucket: `error` or `list`.
    """

    tokens_per_batch: int = 32768
    batch_multiple: int = 1
    durations: tuple[int, ...] = (1, 17, 33, 65)
    resolutions: tuple[int, ...] = (128, 256, 512)
    aspect_ratios: tuple[str, ...] = ("16:9", "4:3", "1:1", "3:4", "9:16")
    unfit: str = "error"

    def __post_init__(self):
        for name in ("tokens_per_batch", "batch_multiple"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("durations", "resolutions", "aspect_ratios"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; give one or more")
        if min(*self.durations, *self.resolutions, 1) < 1:
            raise ValueError(
                f"durations {self.durations} and resolutions {self.resolutions} must be 1 or more"
            )
        if self.unfit not in ("error", "list"):
            raise ValueError(f"unfit is {self.unfit!r}; give 'error' or 'list'")
        for ratio in self.aspect_ratios:
            _ratio(ratio)


@dataclasses.dataclass(frozen=True)
class Bucket:
    """One size, and how many clips of it are a batch.

    Attributes:
      size: of pixels or latents.
      resolution: which of a config's it is of; 0 for latents.
      tokens: of a clip.
      batch_size: clips; 0 where one is more than a batch holds, and then the bucket is closed.
    """

    size: Size
    resolution: int
    tokens: int
    batch_size: int


class Fitted:
    """The clips that are in a bucket, at its size: the first frames, covered and cropped to the centre.

    Args:
      source: clips, each at its own size.
      assignment: from `assign` or `own_sizes`, of this source.

    Raises:
      ValueError: the assignment is of another number of clips.
    """

    def __init__(self, source: ClipSource, assignment: "Assignment"):
        if len(source) != len(assignment.bucket_of):
            raise ValueError(
                f"the report is of {len(assignment.bucket_of)} clips and there are {len(source)}: ingest again"
            )
        self._source, self._assignment = source, assignment
        self._kept = np.flatnonzero(assignment.bucket_of >= 0)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Clip:
        number = int(self._kept[range(len(self))[index]])
        clip = self._source[number]
        size = self._assignment.buckets[self._assignment.bucket_of[number]].size
        return dataclasses.replace(clip, video=fitted(clip.video, size, clip.key))


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which clip is in which bucket.

    Attributes:
      buckets: all of them, those with no clip too.
      bucket_of: number of each clip's bucket, or -1.
      unfit: (reason, clips) of those that fit none.
    """

    buckets: tuple[Bucket, ...]
    bucket_of: Int[np.ndarray, " N"]
    unfit: tuple[tuple[str, int], ...] = ()

    def plan(self, batch_multiple: int) -> Bucketed:
        """The plan of their batches."""
        members = [np.flatnonzero(self.bucket_of == number) for number in range(len(self.buckets))]
        sizes = [bucket.batch_size for bucket in self.buckets]
        return Bucketed(members, sizes, len(self.bucket_of), batch_multiple)

    def table(self) -> list[tuple[str, ...]]:
        """What each bucket holds, and what none does: a heading and rows of text."""
        counts = np.bincount(self.bucket_of[self.bucket_of >= 0], minlength=len(self.buckets))
        rows = [("bucket", "clips", "tokens", "batch size", "tokens in a batch")]
        for bucket, count in zip(self.buckets, counts):
            if count:
                numbers = (count, bucket.tokens, bucket.batch_size, bucket.tokens * bucket.batch_size)
                rows.append(("x".join(map(str, bucket.size)), *map(str, numbers)))
        return rows + [(f"left out: {reason}", str(count), "", "", "") for reason, count in self.unfit]


def make_buckets(
    config: BucketConfig, compression: tuple[int, int, int], patch: tuple[int, int, int]
) -> tuple[Bucket, ...]:
    """The buckets of pixels that a config names, those of one size once.

    Args:
      config: which.
      compression: of the autoencoder, in frames, rows and columns; its first frame is a latent of its own.
      patch: of the backbone: latent frames, rows and columns of a token. Sizes are whole numbers of tokens.

    Raises:
      ValueError: a duration is no whole number of tokens.
    """
    cell = tuple(c * p for c, p in zip(compression, patch))
    for frames in config.durations:
        if (frames - 1) % compression[0] or ((frames - 1) // compression[0] + 1) % patch[0]:
            raise ValueError(
                f"a duration of {frames} frames does not suit compression {compression[0]} and patch {patch[0]}"
                " in time: give 1 + k * compression frames, such that k + 1 is a multiple of the patch"
            )
    sizes = {
        (frames, *_picture(resolution, _ratio(ratio), cell)): resolution
        for frames in sorted(config.durations)
        for resolution in sorted(config.resolutions)
        for ratio in config.aspect_ratios
    }
    return _with_batches(sizes, lambda size: _tokens(size, compression, patch), config)


def assign(sizes: Int[np.ndarray, "N 3"], buckets: Sequence[Bucket], unfit: str = "error") -> Assignment:
    """Finds each clip's bucket by the rules above.

    Args:
      sizes: frames, height and width of each clip.
      buckets: from `make_buckets`.
      unfit: see `BucketConfig`.

    Raises:
      ValueError: clips fit no bucket and `unfit` is `error`.
    """
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    found = [_fit(tuple(map(int, size)), buckets) for size in distinct]
    bucket_of = np.array([-1 if isinstance(f, str) else f for f in found], np.int32)[which]
    reasons = collections.Counter(found[kind] for kind in which[bucket_of < 0])
    return _checked(Assignment(tuple(buckets), bucket_of, tuple(reasons.items())), unfit)


def own_sizes(
    sizes: Int[np.ndarray, "N 3"],
    compression: tuple[int, int, int],
    patch: tuple[int, int, int],
    most_tokens: int,
    unfit: str = "error",
) -> Assignment:
    """A bucket for each size of clip, cut to a whole number of tokens: for rows that clips of any size share.

    Args:
      sizes: frames, height and width of each clip.
      compression, patch: see `make_buckets`.
      most_tokens: that a clip may have.
      unfit: see `BucketConfig`.

    Raises:
      ValueError: clips have no whole token or too many, and `unfit` is `error`.
    """
    cell = np.multiply(compression, patch)
    latent_frames = (sizes[:, 0] - 1) // compression[0] + 1
    frames = (latent_frames // patch[0] * patch[0] - 1) * compression[0] + 1
    cut = np.stack([frames, *(sizes[:, 1:] // cell[1:] * cell[1:]).T], axis=1)
    distinct, bucket_of = np.unique(cut, axis=0, return_inverse=True)
    buckets = []
    for size in map(tuple, distinct.tolist()):
        tokens = _tokens(size, compression, patch) if min(size) > 0 else 0
        buckets.append(Bucket(size, 0, tokens, int(0 < tokens <= most_tokens)))
    counts = np.bincount(bucket_of, minlength=len(buckets)).tolist()
    reason = lambda b: f"{b.tokens} tokens, more than {most_tokens}" if b.tokens else "smaller than a token"  # noqa: E731
    unfitting = collections.Counter()
    for bucket, count in zip(buckets, counts):
        if not bucket.batch_size:
            unfitting[reason(bucket)] += count
    kept = np.array([k if bucket.batch_size else -1 for k, bucket in enumerate(buckets)], np.int32)
    return _checked(Assignment(tuple(buckets), kept[bucket_of], tuple(unfitting.items())), unfit)


def bucket_latents(
    shapes: Int[np.ndarray, "N 4"], patch: tuple[int, int, int], config: BucketConfig
) -> Assignment:
    """A bucket for each size [t,h,w] of latents, which are as they were encoded: nothing is cropped.

    Raises:
      ValueError: the patch does not divide some, or a clip is more than a batch holds and `config.unfit` is
        `error`.
    """
    distinct, bucket_of = np.unique(shapes[:, :3], axis=0, return_inverse=True)
    sizes = [tuple(map(int, size)) for size in distinct]
    for size in sizes:
        if any(s % p for s, p in zip(size, patch)):
            raise ValueError(f"patch={patch} does not divide latents of {size}: choose a patch that does")
    resolutions = dict.fromkeys(sizes, 0)
    buckets = _with_batches(resolutions, lambda size: int(np.prod(size) // np.prod(patch)), config)
    counts = np.bincount(bucket_of, minlength=len(buckets)).tolist()
    unfit = [(_too_large(b), count) for b, count in zip(buckets, counts) if not b.batch_size]
    kept = np.array([number if b.batch_size else -1 for number, b in enumerate(buckets)], np.int32)
    return _checked(Assignment(buckets, kept[bucket_of], tuple(unfit)), config.unfit)


def _ratio(text: str) -> float:
    try:
        width, height = map(float, text.split(":"))
        if width > 0 and height > 0:
            return width / height
    except ValueError:
        pass
    raise ValueError(f"aspect_ratios has {text!r}; write width:height, such as '16:9'")


def _picture(resolution: int, ratio: float, cell: Sequence[int]) -> tuple[int, int]:
    """Height and width near an area and a ratio, in whole cells."""
    sides = (resolution * ratio**-0.5, resolution * ratio**0.5)
    return tuple(max(1, round(side / step)) * step for side, step in zip(sides, cell[1:]))


def _tokens(size: Size, compression: Sequence[int], patch: Sequence[int]) -> int:
    (frames, height, width), (ct, ch, cw), (pt, ph, pw) = size, compression, patch
    return ((frames - 1) // ct + 1) // pt * (height // (ch * ph)) * (width // (cw * pw))


def _with_batches(
    sizes: Mapping[Size, int], tokens_of: Callable[[Size], int], config: BucketConfig
) -> tuple[Bucket, ...]:
    buckets = []
    for size, resolution in sizes.items():
        tokens = tokens_of(size)
        batch_size = config.tokens_per_batch // tokens // config.batch_multiple * config.batch_multiple
        buckets.append(Bucket(size, resolution, tokens, batch_size))
    return tuple(buckets)


def _fit(size: Size, buckets: Sequence[Bucket]) -> int | str:
    """The number of a clip's bucket, or why there is none."""
    frames, height, width = size
    if frames == 1:
        durations = {1} & {bucket.size[0] for bucket in buckets}
    else:
        durations = {bucket.size[0] for bucket in buckets if 1 < bucket.size[0] <= frames}
    if not durations:
        return "an image, and no bucket is of images" if frames == 1 else f"{frames} frames, too short"
    fitting = [
        number
        for number, bucket in enumerate(buckets)
        if bucket.size[0] == max(durations) and bucket.size[1] <= height and bucket.size[2] <= width
    ]
    if not fitting:
        name = "an image" if frames == 1 else f"{frames} frames"
        return f"{name} of {height}x{width} pixels, too small"
    highest = max(buckets[number].resolution for number in fitting)
    fitting = [number for number in fitting if buckets[number].resolution == highest]
    best = min(fitting, key=lambda number: _cropped(size, buckets[number].size))
    return best if buckets[best].batch_size else _too_large(buckets[best])


def _too_large(bucket: Bucket) -> str:
    size = "x".join(map(str, bucket.size))
    return f"{size} has {bucket.tokens} tokens, and a batch of them more than tokens_per_batch"


def _cropped(size: Size, bucket: Size) -> float:
    """Share of a picture that is cut off when it is resized to cover a bucket."""
    scale = max(bucket[1] / size[1], bucket[2] / size[2])
    return 1 - bucket[1] * bucket[2] / (size[1] * size[2] * scale**2)


def _checked(assignment: Assignment, unfit: str) -> Assignment:
    if not assignment.unfit:
        return assignment
    count = sum(clips for _, clips in assignment.unfit)
    reasons = "; ".join(f"{clips} x {reason}" for reason, clips in assignment.unfit[:5])
    line = f"{count} of {len(assignment.bucket_of)} clips fit no bucket ({reasons})"
    if unfit == "error":
        raise ValueError(f"{line}: change the buckets, or set buckets.unfit to 'list'")
    logging.warning("%s and are left out", line)
    return assignment
