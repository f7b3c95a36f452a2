# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dit_jax.data import latents_io
from dit_jax.data.latents_io import LatentsSource, write_latents
from dit_jax.data.quarantine import DamagedClip


def elements(count, shape=(3, 4, 4, 2)):
    rng = np.random.default_rng(0)
    for k in range(count):
        latents = rng.normal(3, 2, shape).astype(np.float32)
        yield {"latents": latents, "captions": {"dense": f"clip {k} é\n"}, "key": f"clip/{k}"}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("count", "num_shards"), [(1, 1), (7, 3), (2, 4)])
def test_what_is_written_is_read_back(tmp_path, monkeypatch, count, num_shards, in_memory):
    monkeypatch.setattr(latents_io, "IN_MEMORY_BYTES", 2**20 if in_memory else 0)
    write_latents(tmp_path / "set", elements(count), {"autoencoder": "sha256:1"}, num_shards)
    source = LatentsSource(tmp_path / "set")
    assert len(source) == count
    for k, wrote in enumerate(elements(count)):
        read = source[k]
        assert read["latents"].dtype == np.float32
        np.testing.assert_array_equal(read["latents"], wrote["latents"].astype(np.float16))
        assert (read["captions"], read["key"]) == (wrote["captions"], wrote["key"])
    assert len(list((tmp_path / "set").iterdir())) == num_shards + 2
    with pytest.raises(IndexError):
        source[count]


