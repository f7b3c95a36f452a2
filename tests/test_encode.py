# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The latents stage: latents and the tokens of a frozen text encoder, whoever shares the work."""

import dataclasses
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import known_world
from dit_jax import build, encode, prompts
from dit_jax.data.captions import caption_at
from dit_jax.data.latents_io import LatentsSource, latents_source, write_latents
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.generate import load
from dit_jax.interop.t5 import export_t5
from dit_jax.run import run
from dit_jax.text.sentencepiece import SentencePieceTokenizer
from dit_jax.text.t5 import T5Config, T5Encoder
from tests.randomise import randomise
from tests.spiece import train_spiece

SIZES = T5Config(vocab_size=140, width=24, depth=2, num_heads=3, head_dim=8, mlp_width=32)
KINDS = {"t5": SIZES, "umt5": dataclasses.replace(SIZES, per_layer_bias=True)}
NUM_TOKENS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tokenizer, and small weights of both kinds."""
    folder = tmp_path_factory.mktemp("text")
    train_spiece(folder / "spiece.model")
    for name, sizes in KINDS.items():
        export_t5(
            folder / f"{name}.safetensors", randomise(lambda sizes=sizes: T5Encoder(sizes, rngs=nnx.Rngs(0)))
        )
    return folder


def config(files, name="t5", num_clips=70, **weights):
    made = known_world.get_config()
    made.data.update(num_clips=num_clips, num_frames=5, height=16, width=16)
    made.data.caption_weights.update(weights or {"dense": 0.9, "short": 0.1})
    made.evaluate.num_clips = 6
    made.loader.batch_size = 4
    made.text.name = name
    paths = dict(weights=str(files / f"{name}.safetensors"), tokenizer=str(files / "spiece.model"))
    made.frozen_text.update(num_tokens=NUM_TOKENS, dtype="float32", **paths)
    made.backbone.text_width = SIZES.width
    return made


def of_latents(made):
    """The config of a run on those latents."""
    made.data.update(source="latents", path="latents")
    return made


@pytest.fixture(scope="module")
def small_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "PART", 20)
        yield


@pytest.fixture(scope="module")
def encoded(files, tmp_path_factory, small_parts):
    folder = tmp_path_factory.mktemp("encoded")
    encode.encode(config(files), folder)
    return folder


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_text_is_stored_without_padding_for_every_level_that_is_trained(files, encoded):
    """Beside the latents lies what the encoder says of each caption by itself."""
    source, made = latents_source(encoded / "latents/train"), config(files)
    clips, text = build.clip_source(made, "train"), prompts.text(made)
    tokenizer = SentencePieceTokenizer(files / "spiece.model", NUM_TOKENS)
    assert len(source) == len(clips) == 70
    for index in (0, 33, 69):
        element, clip = source[index], clips[index]
        assert set(element["text"]) == {"dense", "short"}
        for level, tokens in element["text"].items():
            caption = caption_at(clip.captions, level)
            assert tokens.shape == (min(len(tokenizer.pieces(caption)), NUM_TOKENS), SIZES.width)
            assert tokens.dtype == np.float16
            alone = text([caption])
            padded = np.zeros((NUM_TOKENS, SIZES.width))
            padded[: len(tokens)] = tokens
            np.testing.assert_allclose(alone["text_tokens"][0], padded, rtol=2e-3, atol=2e-3)
            assert alone["text_mask"][0].sum() == len(tokens)


@pytest.mark.parametrize("num_processes", [2, 4])
def test_any_number_of_hosts_writes_the_same_bits(files, encoded, tmp_path, monkeypatch, num_processes):
    """One after the other, the last first; and with one interrupted in the middle of a part."""
    made, written = config(files), []

    def killer(path, elements, *rest, **more):
        if written:
            next(iter(elements))
            raise KeyboardInterrupt
        written.append(path)
        return write_latents(path, elements, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(encode, "write_latents", killer)
        with pytest.raises(KeyboardInterrupt):
            encode.encode_watched(made, tmp_path, 0, num_processes)
    assert len(written) == 1
    for process in reversed(range(num_processes)):
        encode.encode_watched(made, tmp_path, process, num_processes)
    assert contents(tmp_path) == contents(encoded)
    encode.encode(made, tmp_path)  # and nothing is left to do
    assert contents(tmp_path) == contents(encoded)


@pytest.mark.slow
def test_processes_at_the_same_time_write_the_same_bits(files, tmp_path, monkeypatch):
    """By the command: one takes the training clips and the other those that are held out."""
    monkeypatch.setattr(encode, "PART", 1024)
    made = config(files, num_clips=24)
    encode.encode(made, tmp_path / "alone")
    data, text = (
        ("num_clips", "num_frames", "height", "width"),
        ("weights", "tokenizer", "num_tokens", "dtype"),
    )
    flags = [f"--config.data.{key}={made.data[key]}" for key in data]
    flags += [f"--config.frozen_text.{key}={made.frozen_text[key]}" for key in text]
    flags += ["--config.data.caption_weights.dense=0.9", "--config.data.caption_weights.short=0.1"]
    flags += ["--config.text.name=t5", "--config.evaluate.num_clips=6", f"--workdir={tmp_path / 'shared'}"]
    command = [sys.executable, "-m", "experiments.encode", "--num_processes=2", *flags]
    both = [subprocess.Popen([*command, f"--process={k}"], env=os.environ) for k in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


@pytest.mark.parametrize("layout", ["fixed", "buckets", "packed"])
def test_the_loader_gives_tokens_and_their_mask(files, encoded, layout):
    made = of_latents(config(files))
    made.loader.layout, made.packing.row_tokens, made.packing.max_segments = layout, 20, 4
    made.buckets.tokens_per_batch = 32
    source = build.latents_source(build.latents_folder(made, encoded, "train"))
    batches = build.loader(made, source, seed=0)
    batch = next(batches)
    batches.close()
    lead = {"fixed": (4,), "buckets": (4,), "packed": (4, 4)}[layout]
    assert batch["text_tokens"].shape == (*lead, NUM_TOKENS, SIZES.width)
    assert batch["text_mask"].shape == (*lead, NUM_TOKENS)
    assert (batch["text_tokens"].dtype, batch["text_mask"].dtype) == (np.float32, bool)
    assert "text_ids" not in batch
    assert batch["text_mask"][..., 0].all()
    assert not batch["text_tokens"][~batch["text_mask"]].any()
    stored = {
        source[i]["text"][level].astype(np.float32).tobytes()
        for i in range(70)
        for level in ("dense", "short")
    }
    rows = zip(
        batch["text_tokens"].reshape(-1, NUM_TOKENS, SIZES.width), batch["text_mask"].reshape(-1, NUM_TOKENS)
    )
    assert {tokens[mask].tobytes() for tokens, mask in rows} <= stored


def test_the_empty_prompt_is_what_the_encoder_says_of_it(files, encoded):
    null = build.null_text(of_latents(config(files)), encoded)
    again = build.null_text(config(files))
    assert set(null) == set(again) == {"text_tokens", "text_mask"}
    assert null["text_tokens"].shape == (1, NUM_TOKENS, SIZES.width)
    assert null["text_mask"].sum() == 1  # the end mark
    for name in null:
        np.testing.assert_array_equal(null[name], again[name])
    made = of_latents(config(files))
    made.backbone.text_width = 32
    with pytest.raises(ValueError, match=r"text_width=32 differs from the 24 of the t5"):
        build.null_text(made, encoded)
    assert build.null_text(known_world.get_config())["text_ids"].shape == (1, 96)


def test_prompts_condition_as_stored_captions_do(files, encoded):
    made = config(files)
    source = latents_source(encoded / "latents/train")
    captions = [source[i]["captions"]["dense"] for i in range(3)]
    given = build.encode_prompts(made)([*captions, ""])
    for k in range(3):
        stored = source[k]["text"]["dense"]
        np.testing.assert_allclose(given["text_tokens"][k, : len(stored)], stored, rtol=2e-3, atol=2e-3)
        assert given["text_mask"][k].sum() == len(stored)
    np.testing.assert_array_equal(given["text_tokens"][3], build.null_text(made)["text_tokens"][0])


def test_training_needs_no_weights_and_refuses_other_text(files, encoded, tmp_path):
    made = of_latents(config(files))
    build.latent_shape(made, encoded)
    made.frozen_text.update(weights="", tokenizer="")
    build.latent_shape(made, encoded)
    build.null_text(made, encoded)
    made.frozen_text.num_tokens = 30
    with pytest.raises(ValueError, match=r"text encoder of num_tokens 40, not 30"):
        build.latent_shape(made, encoded)
    made = of_latents(config(files, dense=0.5, tag=0.5))
    with pytest.raises(ValueError, match=r"draws level 'tag', and latents was encoded with dense, short"):
        build.latent_shape(made, encoded)
    with pytest.raises(ValueError, match=r"text encoder of name t5, not umt5"):
        build.latent_shape(of_latents(config(files, "umt5")), encoded)
    made = of_latents(config(files))
    made.frozen_text.weights = str(tmp_path / "t5.safetensors")
    export_t5(made.frozen_text.weights, randomise(lambda: T5Encoder(SIZES, rngs=nnx.Rngs(0)), seed=1))
    with pytest.raises(ValueError, match=r"text encoder of weights_sha256 \w+, not"):
        build.latent_shape(made, encoded)
    made.data.update(source="known_world", path="")
    with pytest.raises(ValueError, match="was encoded with another text"):
        encode.encode_part(made, encoded, "validation", 0)


def test_latents_without_text_are_refused_for_training_with_it(files, tmp_path):
    made = config(files, num_clips=8)
    made.text.name = "byte"
    made.evaluate.num_clips = 2
    encode.encode(made, tmp_path)
    assert not list(tmp_path.rglob("null_text.npy"))
    made.text.name = "t5"
    with pytest.raises(ValueError, match=r"name='t5', and latents was encoded without: encode the clips"):
        build.latent_shape(of_latents(made), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(weights=""), r"name='t5' needs config\.frozen_text\.weights"),
        (dict(tokenizer=""), r"name='t5' needs config\.frozen_text\.tokenizer"),
        (dict(num_tokens=1), "num_tokens=1 must be at least 2"),
        (dict(dtype="float8"), "dtype='float8' is not one of"),
        (dict(weights="umt5.safetensors"), r"holds a umt5: set config\.text\.name='umt5'"),
        (dict(weights="few.safetensors"), "pieces and .* embeds 50: give the tokenizer that came"),
    ],
)
def test_mistakes_are_named(files, tmp_path, changes, message):
    small = dataclasses.replace(SIZES, vocab_size=50)
    export_t5(tmp_path / "few.safetensors", T5Encoder(small, rngs=nnx.Rngs(0)))
    shutil.copy(files / "umt5.safetensors", tmp_path)
    made = config(files, num_clips=8)
    if changes.get("weights"):
        changes = dict(weights=str(tmp_path / changes["weights"]))
    made.frozen_text.update(changes)
    with pytest.raises(ValueError, match=message):
        encode.encode(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_encoder_and_endless_clips(files):
    made = config(files)
    made.text.name = "t6"
    with pytest.raises(ValueError, match=r"config\.text\.name='t6' is unknown; did you mean 't5'"):
        build.check(made, (2, 2, 2, 16))
    with pytest.raises(ValueError, match="makes clips for ever, whose captions no t5"):
        build.check(config(files, num_clips=0), (2, 2, 2, 16))


def test_umt5_is_read_as_such(files, tmp_path):
    made = config(files, "umt5", num_clips=8)
    made.evaluate.num_clips = 2
    encode.encode(made, tmp_path)
    metadata = LatentsSource(tmp_path / "latents/train/00000-of-00001").metadata
    assert metadata["text"]["name"] == "umt5"
    assert set(metadata["text"]) == {
        *("name", "num_tokens", "dtype", "levels", "weights_sha256", "tokenizer_sha256")
    }


def test_held_out_clips_are_read_whole(files, encoded):
    made = of_latents(config(files))
    source = build.latents_source(build.latents_folder(made, encoded, "validation"))
    (arrays,) = build.held_out(made, source)
    assert {name: array.shape for name, array in arrays.items()} == {
        "latents": (6, 2, 2, 2, 16),
        "text_tokens": (6, NUM_TOKENS, SIZES.width),
        "text_mask": (6, NUM_TOKENS),
    }
    tokens = source[5]["text"]["dense"]  # the level that is trained on most
    np.testing.assert_array_equal(arrays["text_tokens"][5][arrays["text_mask"][5]], tokens)


def test_a_network_reads_the_tokens_and_not_the_padding(files, encoded):
    made = of_latents(config(files, short=0.6, dense=0.4))
    made.backbone.update(width=16, depth=1, num_heads=1, unroll=1)
    source = build.latents_source(build.latents_folder(made, encoded, "validation"))
    (arrays,) = build.held_out(made, source)
    arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
    latents, mask = arrays.pop("latents"), arrays["text_mask"]
    assert not mask.all()
    model = randomise(lambda: build.denoiser(made)(nnx.Rngs(0)))
    predict = jax.jit(lambda tokens: model(latents, jnp.full(6, 0.5), {**arrays, "text_tokens": tokens}))
    expected, tokens = predict(arrays["text_tokens"]), arrays["text_tokens"]
    np.testing.assert_array_equal(predict(jnp.where(mask[..., None], tokens, 7.0)), expected)
    assert (predict(tokens + 1.0) != expected).any()


def test_a_run_trains_is_validated_and_draws_on_stored_text(files, encoded, tmp_path):
    """From stored tokens to a checkpoint that prompts reach through the same encoder."""
    (tmp_path / "latents").symlink_to(encoded / "latents")
    made = of_latents(config(files))
    made.backbone.update(width=12, depth=1, num_heads=2, time_features=8, unroll=1)
    made.train.update(total_steps=4, chunk_steps=2, save_every_steps=4)
    made.evaluate.num_times = 2
    row = run(made, tmp_path)
    assert row["status"] == "finished"
    assert row["text_gap_se"] > 0
    assert row["flops_by_part"]["text_encoder"] == 0
    model = load(tmp_path)
    sampler = SamplerConfig(num_steps=2)
    one, other = model(["A red circle.", "Nothing at all."], sampler=sampler)
    assert one.shape == other.shape == (5, 16, 16, 3)
    again = model(["A red circle.", "Two squares."], sampler=sampler)
    np.testing.assert_array_equal(again[0], one)
