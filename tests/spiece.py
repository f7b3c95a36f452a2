# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A small sentencepiece model, trained on the known world's own captions, with the ids of T5's."""

import io
import pathlib

import pytest

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig


def train_spiece(path: pathlib.Path, vocab_size: int = 120, **ids: int) -> pathlib.Path:
    """Writes a `spiece.model`."""
    sentencepiece = pytest.importorskip("sentencepiece")
    world = KnownWorld(KnownWorldConfig(num_frames=5, height=16, width=16, num_clips=60))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([world[i].captions["dense"] for i in range(60)]),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        minloglevel=2,
        **({"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} | ids),
    )
    path.write_bytes(model.getvalue())
    return path