def test_metadata(tmp_path):
    write_latents(tmp_path / "set", elements(50), {"autoencoder": "sha256:1", "source": {"name": "x"}})
    metadata = LatentsSource(tmp_path / "set").metadata
    everything = np.stack([element["latents"] for element in elements(50)])
    assert (metadata["count"], metadata["shape"]) == (50, [3, 4, 4, 2])
    assert (metadata["autoencoder"], metadata["source"]) == ("sha256:1", {"name": "x"})
    np.testing.assert_allclose(metadata["mean"], everything.mean((0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(metadata["std"], everything.std((0, 1, 2, 3)), rtol=1e-5)


def test_a_worker_gets_the_path_and_not_the_latents(tmp_path):
    write_latents(tmp_path / "set", elements(100), {})
    source = LatentsSource(tmp_path / "set")
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[42]["latents"], source[42]["latents"])


def test_an_element_is_a_copy(tmp_path):
    write_latents(tmp_path / "set", elements(2), {})
    source = LatentsSource(tmp_path / "set")
    before = source[0]["latents"].copy()
    source[0]["latents"][:] = 0
    np.testing.assert_array_equal(source[0]["latents"], before)


def bad(value):
    yield from elements(2)
    yield {"latents": value, "captions": {}, "key": "bad"}


@pytest.mark.parametrize(
    ("source", "metadata", "message"),
    [
        (bad(np.ones((3, 4, 4, 5))), {}, r"bad: latents are \(3, 4, 4, 5\); give all .* with 2 channels"),
        (bad(np.ones((4, 4, 2))), {}, r"bad: latents are \(4, 4, 2\)"),
        (bad(np.full((3, 4, 4, 2), 1e6)), {}, "beyond float16"),
        (bad(np.full((3, 4, 4, 2), np.nan)), {}, "bad: latents reach nan"),
        (elements(0), {}, "no latents to write"),
        (elements(1), {"mean": 0}, "metadata has 'mean'"),
    ],
)
def test_a_set_that_fails_leaves_nothing(tmp_path, source, metadata, message):
    with pytest.raises(ValueError, match=message):
        write_latents(tmp_path / "set", source, metadata)
    assert not list(tmp_path.iterdir())


def test_metadata_that_is_not_json_is_refused_before_the_work(tmp_path):
    with pytest.raises(TypeError):
        write_latents(tmp_path / "set", elements(1), {"autoencoder": object()})


def test_an_existing_set_is_kept(tmp_path):
    write_latents(tmp_path / "set", elements(2), {})
    with pytest.raises(FileExistsError, match="remove it"):
        write_latents(tmp_path / "set", elements(3), {})
    assert len(LatentsSource(tmp_path / "set")) == 2


def test_a_killed_writer_leaves_nothing_to_read(tmp_path):
    script = """
        import os, signal, sys
        import numpy as np
        from dit_jax.data.latents_io import write_latents
        def elements():
            for k in range(100):
                if k == 50:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield {"latents": np.zeros((1, 2, 2, 1)), "captions": {}, "key": str(k)}
        write_latents(sys.argv[1], elements(), {})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path / "set"])
    assert killed.returncode < 0
    assert not (tmp_path / "set").exists()
    with pytest.raises(ValueError, match=r"has no metadata\.json"):
        LatentsSource(tmp_path / "set")
    write_latents(tmp_path / "set", elements(2), {})  # and it is not in the way of the next
    assert len(LatentsSource(tmp_path / "set")) == 2


def flip(path, where):
    data = bytearray(path.read_bytes())
    data[where] ^= 255
    path.write_bytes(data)


def test_damage_is_named(tmp_path):
    write_latents(tmp_path / "set", elements(40), {}, num_shards=2)
    shard = sorted((tmp_path / "set").glob("*.array_record"))[1]
    flip(shard, 2000)  # among the records
    source = LatentsSource(tmp_path / "set")
    damaged = []
    for k, wrote in enumerate(elements(40)):
        try:
            np.testing.assert_array_equal(source[k]["latents"], wrote["latents"].astype(np.float16))
        except DamagedClip:
            damaged.append(k)
    (only,) = damaged
    assert only % 2 == 1
    with pytest.raises(DamagedClip, match=f"record {only} is damaged"):
        source[only]


def test_missing_records_are_named(tmp_path):
    write_latents(tmp_path / "set", elements(4), {})
    metadata = json.loads((tmp_path / "set/metadata.json").read_text())
    (tmp_path / "set/metadata.json").write_text(json.dumps(metadata | {"count": 5}))
    with pytest.raises(ValueError, match="of 4 elements of 5"):
        LatentsSource(tmp_path / "set")
    (tmp_path / "set/metadata.json").write_text(json.dumps(metadata | {"version": 3}))
    with pytest.raises(ValueError, match="has version 3 and this code reads 1 and 2"):
        LatentsSource(tmp_path / "set")
    (tmp_path / "set/metadata.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        LatentsSource(tmp_path / "set")
    (tmp_path / "set/metadata.json").write_text(json.dumps(metadata))
    os.remove(next((tmp_path / "set").glob("*.array_record")))
    with pytest.raises(ValueError, match="write the set again"):
        LatentsSource(tmp_path / "set")


SHAPES = [(1, 2, 4, 3), (5, 2, 2, 3), (1, 2, 4, 3), (2, 6, 1, 3)]


def mixed():
    for k, shape in enumerate(SHAPES):
        yield {"latents": np.full(shape, float(k)), "captions": {}, "key": str(k)}


@pytest.mark.parametrize("in_memory", [True, False])
def test_clips_of_several_sizes(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(latents_io, "IN_MEMORY_BYTES", 2**20 if in_memory else 0)
    write_latents(tmp_path / "set", mixed(), {}, num_shards=2)
    source = LatentsSource(tmp_path / "set")
    assert source.metadata["shape"] is None
    np.testing.assert_array_equal(source.shapes, SHAPES)
    for k, wrote in enumerate(mixed()):
        np.testing.assert_array_equal(source[k]["latents"], wrote["latents"])
    cells = np.concatenate([element["latents"].reshape(-1, 3) for element in mixed()])
    np.testing.assert_allclose(source.metadata["mean"], cells.mean(0))
    np.testing.assert_allclose(source.metadata["std"], cells.std(0))


def test_a_set_of_the_first_version_is_read(tmp_path):
    write_latents(tmp_path / "set", elements(5), {})
    metadata = json.loads((tmp_path / "set/metadata.json").read_text())
    (tmp_path / "set/metadata.json").write_text(json.dumps(metadata | {"version": 1}))
    (tmp_path / "set/shapes.npy").unlink()
    source = LatentsSource(tmp_path / "set")
    np.testing.assert_array_equal(source.shapes, [(3, 4, 4, 2)] * 5)
    for k, wrote in enumerate(elements(5)):
        np.testing.assert_array_equal(source[k]["latents"], wrote["latents"].astype(np.float16))


def test_shapes_that_are_damaged_are_found(tmp_path):
    write_latents(tmp_path / "set", mixed(), {})
    shapes = np.load(tmp_path / "set/shapes.npy")
    shapes[1, 0] = 4
    np.save(tmp_path / "set/shapes.npy", shapes)
    source = LatentsSource(tmp_path / "set")
    with pytest.raises(DamagedClip, match=r"where shapes\.npy says \(4, 2, 2, 3\)"):
        source[1]
    assert source[0]["key"] == "0"
    (tmp_path / "set/shapes.npy").write_bytes(b"no")
    with pytest.raises(ValueError, match="write the set again"):
        LatentsSource(tmp_path / "set")


def test_a_truncated_shard_is_damaged_and_the_others_are_not(tmp_path):
    write_latents(tmp_path / "set", elements(40), {}, num_shards=4)
    shard = sorted((tmp_path / "set").glob("*.array_record"))[2]
    os.truncate(shard, shard.stat().st_size // 2)
    source = LatentsSource(tmp_path / "set")
    for k in range(40):
        if k % 4 == 2:
            with pytest.raises(DamagedClip, match="00002-of-00004"):
                source[k]
        else:
            assert source[k]["key"] == f"clip/{k}"
