# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Recaptioning, from a real server's answers to what a real loader trains on."""

import collections
import json
import random
import re

import numpy as np
import pytest

from configs import known_world
from dit_jax import build
from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.latents_io import write_latents
from dit_jax.data.recaptions import read_recaptions, read_shard
from dit_jax.data.video_io import write_video
from dit_jax.recaption import recaption, recaption_shard, upsample
from dit_jax.sweep.lock import FolderLock
from tests.chat_server import ChatServer, Reply, answer

SIZE = dict(num_frames=3, height=16, width=16)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def config(server=None, num_clips=20, **sections):
    """Of 24 clips in 4 shards, captioned by a server where there is one."""
    made = known_world.get_config()
    made.data.update(num_clips=num_clips, **SIZE)
    made.evaluate.num_clips = 4
    made.recaption.clips_per_shard = 7
    if server:
        made.recaption.captioner = "endpoint"
        made.endpoint.update(base_url=server.url, model="m", max_retries=0, backoff_seconds=0.0)
        made.endpoint.update(prompt="{caption}", num_images=1)
    for name, values in sections.items():
        made[name].update(values)
    return made


def said(body):
    return body["messages"][0]["content"][0]["text"]


def reply(body):
    """A dense caption that is a function of the short one."""
    return Reply(answer(f"Dense: {said(body)}"))


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("captions-*")}


def rows(folder):
    return [row for name in sorted(shards(folder)) for row in read_shard(folder / name)]


def test_every_clip_gets_a_row_in_order(tmp_path):
    def slowly(body):
        return Reply(answer(f"Dense: {said(body)}"), delay_seconds=random.random() * 0.02)

    with ChatServer(slowly) as server:
        made = config(server, endpoint=dict(max_concurrent=3))
        assert recaption(made, tmp_path) == []
        assert 1 < server.most_at_once <= 3
    assert sorted(shards(tmp_path)) == [f"captions-0000{i}-of-00004.jsonl" for i in range(4)]
    splits = [build.clip_source(made, split) for split in ("train", "validation")]
    clips = [split[i] for split in splits for i in range(len(split))]
    assert len(clips) == 24
    for row, clip in zip(rows(tmp_path), clips, strict=True):
        assert (row["key"], row["original"]) == (clip.key, clip.captions)
        assert row["caption"] == f"Dense: {clip.captions['dense']}"
        assert row["seconds"] == 3 / 8
        assert row["source"] == dict(build.captioner(made).source)
    assert json.loads((tmp_path / "recaptions.json").read_text())["source"] == rows(tmp_path)[0]["source"]


def test_two_processes_write_what_one_writes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert recaption(config(), one) == []
    assert recaption(config(recaption=dict(num_workers=2)), two) == []
    assert shards(one) == shards(two)
    assert len(list((two / "workers").glob("*.log"))) == 2
    assert [row["caption"] for row in rows(one)] == [row["original"]["dense"] for row in rows(one)]


def test_what_was_interrupted_goes_on(tmp_path):
    """A refusal that ends the run in the third shard leaves two whole ones, and these are not asked again."""
    with ChatServer(reply) as server:
        made = config(server, endpoint=dict(max_concurrent=2))
        recaption(made, tmp_path / "whole")
        server.requests.clear()
        server.reply = lambda body: reply(body) if len(server.requests) <= 16 else Reply(b"", 401)
        with pytest.raises(ValueError, match="status 401"):
            recaption(made, tmp_path / "part")
        assert len(server.requests) <= 18  # those two under way: none was begun after the refusal
        assert len(shards(tmp_path / "part")) == 2
        with pytest.raises(ValueError, match="lacks 2 of 4 shards: the command that began them goes on"):
            read_recaptions(tmp_path / "part")
        (tmp_path / "part" / ".captions-00002-of-00004.jsonl.99999").write_text("of a killed writer")
        server.reply = reply
        server.requests.clear()
        recaption(made, tmp_path / "part")
        assert len(server.requests) == 10
        recaption(made, tmp_path / "part")
        assert len(server.requests) == 10  # there is nothing left to do
    assert shards(tmp_path / "whole") == shards(tmp_path / "part")
    assert not list((tmp_path / "part").glob(".captions*"))


def test_what_failed_is_recorded_and_tried_again(tmp_path):
    with ChatServer(reply) as server:
        made = config(server, endpoint=dict(max_concurrent=1))
        recaption(made, tmp_path / "whole")
        good = [reply(body) for body in server.bodies]
        server.script = list(good)
        server.script[3] = Reply({"error": {"message": "unsafe"}}, 400)
        server.script[22] = Reply(answer("Dense: A larg", "length"))
        failed = recaption(made, tmp_path / "part")
        assert [row["error"] for row in failed] == [
            "status 400: unsafe",
            "the caption is cut: raise config.endpoint.max_tokens",
        ]
        assert [i for i, row in enumerate(rows(tmp_path / "part")) if "caption" not in row] == [3, 22]
        assert read_recaptions(tmp_path / "part")[failed[0]["key"]] == {"seconds": 3 / 8}
        server.requests.clear()
        assert recaption(made, tmp_path / "part") == []
        assert [said(body) for body in server.bodies] == [row["original"]["dense"] for row in failed]
    assert shards(tmp_path / "whole") == shards(tmp_path / "part")


def test_nothing_but_failures_is_a_mistake(tmp_path):
    says = "every clip failed, such as known_world/0/0/0: status 400: no images"
    with ChatServer(lambda body: Reply({"error": {"message": "no images"}}, 400)) as server:
        made = config(server)
        with pytest.raises(ValueError, match=says):
            recaption(made, tmp_path)
    assert len(rows(tmp_path)) == 24


