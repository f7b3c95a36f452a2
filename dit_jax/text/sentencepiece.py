# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Text to the ids of a `spiece.model`, the file that comes with T5 and UMT5.

Kudo and Richardson 2018, "SentencePiece", arXiv 1808.06226. Needs the package `sentencepiece`, which comes with
the extra `text`.
"""

import functools
import os

import numpy as np
from jaxtyping import Int

PAD = 0


class SentencePieceTokenizer:
    """Ids of a text's pieces, an end mark last, cut and zero-padded to one length. Picklable.

    Args:
      path: of the model.
      max_tokens: ids of a text, the end mark included.

    Raises:
      ImportError: `sentencepiece` is not installed.
      ValueError: the file is no sentencepiece model, or one without padding at 0 and an end mark; or
        `max_tokens` leaves no room for a piece.
    """

    def __init__(self, path: str | os.PathLike, max_tokens: int):
        if max_tokens < 2:
            raise ValueError(f"max_tokens={max_tokens} must be at least 2: a piece and the end mark")
        self._path, self._max_tokens = os.fspath(path), max_tokens
        model = _read(self._path)
        if model.pad_id() != PAD or model.eos_id() < 1:
            raise ValueError(
                f"{self._path}: padding has id {model.pad_id()} and the end mark {model.eos_id()}; T5 has 0 "
                "and 1: give its spiece.model"
            )

    @property
    def vocab_size(self) -> int:
        """Pieces of the model; a T5's embedding has some rows more."""
        return _read(self._path).get_piece_size()

    def pieces(self, text: str) -> list[int]:
        """Ids of the whole text, however long, with the end mark."""
        clean = text.encode(errors="replace").decode()  # half a surrogate pair is no text
        model = _read(self._path)
        return [*model.encode(clean), model.eos_id()]

    def __call__(self, text: str) -> Int[np.ndarray, " L"]:
        """Ids `max_tokens` long; of a longer text the first pieces are kept, and the end mark."""
        *pieces, end = self.pieces(text)
        ids = np.full((self._max_tokens,), PAD, np.int32)
        kept = [*pieces[: self._max_tokens - 1], end]
        ids[: len(kept)] = kept
        return ids


@functools.lru_cache(maxsize=4)
def _read(path: str):
    try:
        import sentencepiece
    except ImportError:
        raise ImportError("T5 and UMT5 need the package sentencepiece: pip install sentencepiece") from None
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is no file: give the spiece.model of the text encoder")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=path)
    except RuntimeError as error:
        raise ValueError(f"{path} is no sentencepiece model: give a spiece.model") from error
