# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""DiT and SiT: against diffusers' class, and against one written from the papers."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from safetensors.numpy import load_file  # noqa: E402

from dit_jax.interop.transformers import export_transformer, label_text, load_transformer  # noqa: E402
from tests.interop.transformer_parity import (  # noqa: E402
    assert_comes_back,
    assert_same,
    channels_first,
    channels_last,
    error,
    normal,
    predict,
    randomised,
    saved,
    tensors_of,
)

WIDTH, HEADS, DEPTH, CLASSES, CHANNELS = 24, 2, 3, 5, 3
SIDE = 8


class Block(torch.nn.Module):
    """adaLN-Zero: Peebles and Xie 2023, figure 3."""

    def __init__(self):
        super().__init__()
        self.attn = torch.nn.ModuleDict(
            {"qkv": torch.nn.Linear(WIDTH, 3 * WIDTH), "proj": torch.nn.Linear(WIDTH, WIDTH)}
        )
        self.mlp = torch.nn.ModuleDict(
            {"fc1": torch.nn.Linear(WIDTH, 4 * WIDTH), "fc2": torch.nn.Linear(4 * WIDTH, WIDTH)}
        )
        self.adaLN_modulation = torch.nn.Sequential(torch.nn.SiLU(), torch.nn.Linear(WIDTH, 6 * WIDTH))

    def forward(self, x, c):
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, -1)
        x = x + gate * self.attend(normed(x) * (1 + scale) + shift)
        y = self.mlp["fc1"](normed(x) * (1 + scale2) + shift2)
        return x + gate2 * self.mlp["fc2"](torch.nn.functional.gelu(y, approximate="tanh"))

    def attend(self, x):
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.attn["qkv"](x).chunk(3, -1)
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        return self.attn["proj"]((weights @ v).transpose(1, 2).flatten(2))


def normed(x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6)


class Reference(torch.nn.Module):
    """The network that DiT and SiT share, under the names of their repositories; mean and variance."""

    def __init__(self, side=SIDE, patch=2):
        super().__init__()
        self.patch = patch
        self.x_embedder = torch.nn.ModuleDict({"proj": torch.nn.Conv2d(CHANNELS, WIDTH, patch, patch)})
        self.t_embedder = torch.nn.ModuleDict(
            {
                "mlp": torch.nn.Sequential(
                    torch.nn.Linear(256, WIDTH), torch.nn.SiLU(), torch.nn.Linear(WIDTH, WIDTH)
                )
            }
        )
        self.y_embedder = torch.nn.ModuleDict({"embedding_table": torch.nn.Embedding(CLASSES + 1, WIDTH)})
        self.blocks = torch.nn.ModuleList([Block() for _ in range(DEPTH)])
        self.final_layer = torch.nn.ModuleDict(
            {
                "linear": torch.nn.Linear(WIDTH, 2 * CHANNELS * patch**2),
                "adaLN_modulation": torch.nn.Sequential(torch.nn.SiLU(), torch.nn.Linear(WIDTH, 2 * WIDTH)),
            }
        )
        self.register_buffer("pos_embed", self.positions(side // patch)[None])

    def positions(self, cells):
        frequency = 10000.0 ** (-torch.arange(WIDTH // 4, dtype=torch.float64) / (WIDTH // 4))
        rows, columns = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        angles = [place.reshape(-1, 1) * frequency for place in (columns, rows)]
        return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], -1).float()

    def forward(self, x, t, y):
        frequency = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        angles = t[:, None] * frequency
        c = self.t_embedder["mlp"](torch.cat([angles.cos(), angles.sin()], -1))
        c = c + self.y_embedder["embedding_table"](y)
        z = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            z = block(z, c)
        shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, -1)
        z = self.final_layer["linear"](normed(z) * (1 + scale) + shift)
        side, p = x.shape[-1] // self.patch, self.patch
        z = z.reshape(-1, side, side, p, p, 2 * CHANNELS).permute(0, 5, 1, 3, 2, 4)
        return z.reshape(len(x), 2 * CHANNELS, side * p, side * p)


def original(folder, **sizes):
    model = randomised(Reference(**sizes))
    saved(folder, tensors_of(model), "DiT.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_heads": HEADS}))
    return model


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (4, 1), (16, 4)])
@pytest.mark.parametrize("kind", ["dit", "sit"])
def test_predictions_are_those_of_the_papers(kind, side, patch, tmp_path):
    theirs = original(tmp_path / "public", side=side, patch=patch)
    model = load_transformer(kind, tmp_path / "public").model
    x, t, labels = normal(3, 1, side, side, CHANNELS), np.array([0.003, 0.4, 0.999], np.float32), [0, 3, 5]
    ours = predict(model, x, t, *label_text(jnp.asarray(labels), model.config))[:, 0]
    told = 1000 * t if kind == "dit" else 1 - t  # SiT: data at 1, velocity from noise to data
    with torch.no_grad():
        expected = channels_last(theirs(channels_first(x[:, 0]), torch.tensor(told), torch.tensor(labels)))
    sign = 1 if kind == "dit" else -1
    assert error(sign * ours, expected[..., :CHANNELS]) <= 1e-4