def test_a_folder_is_for_one_captioner_and_one_data_set(tmp_path):
    recaption(config(), tmp_path)
    before = shards(tmp_path)
    with ChatServer(reply) as server:
        for other, name in [
            (config(server), "source"),
            (config(data=dict(level=1)), "data"),
            (config(evaluate=dict(num_clips=3)), "num_clips"),
            (config(recaption=dict(clips_per_shard=8)), "clips_per_shard"),
        ]:
            with pytest.raises(ValueError, match=f"captions of another {name}: use another --workdir"):
                recaption(other, tmp_path)
    with FolderLock(tmp_path), pytest.raises(ValueError, match="is in use by process"):
        recaption(config(), tmp_path)
    assert shards(tmp_path) == before
    recaption(config(data=dict(caption_weights={"short": 1.0}, recaptions=str(tmp_path))), tmp_path)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        (dict(num_clips=0), "num_clips=0 is endless"),
        (dict(data=dict(source="latents")), "recaption the clips that were encoded"),
        (
            dict(recaption=dict(captioner="endpont")),
            r"captioner='endpont' is unknown; did you mean 'endpoint'\?",
        ),
        (dict(recaption=dict(captioner="endpoint")), r"set config\.endpoint\.model"),
        (dict(recaption=dict(num_workers=-1)), "num_workers is -1"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, sections, says):
    with pytest.raises(ValueError, match=says):
        recaption(config(**sections), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def drawn(made, source, count, **hosts):
    """Batches of text ids of a real loader."""
    loader = build.loader(made, source, made.seed, **hosts)
    return np.stack([next(loader)["text_ids"] for _ in range(count)])


@pytest.mark.parametrize("share", [0.25, 0.9])
def test_training_mixes_short_and_dense_at_the_configured_ratio(tmp_path, share):
    with ChatServer(reply) as server:
        made = config(server, num_clips=40)
        recaption(made, tmp_path)
    made.data.recaptions = str(tmp_path)
    made.data.caption_weights = {"dense": share, "short": 1 - share}
    source = build.clip_source(made, "train")
    clips = [source[i] for i in range(40)]  # so that each is rendered once
    ids = drawn(made, clips, 150)
    tokenize = lambda text: build.encode_prompts(made)([text])["text_ids"][0]  # noqa: E731
    levels = {}
    for clip in clips:
        assert clip.captions["dense"].startswith("Dense: ")
        levels |= {tuple(tokenize(clip.captions[level])): level for level in ("dense", "short", "tag")}
    counts = collections.Counter(levels[tuple(row)] for row in ids.reshape(-1, ids.shape[-1]))
    total = counts.total()
    assert set(counts) == {"dense", "short"}
    assert total == 150 * made.loader.batch_size
    assert abs(counts["dense"] / total - share) < 4 * (share * (1 - share) / total) ** 0.5
    halves = [drawn(made, clips, 150, process_index=host, process_count=2) for host in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), ids)
    np.testing.assert_array_equal(drawn(made, clips, 150), ids)


def test_a_folders_own_captions_become_the_short_ones(tmp_path):
    world = KnownWorld(KnownWorldConfig(**SIZE))
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for i in range(8):
        write_video(videos / f"{i}.mp4", world[i].video, 8.0)
        (videos / f"{i}.txt").write_text(f"clip {i}")
    with ChatServer(reply) as server:
        made = config(server, data=dict(source="folder", path=str(videos)))
        recaption(made, out)
    made.data.recaptions = str(out)
    splits = [build.clip_source(made, split) for split in ("train", "validation")]
    assert [len(split) for split in splits] == [6, 2]
    found = [split[i].captions for split in splits for i in range(len(split))]
    expected = [{"short": f"clip {i}", "dense": f"Dense: clip {i}"} for i in range(8)]
    assert sorted(found, key=lambda captions: captions["short"]) == expected


def test_latents_of_other_captions_are_refused(tmp_path):
    element = {"latents": np.zeros((1, 2, 2, 4)), "captions": {}, "key": "a"}
    source = {"recaptions": "mine"}
    write_latents(tmp_path / "train" / "00000-of-00001", [element], {"source": source})
    made = config(data=dict(source="latents", path=".", recaptions="mine"))
    assert build.latent_shape(made, tmp_path) == (1, 2, 2, 4)
    made.data.recaptions = "other"
    with pytest.raises(ValueError, match="'other', and the latents were encoded with 'mine': encode"):
        build.latent_shape(made, tmp_path)


def test_a_shard_alone(tmp_path):
    recaption(config(), tmp_path)
    before = shards(tmp_path)
    (tmp_path / "captions-00003-of-00004.jsonl").unlink()
    told = []
    recaption_shard(config(), tmp_path, 3, lambda share, count: told.append((share, count)))
    assert shards(tmp_path) == before
    assert told == [(1 / 3, 1), (2 / 3, 2), (1.0, 3)]


def test_prompts_are_made_dense_by_the_world_or_an_endpoint():
    prompts = ["A red circle moves right", "", "A red circle moves right"]
    dense = upsample(config(), prompts, seed=3)
    assert dense == upsample(config(), prompts, seed=3)
    assert re.match("A large red circle moves .* right from", dense[0])
    assert dense[1] == ""
    assert dense[2] == upsample(config(), prompts[2:], seed=5)[0]
    with ChatServer(lambda body: Reply(answer(f"{body['model']}:{body['seed']}"))) as server:
        asked = dict(base_url=server.url, model="big")
        assert upsample(config(), prompts, seed=3, endpoint=asked) == ["big:3", "", "big:5"]
        old = config()
        del old["endpoint"], old["recaption"]  # as runs were before they had these sections
        assert upsample(old, prompts[:1], endpoint=asked) == ["big:0"]
        assert upsample(old, prompts[:1]) == upsample(config(), prompts[:1])
