# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What puts a clip into words, and a short prompt into a dense one; and the exact one of the known world.

Models trained on dense synthetic captions follow text better, and then want dense prompts: both sides of
that are one interface (Betker et al. 2023, "Improving Image Generation with Better Captions").
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from dit_jax.data.clip import Clip
from dit_jax.data.known_world import KnownWorldConfig
from dit_jax.data.known_world_captions import caption
from dit_jax.data.known_world_prompts import PromptError, densify


class CaptionError(ValueError):
    """This clip or prompt could not be put into words; others may be."""


@runtime_checkable
class Captioner(Protocol):
    """Dense captions of clips, and dense prompts from short ones.

    Attributes:
      source: what a caption came from, as text by name: `captioner`, and whatever else decides what it says,
        such as a model's name and the digest of its prompt. Never a secret.
      concurrency: calls that may be made at the same time, from threads of their own.
    """

    source: Mapping[str, str]
    concurrency: int

    def describe(self, clip: Clip) -> str:
        """A dense caption of a clip, in one line.

        Raises:
          CaptionError: none could be had of this clip.
          ValueError: none can be had of any, for a reason that the user can mend.
        """
        ...

    def upsample(self, prompt: str, seed: int = 0) -> str:
        """A dense prompt that says what `prompt` says; `seed` decides what that leaves open.

        Raises:
          CaptionError: none could be had of this prompt.
          ValueError: none can be had of any, for a reason that the user can mend.
        """
        ...


class KnownWorldCaptioner:
    """Exact captions, from the truth of a known world's clips.

    Args:
      config: of the world, in whose words prompts are made dense.
    """

    concurrency = 1  # it computes: more threads would not be faster

    def __init__(self, config: KnownWorldConfig):
        self.source = {"captioner": "known_world"}
        self._config = config

    def describe(self, clip: Clip) -> str:
        if clip.truth is None:
            raise ValueError(
                f"{clip.key} is no clip of a known world: set config.recaption.captioner=endpoint"
            )
        return caption(clip.truth)["dense"]

    def upsample(self, prompt: str, seed: int = 0) -> str:
        """See `known_world_prompts.densify`."""
        try:
            return densify(prompt, self._config, seed)
        except PromptError as error:
            raise CaptionError(str(error)) from None
