# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import math

import pytest

from dit_jax.data.manifest import Caption, Segment, file_digest, list_videos, listing_digest


def manifest(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("b.mp4", "below/a.MKV", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b.txt").write_text("a bee")
    (tmp_path / "captions.jsonl").write_text(
        '{"file": "below/a.MKV", "short": "an ape", "dense": "an old ape"}'
    )
    first, second = list_videos(tmp_path)
    assert (first.name, first.path) == ("b.mp4", str(tmp_path / "b.mp4"))
    assert first.segments == (Segment(0.0, math.inf, (Caption("dense", "a bee", "b.txt"),)),)
    assert second.name == "below/a.MKV"
    assert second.segments[0].captions == (
        Caption("short", "an ape", "captions.jsonl"),
        Caption("dense", "an old ape", "captions.jsonl"),
    )


CSV = """path,caption,short,start,end,source,views
z.mp4,a zebra,,,,,12
d/x.mp4,"first, with a comma",one,0,2.5,model A,3
d/x.mp4,second,,2.5,,model A,3
d/x.mp4,first again,,0,2.5,somebody,3
"""
ROWS = [
    {"path": "z.mp4", "caption": "a zebra", "views": 12},
    {"path": "d/x.mp4", "caption": "first, with a comma", "short": "one", "end": 2.5, "source": "model A"},
    {"path": "d/x.mp4", "caption": "second", "start": 2.5, "source": "model A"},
    {"path": "d/x.mp4", "caption": "first again", "start": 0, "end": 2.5, "source": "somebody"},
]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_a_video_are_its_segments_and_captions(tmp_path, kind):
    text = CSV if kind == "csv" else "\n\n".join(map(json.dumps, ROWS))
    path = manifest(tmp_path / f"set.{kind}", text)
    first, second = list_videos(path)
    assert (first.name, first.path) == ("d/x.mp4", str(tmp_path / "d/x.mp4"))
    assert first.segments == (
        Segment(
            0.0,
            2.5,
            (
                Caption("short", "one", "model A"),
                Caption("dense", "first, with a comma", "model A"),
                Caption("dense", "first again", "somebody"),
            ),
        ),
        Segment(2.5, math.inf, (Caption("dense", "second", "model A"),)),
    )
    assert second.segments == (Segment(captions=(Caption("dense", "a zebra", f"set.{kind}"),)),)


def test_an_absolute_path_stays_one(tmp_path):
    path = manifest(tmp_path / "set.csv", f"\ufeffpath\n{tmp_path}/else/a.mp4\n")
    assert list_videos(path)[0].path == f"{tmp_path}/else/a.mp4"


def test_the_same_rows_in_another_order_are_the_same_listing(tmp_path):
    listings = []
    for rows in (ROWS, [ROWS[2], ROWS[0], ROWS[1], ROWS[3]]):
        listings.append(list_videos(manifest(tmp_path / "set.jsonl", "\n".join(map(json.dumps, rows)))))
    assert listings[0] == listings[1]
    assert listing_digest(listings[0]) == listing_digest(listings[1])
    fewer = list_videos(manifest(tmp_path / "set.jsonl", "\n".join(map(json.dumps, ROWS[1:]))))
    assert listing_digest(fewer) != listing_digest(listings[0])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,caption\na.mp4,x\n", r"a\.csv:2: KeyError\('path'\); write a \"path\""),
        ("a.csv", "path,start,end\na.mp4,3,2\n", r"a\.csv:2: .*from 3 to 2 seconds"),
        ("a.csv", "path,start\na.mp4,soon\n", r"a\.csv:2: .*soon"),
        ("a.csv", "path,start\na.mp4,nan\n", r"a\.csv:2: "),
        ("a.csv", "path,start\na.mp4,-1\n", r"a\.csv:2: "),
        ("a.csv", "path\na.mp4,1\n", r"a\.csv:2: it has more fields than the header"),
        ("a.csv", "path,caption\n,x\n", r"a\.csv:2: .*are text"),
        ("a.csv", "", "has no videos"),
        ("a.csv", "path,caption\na.mp4," + "x" * 200_000, r"a\.csv:2: field larger"),
        ("a.jsonl", '{"path": "a.mp4"}\n{', r"a\.jsonl:2: "),
        ("a.jsonl", "[1]", r"a\.jsonl:1: .*no object"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: "),
        ("a.jsonl", '{"path": 3}', r"a\.jsonl:1: .*are text"),
        ("a.jsonl", '{"path": "a.mp4", "caption": ["x"]}', "are text"),
        ("a.jsonl", '{"path": "a.mp4", "end": [1]}', r"a\.jsonl:1: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        list_videos(manifest(tmp_path / name, text))


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"path\n\xff\xfe.mp4\n")
    with pytest.raises(ValueError, match=r"a\.csv:.*UTF-8"):
        list_videos(tmp_path / "a.csv")


def test_nothing_to_list(tmp_path):
    with pytest.raises(ValueError, match=r"has no videos \(\.avi"):
        list_videos(tmp_path)


def test_a_digest_is_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
