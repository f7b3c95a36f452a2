# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From prompts to what conditions a network: bytes, whose encoder is trained with it, or the tokens of a
published encoder, which are stored beside the latents."""

import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from dit_jax.data.transforms import ReadText, Stored, Tokenized, padded_text
from dit_jax.interop.safetensors import weight_files
from dit_jax.interop.t5 import load_t5, read_t5_config
from dit_jax.sections import construct, nearest
from dit_jax.text.byte import ByteTextConfig, encode_bytes
from dit_jax.text.frozen import FrozenTextConfig
from dit_jax.text.sentencepiece import PAD, SentencePieceTokenizer
from dit_jax.text.t5 import T5Config, T5Encoder

BYTE, FROZEN = "byte", ("t5", "umt5")
LEAST_LENGTH = 16  # that ids are padded to, for few compiles

Arrays = dict[str, np.ndarray]


class ByteText:
    """Prompts as bytes."""

    def __init__(self, config: ByteTextConfig):
        self.config, self.num_tokens = config, config.num_tokens
        self._tokenize = functools.partial(encode_bytes, max_bytes=config.max_bytes)

    @property
    def reader(self) -> ReadText:
        """What a loader reads of a clip or of latents."""
        return Tokenized(self._tokenize)

    def __call__(self, prompts: Sequence[str]) -> Arrays:
        """`text_ids` int32 [B, L] of prompts."""
        return {"text_ids": np.stack([self._tokenize(prompt) for prompt in prompts])}

    def excess(self, prompt: str) -> int:
        """Bytes of a prompt that are cut off."""
        return max(0, len(prompt.encode(errors="replace")) - self.config.max_bytes + 1)


class FrozenText:
    """Prompts as the text tokens of a T5 v1.1 or UMT5, whose weights are read when they are first needed.

    Args:
      name: `t5` or `umt5`.
      config: which.
    """

    def __init__(self, name: str, config: FrozenTextConfig):
        self.name, self.config, self.num_tokens = name, config, config.num_tokens

    @property
    def reader(self) -> ReadText:
        """What a loader reads of latents."""
        return Stored(self.num_tokens)

    def __call__(self, prompts: Sequence[str]) -> Arrays:
        """`text_tokens` float32 [B, M, E] and `text_mask` [B, M] of prompts.

        Raises:
          FileNotFoundError: the weights or the tokenizer are not there.
          ValueError: they are not those of such an encoder, or of each other.
        """
        rows = [padded_text(tokens, self.num_tokens) for tokens in self.tokens(prompts)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def tokens(self, prompts: Sequence[str]) -> list[Float[np.ndarray, "_ E"]]:
        """Text tokens of each prompt, float16, without padding; see `__call__`."""
        ids = np.stack([self._tokenizer(prompt) for prompt in prompts])
        lengths = (ids != PAD).sum(1)
        room = min(max(LEAST_LENGTH, 1 << (int(lengths.max()) - 1).bit_length()), self.num_tokens)
        ids = ids[:, :room]
        tokens = np.asarray(_run(self._model, ids, ids != PAD))
        return [row[:length].astype(np.float16) for row, length in zip(tokens, lengths)]

    def excess(self, prompt: str) -> int:
        """Pieces of a prompt that are cut off."""
        return max(0, len(self._tokenizer.pieces(prompt)) - self.num_tokens)

    def identity(self, levels: Sequence[str]) -> dict[str, Any]:
        """What the stored tokens of captions of some levels depend on, as JSON."""
        return self._settings | {"levels": list(levels)} | self._digests()

    def check_stored(self, metadata: Mapping[str, Any], levels: Sequence[str], where: Any) -> None:
        """Compares with what latents were encoded with; digests only where files are named.

        Raises:
          ValueError: their text tokens are others, or none, or not of all levels.
        """
        stored, again = metadata.get("text"), "encode the clips again, or set what they were encoded with"
        if not stored:
            raise ValueError(
                f"config.text.name={self.name!r}, and {where} was encoded without: encode the clips with it"
            )
        named = self.config.weights or self.config.tokenizer
        for key, mine in (self._settings | (self._digests() if named else {})).items():
            if stored[key] != mine:
                raise ValueError(
                    f"{where} was encoded with a text encoder of {key} {stored[key]}, not {mine}: {again}"
                )
        if missing := sorted(set(levels) - set(stored["levels"])):
            raise ValueError(
                f"config.data.caption_weights draws level {missing[0]!r}, and {where} was encoded with "
                f"{', '.join(stored['levels'])}: {again}"
            )

    @property
    def _settings(self) -> dict[str, Any]:
        return {"name": self.name, "num_tokens": self.num_tokens, "dtype": self.config.dtype}

    def _digests(self) -> dict[str, str]:
        self._check_named()
        files = weight_files(self.config.weights)
        weights = hashlib.sha256("".join(map(_digest, files)).encode()).hexdigest()
        return {"weights_sha256": weights, "tokenizer_sha256": _digest(pathlib.Path(self.config.tokenizer))}

    @functools.cached_property
    def _tokenizer(self) -> SentencePieceTokenizer:
        self._check_named()
        try:
            return SentencePieceTokenizer(self.config.tokenizer, self.num_tokens)
        except ImportError as error:  # which is the user's to mend
            raise ValueError(str(error)) from error

    @property
    def _model(self) -> T5Encoder:
        sizes = read_t5_config(self.config.weights, self.config.dtype)
        self._check_sizes(sizes)
        return _load(self.config.weights, self.config.dtype)

    def _check_named(self) -> None:
        for key in ("weights", "tokenizer"):
            if not getattr(self.config, key):
                raise ValueError(
                    f"config.text.name={self.name!r} needs config.frozen_text.{key}: name the file"
                )

    def _check_sizes(self, sizes: T5Config) -> None:
        held = FROZEN[sizes.per_layer_bias]
        if held != self.name:
            raise ValueError(f"{self.config.weights} holds a {held}: set config.text.name={held!r}")
        if self._tokenizer.vocab_size > sizes.vocab_size:
            raise ValueError(
                f"{self.config.tokenizer} has {self._tokenizer.vocab_size} pieces and {self.config.weights} "
                f"embeds {sizes.vocab_size}: give the tokenizer that came with the weights"
            )


def text(config: ConfigDict) -> ByteText | FrozenText:
    """What `config.text.name` names.

    Raises:
      ValueError: an unknown name, or a section that is not valid.
    """
    values = config.text.to_dict()
    name = values.pop("name", BYTE)
    if name not in (BYTE, *FROZEN):
        raise ValueError(f"config.text.name={name!r} is unknown; {nearest(name, [BYTE, *FROZEN])}")
    if name == BYTE:
        return ByteText(construct(ByteTextConfig, values, "text"))
    settings = construct(FrozenTextConfig, config.get("frozen_text", {}), "frozen_text")
    return FrozenText(name, settings)


@functools.lru_cache(maxsize=1)
def _load(weights: str, dtype: str) -> T5Encoder:
    return load_t5(weights, dtype)


@jax.jit
def _run(model: T5Encoder, ids: jax.Array, mask: jax.Array) -> jax.Array:
    return model(ids, mask)


def _digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, computed once in this process unless it changes."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: see config.frozen_text")
    status = os.stat(path)
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_of(path: pathlib.Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
