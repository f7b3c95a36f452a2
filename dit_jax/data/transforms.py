# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From what a source yields (a clip, or stored latents) to the arrays a training step takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Float

from dit_jax.data.captions import LEVELS, caption_at
from dit_jax.data.clip import Clip
from dit_jax.data.quality import motion

# What a clip is told to have besides its text, by name; latents have it stored.
MICRO = {"fps": lambda clip: clip.fps, "motion": lambda clip: motion(clip.video)}

ReadText = Callable[[Clip | Mapping[str, Any], str], Mapping[str, np.ndarray]]


class ToElement(grain.transforms.RandomMap):
    """Clip or latents to a dict of arrays: `video` uint8 [T,H,W,3] or `latents` float32 [t,h,w,c], and what
    `read_text` makes of the caption.

    The caption's level is drawn with the generator that Grain seeds from (seed, index), so it does not
    depend on the number of hosts, workers or threads.

    Args:
      caption_weights: how often each level is drawn, up to a factor; `{"dense": 1.0}` for always dense.
      read_text: of a clip or latents and a level, arrays of one shape for every text; picklable.
      micro: names in `MICRO` of numbers to add.

    Raises:
      ValueError: for an unknown level, a negative weight, or weights that are all zero.
    """

    def __init__(self, caption_weights: Mapping[str, float], read_text: ReadText, micro: Sequence[str] = ()):
        self._levels = drawn_levels(caption_weights)
        weights = [caption_weights[level] for level in self._levels]
        self._upper = np.cumsum(weights) / sum(weights)
        self._read_text, self._micro = read_text, tuple(micro)

    def random_map(
        self, element: Clip | Mapping[str, Any], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        is_clip = isinstance(element, Clip)
        arrays = {"video": element.video} if is_clip else {"latents": element["latents"]}
        micro = {name: np.float32(_micro(element, name)) for name in self._micro}
        return arrays | micro | self._read_text(element, self._level(rng))

    def _level(self, rng: np.random.Generator) -> str:
        return self._levels[int(np.searchsorted(self._upper, rng.random(), side="right"))]


def _micro(element: Clip | Mapping[str, Any], name: str) -> float:
    if isinstance(element, Clip):
        return MICRO[name](element)
    if name not in element:
        raise ValueError(
            f"the latents of {element['key']} were stored without {name!r}, which the backbone reads: encode the "
            f"clips again, or take {name!r} out of config.backbone.micro"
        )
    return element[name]


class Tokenized:
    """Reads `text_ids`, int32 [L].

    Args:
      tokenize: text to ids [L], of one length for every text; picklable.
    """

    def __init__(self, tokenize: Callable[[str], np.ndarray]):
        self._tokenize = tokenize

    def __call__(self, element: Clip | Mapping[str, Any], level: str) -> dict[str, np.ndarray]:
        captions = element.captions if isinstance(element, Clip) else element["captions"]
        return {"text_ids": np.asarray(self._tokenize(caption_at(captions, level)), np.int32)}


class Stored:
    """Reads the text tokens that latents were stored with, see `padded_text`.

    Args:
      num_tokens: of a prompt, with padding.
    """

    def __init__(self, num_tokens: int):
        self._num_tokens = num_tokens

    def __call__(self, element: Mapping[str, Any], level: str) -> dict[str, np.ndarray]:
        return padded_text(element["text"][level], self._num_tokens)


def no_text(element: Clip | Mapping[str, Any], level: str) -> dict[str, np.ndarray]:
    """Reads nothing, for what is trained without text."""
    return {}


def padded_text(tokens: Float[np.ndarray, "n E"], num_tokens: int) -> dict[str, np.ndarray]:
    """A prompt's tokens as `text_tokens` float32 [M, E], zero after the last, and `text_mask` [M]."""
    padded = np.zeros((num_tokens, tokens.shape[1]), np.float32)
    padded[: len(tokens)] = tokens
    return {"text_tokens": padded, "text_mask": np.arange(num_tokens) < len(tokens)}


def drawn_levels(caption_weights: Mapping[str, float]) -> tuple[str, ...]:
    """The levels with a weight.

    Raises:
      ValueError: for an unknown level, a negative weight, or weights that are all zero.
    """
    _check_weights(caption_weights)
    return tuple(level for level, weight in caption_weights.items() if weight > 0)


class Cut(grain.transforms.RandomMap):
    """A clip's frames and pixels, of another transform's `video`, at a place drawn anew each time.

    Args:
      transform: gives a dict with `video`, uint8 [T,H,W,C].
      num_frames: to keep, one after the other; 0 keeps all.
      side: pixels of the square to keep; 0 keeps whole frames.
    """

    def __init__(self, transform: grain.transforms.RandomMap, num_frames: int, side: int):
        self._transform, self._sizes = transform, (num_frames, side, side)

    def random_map(self, element: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
        arrays = self._transform.random_map(element, rng)
        video = arrays["video"]
        if any(size > whole for size, whole in zip(self._sizes, video.shape)):
            raise ValueError(
                f"a stage's cut of (num_frames, side, side) = {self._sizes} does not fit into clips of "
                f"{video.shape[:3]}: make it smaller"
            )
        sizes = [size or whole for size, whole in zip(self._sizes, video.shape)]
        starts = rng.integers(0, np.subtract(video.shape[:3], sizes), endpoint=True)
        return arrays | {"video": video[tuple(slice(a, a + size) for a, size in zip(starts, sizes))]}


def _check_weights(weights: Mapping[str, float]) -> None:
    if unknown := sorted(set(weights) - set(LEVELS)):
        raise ValueError(f"caption_weights has level {unknown[0]!r}; the levels are {', '.join(LEVELS)}")
    if not weights or min(weights.values()) < 0 or not 0 < sum(weights.values()) < np.inf:
        raise ValueError(f"caption_weights is {dict(weights)}; give weights >= 0 with at least one above 0")
