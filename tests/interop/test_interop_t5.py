# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Against transformers' encoders at tiny sizes, with every parameter drawn anew."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from dit_jax.interop.t5 import export_t5, load_t5, read_t5_config, t5_tensors
from dit_jax.interop.weights import export_weights, import_weights
from dit_jax.text.t5 import T5Config, T5Encoder
from tests.randomise import randomise

CONFIG = T5Config(vocab_size=40, width=16, depth=2, num_heads=3, head_dim=8, mlp_width=24)
KINDS = {"t5": CONFIG, "umt5": dataclasses.replace(CONFIG, per_layer_bias=True)}
LENGTHS = (3, 41, 170, 160)  # of each prompt; distances beyond 128


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def theirs(kind):
    """transformers' encoder, its config, and the tensors of its whole model, decoder and all."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    prefix = kind.upper()
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu"
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix}ForConditionalGeneration")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + ("norm" in name))
    return model


@pytest.fixture(scope="module")
def path(theirs, tmp_path_factory):
    """The weights of the whole model, as they are published."""
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    return folder / "model.safetensors"


def prompts():
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    tokens = np.random.default_rng(1).integers(2, 40, mask.shape)
    return np.where(mask, tokens, 0).astype(np.int32), mask


def relative_error(ours, other):
    return np.abs(np.asarray(ours) - other).max() / np.abs(other).max()


run = jax.jit(lambda model, tokens, mask: model(tokens, mask))


def test_tokens_are_those_of_transformers(theirs, path):
    import torch

    tokens, mask = prompts()
    with torch.no_grad():
        expected = theirs.encoder(torch.tensor(tokens), attention_mask=torch.tensor(mask)).last_hidden_state
    ours = run(load_t5(path), tokens, mask)
    assert relative_error(ours[mask], expected.numpy()[mask]) < 1e-5


def test_gradients_are_those_of_transformers(theirs, path):
    """Of a random projection of the tokens, by every parameter, compared under the public names."""
    import torch

    tokens, mask = prompts()
    weights = np.random.default_rng(2).normal(size=(*mask.shape, 16)) * mask[..., None]
    theirs.zero_grad()
    y = theirs.encoder(torch.tensor(tokens), attention_mask=torch.tensor(mask)).last_hidden_state
    (y * torch.tensor(weights)).sum().backward()
    graph, state = nnx.split(load_t5(path), nnx.Param)
    loss = lambda state: (nnx.merge(graph, state)(jnp.asarray(tokens), jnp.asarray(mask)) * weights).sum()  # noqa: E731
    ours = dict(t5_tensors(nnx.merge(graph, jax.jit(jax.grad(loss))(state))))
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters() if name in ours}
    assert set(expected) == set(ours)
    for name, gradient in expected.items():
        assert relative_error(ours[name], gradient.numpy()) < 1e-4, name


def test_transformers_reads_what_is_written(kind, tmp_path):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    ours = randomise(lambda: T5Encoder(KINDS[kind], rngs=nnx.Rngs(0)))
    export_t5(tmp_path / "model.safetensors", ours)
    config = getattr(transformers, f"{kind.upper()}Config")(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu"
    )
    config.save_pretrained(tmp_path)
    model, info = getattr(transformers, f"{kind.upper()}EncoderModel").from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values()), info
    tokens, mask = prompts()
    with torch.no_grad():
        expected = model(torch.tensor(tokens), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    assert relative_error(run(ours, tokens, mask)[mask], expected[mask]) < 1e-5


def test_transformers_reads_what_went_in_and_out(kind, theirs, path, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = import_weights(kind, path, tmp_path / "ours.safetensors")
    export_weights(kind, ours, tmp_path / "out")
    reader = getattr(transformers, f"{kind.upper()}EncoderModel")
    model, info = reader.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    sizes = ("d_ff", "d_kv", "d_model", "dense_act_fn", "num_heads", "num_layers", "vocab_size")
    assert {s: getattr(model.config, s) for s in sizes} == {s: getattr(theirs.config, s) for s in sizes}
    expected = theirs.state_dict()
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name].numpy(), err_msg=name)


def written(tmp_path, kind="t5", **changes):
    """The tensors of a small encoder, as in a file."""
    config = dataclasses.replace(KINDS[kind], depth=2, **changes)
    export_t5(tmp_path / "ours.safetensors", randomise(lambda: T5Encoder(config, rngs=nnx.Rngs(0))))
    return load_file(tmp_path / "ours.safetensors")


def test_what_is_written_is_read_bit_by_bit(kind, tmp_path):
    ours = randomise(lambda: T5Encoder(KINDS[kind], rngs=nnx.Rngs(0)))
    export_t5(tmp_path / "model.safetensors", ours)
    again = load_t5(tmp_path / "model.safetensors")
    assert again.config == KINDS[kind]
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again), nnx.state(ours))


def test_sizes_are_read_from_the_header(kind, tmp_path):
    written(tmp_path, kind, num_heads=5, head_dim=4, vocab_size=33, num_buckets=16)
    found = read_t5_config(tmp_path / "ours.safetensors", "bfloat16")
    expected = dict(num_heads=5, head_dim=4, vocab_size=33, num_buckets=16, dtype="bfloat16")
    assert found == dataclasses.replace(KINDS[kind], **expected)


def test_matrices_are_kept_in_the_dtype_of_the_computation(tmp_path):
    written(tmp_path)
    model = load_t5(tmp_path / "ours.safetensors", "bfloat16")
    assert model.embedding.dtype == model.blocks.mlp.up.kernel.dtype == jnp.bfloat16
    assert model.gain.dtype == model.bias.table.dtype == jnp.float32
    tokens, mask = prompts()
    exact = T5Encoder(model.config, rngs=nnx.Rngs(0))
    nnx.update(exact, nnx.state(load_t5(tmp_path / "ours.safetensors")))
    exact.embedding.set_value(model.embedding[...].astype(jnp.float32))
    np.testing.assert_allclose(run(model, tokens, mask), run(exact, tokens, mask), rtol=1e-5, atol=1e-6)


def test_an_embedding_under_its_other_name_alone_is_read(tmp_path):
    tensors = written(tmp_path)
    expected = tensors["shared.weight"]
    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    save_file(tensors, tmp_path / "other.safetensors")
    np.testing.assert_array_equal(load_t5(tmp_path / "other.safetensors").embedding[...], expected)


BLOCK = "encoder.block.1.layer.0.SelfAttention"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{BLOCK}.q.weight": None}, rf"bad\.safetensors: .* missing 1: {BLOCK}\.q\.weight"),
        ({f"{BLOCK}.q.weight": (24, 15)}, rf"{BLOCK}\.q\.weight \(24, 15\) for \(24, 16\)"),
        ({"encoder.extra": (1,)}, r"bad\.safetensors: .* unknown 1: encoder\.extra"),
        (
            {"encoder.block.0.layer.1.DenseReluDense.wi_0.weight": None},
            "wi_0.* is missing: not the weights of",
        ),
        ({"shared.weight": None}, "embed_tokens.* is missing: not the weights of"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    tensors = written(tmp_path)
    for name, shape in changes.items():
        tensors.pop(name, None)
        tensors |= {} if shape is None else {name: np.ones(shape, np.float32)}
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=message):
        load_t5(tmp_path / "bad.safetensors")