@pytest.mark.parametrize(("kind", "rtol"), [("dit", 0.0), ("sit", 1e-6)])
def test_the_public_file_comes_back(kind, rtol, tmp_path):
    original(tmp_path / "public")
    published = load_transformer(kind, tmp_path / "public")
    out = export_transformer(tmp_path / "again", kind, published, "original")
    expected = load_file(tmp_path / "public/DiT.safetensors")
    found = load_file(out / "model.safetensors")
    changed = {"t_embedder.mlp.0.weight"}  # reflected for SiT, to a rounding
    assert_same({n: found[n] for n in changed}, {n: expected[n] for n in changed}, rtol)
    found, expected = ({n: a for n, a in all_.items() if n not in changed} for all_ in (found, expected))
    np.testing.assert_allclose(found.pop("pos_embed"), expected.pop("pos_embed"), atol=1e-7)
    assert_same(found, expected)
    config = json.loads((out / "config.json").read_text())
    assert config["num_heads"] == HEADS
    assert config["num_classes"] == CLASSES
    assert config["learn_sigma"] is True


def diffusers_model(sample_size=SIDE, patch_size=2):
    """Of the original's frequencies and epsilon, from which the class differs a little."""
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=DEPTH,
        sample_size=sample_size,
        patch_size=patch_size,
        num_embeds_ada_norm=CLASSES,
        norm_eps=1e-6,
    )
    model = randomised(model)
    first = model.transformer_blocks[0].norm1.emb
    for block in model.transformer_blocks:
        block.norm1.emb.load_state_dict(first.state_dict())
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    return model


@pytest.mark.parametrize(("sample_size", "patch_size"), [(8, 2), (6, 1)])
def test_predictions_are_those_of_diffusers(sample_size, patch_size, tmp_path):
    theirs = diffusers_model(sample_size, patch_size)
    theirs.save_pretrained(tmp_path)
    model = load_transformer("dit", tmp_path).model
    x, steps, labels = normal(2, 1, sample_size, sample_size, CHANNELS), [7, 640], [2, 5]
    times = np.array(steps, np.float32) / 1000
    ours = predict(model, x, times, *label_text(jnp.asarray(labels), model.config))[:, 0]
    with torch.no_grad():
        given = channels_first(x[:, 0]), torch.tensor(steps), torch.tensor(labels)
        expected = channels_last(theirs(*given).sample)
    assert error(ours, expected[..., :CHANNELS]) <= 1e-4


def test_what_is_exported_diffusers_loads(tmp_path):
    theirs = diffusers_model()
    theirs.save_pretrained(tmp_path / "public")
    out = assert_comes_back("dit", tmp_path / "public", tmp_path)
    again = diffusers.DiTTransformer2DModel.from_pretrained(out)
    assert_same(tensors_of(again), tensors_of(theirs))
    assert again.config.sample_size == SIDE
    assert again.config.num_embeds_ada_norm == CLASSES


def test_a_trained_bias_of_labels_goes_out_with_them(tmp_path):
    original(tmp_path / "public")
    published = load_transformer("dit", tmp_path / "public")
    published.model.text_projection.bias.set_value(jnp.full(WIDTH, 0.5))
    export_transformer(tmp_path / "out", "dit", published, "original")
    names = [tmp_path / "out/model.safetensors", tmp_path / "public/DiT.safetensors"]
    found, before = (load_file(name)["y_embedder.embedding_table.weight"] for name in names)
    np.testing.assert_allclose(found, before + 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all_: all_.pop("blocks.1.attn.qkv.bias"), "missing 1: blocks.1.attn.qkv.bias"),
        (lambda all_: all_.update(lora=np.ones(2, np.float32)), "unknown 1: lora"),
        (
            lambda all_: all_.update({"blocks.2.mlp.fc2.bias": np.ones(3, np.float32)}),
            r"of another shape 1: blocks.2.mlp.fc2.bias \(3,\) for \(24,\)",
        ),
        (lambda all_: all_.pop("x_embedder.proj.weight"), "it holds no proj_out_2.weight nor x_embedder"),
        (lambda all_: all_.pop("t_embedder.mlp.0.weight"), "'t_embedder.mlp.0.weight' is missing"),
        (lambda all_: all_["pos_embed"].__iadd__(1), "pos_embed is not the sinusoids"),
        (
            lambda all_: all_.update({"final_layer.linear.weight": np.ones((7, WIDTH), np.float32)}),
            "a head of 7 outputs predicts no patch of 12 numbers",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message, tmp_path):
    theirs = original(tmp_path / "public")
    tensors = {name: tensor.copy() for name, tensor in tensors_of(theirs).items()}
    change(tensors)
    saved(tmp_path / "public", tensors, "DiT.safetensors")
    with pytest.raises(ValueError, match=f"public: .*{message}") as refusal:
        load_transformer("dit", tmp_path / "public")
    assert "\n" not in str(refusal.value)


def test_heads_must_be_known_and_blocks_agree(tmp_path):
    original(tmp_path / "public")
    (tmp_path / "public/config.json").unlink()
    with pytest.raises(ValueError, match=r'no published model has width 24: write {"num_heads": N}'):
        load_transformer("dit", tmp_path / "public")
    (tmp_path / "public/config.json").write_text("[")
    with pytest.raises(ValueError, match=r"config.json: not a config"):
        load_transformer("dit", tmp_path / "public")
    theirs = diffusers_model()
    theirs.transformer_blocks[1].norm1.emb.timestep_embedder.linear_1.bias.data += 1
    theirs.save_pretrained(tmp_path / "differing")
    with pytest.raises(ValueError, match=r"transformer_blocks.1.norm1.*linear_1.bias differs from"):
        load_transformer("dit", tmp_path / "differing")


def test_models_of_another_kind_are_not_exported(tmp_path):
    original(tmp_path / "public")
    published = load_transformer("sit", tmp_path / "public")
    with pytest.raises(ValueError, match=r"not a model of kind 'dit': time_scale=1.0 for 1000.0"):
        export_transformer(tmp_path / "out", "dit", published)
