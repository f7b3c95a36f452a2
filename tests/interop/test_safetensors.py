# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dit_jax.interop.safetensors import check_shapes, open_tensors, save_tensors

RNG = np.random.default_rng(0)
TENSORS = {
    "a": RNG.normal(size=(3, 4)).astype(np.float32),
    "b": RNG.normal(size=(2, 3, 5)).astype(np.float32).transpose(2, 0, 1),  # not as it lies in memory
    "scalar": np.array(3, np.float32),
    "half": RNG.normal(size=6).astype(jnp.bfloat16),
    "empty": np.zeros((0, 2), np.float32),
}


def read_all(path):
    with open_tensors(path) as tensors:
        return {name: tensors.read(name) for name in tensors.shapes}


def check(read):
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read[name].shape == tensor.shape
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], tensor.astype(np.float32), err_msg=name)


def refusal(path, kind=ValueError):
    with pytest.raises(kind) as error:
        read_all(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, iter(TENSORS.items()), {"format": "pt"})
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
    check(read_all(path))
    check(read_all(tmp_path))
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    assert load_file(path)["half"].dtype == jnp.bfloat16  # not widened on disk


def test_large_weights_become_several_files(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS.items(), shard_bytes=100)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in TENSORS.values())
    assert index["weight_map"].keys() == TENSORS.keys()
    names = sorted(set(index["weight_map"].values()))
    assert names == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*names, "model.safetensors.index.json"]
    check(read_all(tmp_path))
    check(read_all(tmp_path / "model.safetensors.index.json"))


def test_the_newest_writing_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    old = {name: np.zeros_like(tensor) for name, tensor in TENSORS.items()}
    for before, after in ((100, 10_000), (10_000, 100)):
        save_tensors(path, old.items(), shard_bytes=before)
        save_tensors(path, TENSORS.items(), shard_bytes=after)
        assert path.exists() == (after > before)
        check(read_all(tmp_path if after < before else path))


def test_a_writing_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS.items())

    def breaks():
        yield "a", np.ones((100, 100), np.float32)
        yield "b", np.ones(3, np.float32)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        save_tensors(path, breaks(), shard_bytes=100)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    check(read_all(path))


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt", "pkl"])
def test_a_pickle_is_refused_and_never_run(tmp_path, ending):
    canary = tmp_path / "canary"
    path = tmp_path / f"model.{ending}"
    path.write_bytes(pickle.dumps(_Payload(str(canary))))
    for ask in (path, tmp_path):
        assert "is a pickle, which can run code" in refusal(ask)
    assert "safetensors.torch.save_file" in refusal(path)  # the remedy
    disguised = tmp_path / "model.safetensors"
    path.rename(disguised)
    refusal(disguised)
    assert not canary.exists()


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "shard", ["../outside.safetensors", "/outside.safetensors", "a\\b.safetensors", 3, ".."]
)
def test_an_index_cannot_lead_outside_its_folder(tmp_path, shard):
    folder = tmp_path / "inside"
    folder.mkdir()
    save_file({"a": TENSORS["a"]}, tmp_path / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    assert "is not a file beside it" in refusal(index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not an index"),
        ("not JSON", "not an index"),
        ('{"weight_map": 3}', "not an index"),
        ("[" * 100_000, "not an index"),
        ('{"weight_map": {"z": "part.safetensors"}}', "looks for z in part.safetensors, where it is not"),
        ('{"weight_map": {"z": "part.bin"}}', "part.bin is a pickle"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, text, message):
    save_file({"a": TENSORS["a"]}, tmp_path / "part.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    assert message in refusal(index)


def test_what_is_not_there_is_named(tmp_path):
    refusal(tmp_path / "none.safetensors", FileNotFoundError)
    assert "no .safetensors file in it" in refusal(tmp_path, FileNotFoundError)
    for name in ("one", "two"):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
    assert "holds 2 of *.safetensors: name one of them" in refusal(tmp_path)


@pytest.mark.parametrize("cut", [0, 4, 20, -1])
def test_a_file_cut_short_is_refused(tmp_path, cut):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, TENSORS.items())
    path.write_bytes(path.read_bytes()[:cut])
    refusal(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [(np.arange(3), "x is int64"), (np.float32([1, np.inf]), "x is not finite")],
)
def test_what_is_no_weight_is_refused(tmp_path, tensor, message):
    save_file({"x": tensor}, tmp_path / "weights.safetensors")
    assert message in refusal(tmp_path / "weights.safetensors")


def test_tensors_that_do_not_fit_are_counted_and_a_few_named():
    expected = {f"layer{i}": (2, 3) for i in range(9)}
    check_shapes(expected, expected)
    found = {name: shape for name, shape in expected.items() if name > "layer4"} | {"layer8": (3, 2), "z": ()}
    with pytest.raises(ValueError, match="not the weights") as error:
        check_shapes(found, expected)
    assert str(error.value) == (
        "not the weights of this model: missing 5: layer0, layer1, layer2, ...; unknown 1: z; "
        "of another shape 1: layer8 (3, 2) for (2, 3)"
    )


def test_names_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_tensors(tmp_path / "weights.bin", TENSORS.items())
    with pytest.raises(ValueError, match="a is given twice"):
        save_tensors(tmp_path / "weights.safetensors", [("a", TENSORS["a"])] * 2)
    assert list(tmp_path.iterdir()) == []
