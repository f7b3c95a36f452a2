# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import pickle

import numpy as np
import pytest

from dit_jax.text.sentencepiece import SentencePieceTokenizer
from tests.spiece import train_spiece

sentencepiece = pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return train_spiece(tmp_path_factory.mktemp("spiece") / "spiece.model")


def test_ids_are_the_models_with_an_end_mark_and_padding(path):
    text = "A red circle moves right."
    expected = sentencepiece.SentencePieceProcessor(model_file=str(path)).encode(text)
    ids = SentencePieceTokenizer(path, 64)(text)
    assert (ids.shape, ids.dtype) == ((64,), np.int32)
    assert len(expected) > 3
    np.testing.assert_array_equal(ids, [*expected, 1, *[0] * (63 - len(expected))])


def test_the_vocabulary_is_laid_out_as_that_of_transformers(path):
    """The ids of the same file read by T5's own tokenizer, on text of its vocabulary and beyond it."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.T5Tokenizer.from_pretrained(path.parent, extra_ids=0)
    ours = SentencePieceTokenizer(path, 64)
    for text in ("a red circle", "Two  blue\nsquares,  still. ", "größer 日本", "", "x"):
        assert ours.pieces(text) == theirs(text)["input_ids"], text


def test_a_long_text_is_cut_and_keeps_its_end_mark(path):
    tokenizer = SentencePieceTokenizer(path, 8)
    text = "a red circle moves right " * 10
    ids, pieces = tokenizer(text), tokenizer.pieces(text)
    assert len(pieces) > 8
    np.testing.assert_array_equal(ids, [*pieces[:7], 1])


def test_the_empty_text_is_an_end_mark(path):
    np.testing.assert_array_equal(SentencePieceTokenizer(path, 4)(""), [1, 0, 0, 0])


ODD = ["x" * 10**6, " " * 10**6, "日本語🎬" * 50, "\x00\n$(id)../", "a\ud800b", "</s><pad>"]


@pytest.mark.parametrize("text", ODD)
def test_any_text_becomes_ids_of_one_length(path, text):
    tokenizer = SentencePieceTokenizer(path, 16)
    ids = tokenizer(text)
    assert ids.shape == (16,)
    assert 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
    assert (ids == 1).sum() == 1  # words such as </s> in a prompt are words
    assert (ids[np.argmax(ids == 1) + 1 :] == 0).all()


def test_it_can_be_sent_to_a_worker(path):
    tokenizer = SentencePieceTokenizer(path, 16)
    sent = pickle.dumps(tokenizer)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)("a red circle"), tokenizer("a red circle"))


def test_what_is_no_model_is_named(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.model is no file"):
        SentencePieceTokenizer(tmp_path / "none.model", 16)
    (tmp_path / "text.model").write_text("not a model")
    with pytest.raises(ValueError, match=r"text\.model is no sentencepiece model"):
        SentencePieceTokenizer(tmp_path / "text.model", 16)
    with pytest.raises(ValueError, match="max_tokens=1 must be at least 2"):
        SentencePieceTokenizer(path, 1)
    other = train_spiece(tmp_path / "other.model", pad_id=-1, eos_id=2, unk_id=0, bos_id=1)
    with pytest.raises(ValueError, match=r"padding has id -1 and the end mark 2"):
        SentencePieceTokenizer(other, 16)
