# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The client against a real server in a thread, which behaves as endpoints do, and misbehaves."""

import base64
import io
import logging
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

from dit_jax.data.captioner import Captioner, CaptionError
from dit_jax.data.clip import Clip
from dit_jax.data.vision_endpoint import VisionEndpoint, VisionEndpointConfig
from tests.chat_server import ChatServer, Reply, answer

KEY = "secret-0123456789"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def good(body):
    return Reply(answer("A dog runs."))


def clip(frames=9, height=24, width=40, captions=None):
    video = np.repeat(np.arange(frames, dtype=np.uint8) * 20, height * width * 3)
    return Clip(video.reshape(frames, height, width, 3), 8.0, captions or {}, "dog.mp4#0.000")


def endpoint(server, **changes):
    config = dict(model="small", timeout_seconds=5.0, max_retries=2, backoff_seconds=0.01) | changes
    return VisionEndpoint(VisionEndpointConfig(base_url=getattr(server, "url", server), **config))


def images(body):
    for part in body["messages"][0]["content"][1:]:
        kind, data = part["image_url"]["url"].split(",")
        assert (part["type"], kind) == ("image_url", "data:image/jpeg;base64")
        yield Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_a_clip_is_asked_about_as_the_interface_says():
    with ChatServer(good) as server:
        captioner = endpoint(server, prompt="In {seconds} s: {caption}", num_images=3, max_tokens=77)
        assert captioner.describe(clip(captions={"short": "a {seconds} dog"})) == "A dog runs."
    assert isinstance(captioner, Captioner)
    [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("small", 77, 0)
    assert body["messages"][0]["content"][0] == {"type": "text", "text": "In 1.1 s: a {seconds} dog"}
    levels = [np.asarray(image) for image in images(body)]
    assert [level.shape for level in levels] == [(24, 40, 3)] * 3
    assert [int(np.median(level)) // 10 * 10 for level in levels] == [0, 80, 160]


@pytest.mark.parametrize(
    ("frames", "count", "shown"),
    [
        (9, 5, [0, 40, 80, 120, 160]),
        (3, 8, [0, 20, 40]),
        (9, 1, [80]),
        (1, 8, [0]),
        (10, 4, [0, 60, 120, 180]),
    ],
)
def test_frames_are_even_and_none_is_shown_twice(frames, count, shown):
    with ChatServer(good) as server:
        endpoint(server, num_images=count).describe(clip(frames))
    assert [round(np.asarray(image).mean() / 20) * 20 for image in images(server.bodies[0])] == shown


def test_large_frames_are_made_smaller_and_small_ones_left():
    with ChatServer(good) as server:
        endpoint(server, max_side=20, num_images=1).describe(clip())
        endpoint(server, max_side=64, num_images=1).describe(clip())
    assert [next(images(body)).size for body in server.bodies] == [(20, 12), (40, 24)]


def test_a_prompt_is_made_dense_without_images():
    with ChatServer(lambda body: Reply(answer(" A brown\ndog \x00 runs\ud800. "))) as server:
        captioner = endpoint(server, upsample_prompt="More of: {prompt}")
        assert captioner.upsample("a {dog}", seed=7) == "A brown dog runs ."
    [body] = server.bodies
    assert body["messages"] == [{"role": "user", "content": "More of: a {dog}"}]
    assert (body["temperature"], body["seed"]) == (0, 7)


@pytest.mark.parametrize(
    "passing",
    [
        Reply({"error": {"message": "busy"}}, 500),
        Reply(b"<html>", 503),
        Reply(b"", 429),
        Reply(b"", 408),
        Reply(answer("A dog runs."), missing=20),
        Reply(answer("A dog runs."), delay_seconds=0.5),
        Reply(answer("A dog runs."), drip_seconds=0.05),
    ],
    ids=["500", "503", "429", "408", "cut", "late", "drip"],
)
def test_what_passes_is_waited_out(passing):
    with ChatServer(good, [passing, passing]) as server:
        assert endpoint(server, timeout_seconds=0.2).describe(clip()) == "A dog runs."
    assert len(server.requests) == 3
    assert len({str(body) for body in server.bodies}) == 1


@pytest.mark.parametrize(
    ("reply", "says", "tries"),
    [
        (Reply({"error": {"message": "out\nof memory"}}, 500), "status 500: out of memory", 3),
        (Reply(b"", 429), "status 429: Too Many Requests", 3),
        (Reply(answer("late"), delay_seconds=0.5), r"no answer in 0\.2 seconds", 3),
        (Reply(answer("drip"), drip_seconds=0.05), r"no answer in 0\.2 seconds", 3),
        (Reply(answer("cut"), missing=5), "the connection broke", 3),
        (Reply({"error": {"message": "too many images"}}, 400), "status 400: too many images", 1),
        (Reply(b"x" * 3000, 413), "status 413: x{200}$", 1),
        (Reply(b"{broken"), "not JSON", 1),
        (Reply(b"[" * 100_000), "not JSON", 1),
        (Reply(b"\xff\xfe\xfa"), "not JSON", 1),
        (Reply(answer("x" * 2**20)), "over 1048576 bytes", 1),
        (Reply([]), "no choices", 1),
        (Reply({"choices": []}), "no choices", 1),
        (Reply({"choices": [{"message": None}]}), "no choices", 1),
        (Reply({"choices": ["text"]}), "no choices", 1),
        (Reply(answer(None)), "said nothing", 1),
        (Reply(answer(["A dog"])), "said nothing", 1),
        (Reply(answer(" \n ")), "said nothing", 1),
        (Reply(answer("A dog ru", "length")), "cut: raise config.endpoint.max_tokens", 1),
        (Reply(answer("A dog", "content_filter")), "did not finish: 'content_filter'", 1),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_what_fails_is_this_clips_failure_in_one_line(reply, says, tries):
    with ChatServer(lambda body: reply) as server, pytest.raises(CaptionError, match=says) as caught:
        endpoint(server, timeout_seconds=0.2).describe(clip())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert len(server.requests) == tries


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_wrong_address_or_key_is_no_clips_failure(status):
    says = f"status {status}: go away; mend config.endpoint"
    with ChatServer(lambda body: Reply({"error": {"message": "go away"}}, status)) as server:
        captioner = endpoint(server)
        with pytest.raises(ValueError, match=says) as caught:
            captioner.describe(clip())
    assert not isinstance(caught.value, CaptionError)
    assert len(server.requests) == 1


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ValueError, match=r"cannot reach .*refused.*is it running") as caught:
            endpoint(url).describe(clip())
    assert not isinstance(caught.value, CaptionError)


def test_an_endpoint_that_loses_every_call_is_given_up():
    with ChatServer(lambda body: Reply(b"", 500)) as server:
        captioner = endpoint(server, max_retries=0)
        for _ in range(15):
            with pytest.raises(CaptionError):
                captioner.describe(clip())
        with pytest.raises(
            ValueError, match=r"16 calls .* in a row were lost, the last: status 500"
        ) as caught:
            captioner.describe(clip())
        assert not isinstance(caught.value, CaptionError)
        server.script = [Reply(b"", 400)]
        with pytest.raises(CaptionError, match="400"):  # refused, and so there again
            captioner.describe(clip())
        for _ in range(15):
            with pytest.raises(CaptionError, match="500"):
                captioner.describe(clip())
        server.script = [good({})]
        captioner.describe(clip())
        with pytest.raises(CaptionError, match="500"):
            captioner.describe(clip())


def test_waiting_is_doubled_and_what_the_server_asks_for():
    busy, asks = Reply(b"", 429), Reply(b"", 429, {"Retry-After": "1"})
    with ChatServer(good, [busy, busy, asks, Reply(b"", 429, {"Retry-After": "Fri, 31 Dec"})]) as server:
        endpoint(server, max_retries=4, backoff_seconds=0.05).describe(clip())
    gaps = np.diff(server.times)
    assert 0.03 <= gaps[0] < 0.5
    assert gaps[1] >= 0.07
    assert gaps[2] >= 1.0
    assert 0.29 <= gaps[3] < 0.95


def test_calls_from_threads_are_at_the_same_time():
    with ChatServer(lambda body: Reply(answer("x"), delay_seconds=0.3)) as server:
        captioner = endpoint(server, max_concurrent=3)
        assert captioner.concurrency == 3
        started = time.monotonic()
        threads = [threading.Thread(target=captioner.describe, args=(clip(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 0.85
    assert server.most_at_once == 3


def test_the_key_goes_to_the_endpoint_and_nowhere_else(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_KEY", f" {KEY}\n")
    echoes = Reply({"error": {"message": f"bad request by {KEY}"}}, 400)
    with ChatServer(good) as other, ChatServer(good, [Reply(), echoes]) as server:
        server.script[0] = Reply(b"", 302, {"Location": f"{other.url}/chat/completions"})
        captioner = endpoint(server, api_key_variable="A_KEY")
        with pytest.raises(ValueError, match="status 302"):
            captioner.describe(clip())
        with pytest.raises(CaptionError, match=r"bad request by \*\*\*"):
            captioner.describe(clip())
        assert captioner.describe(clip()) == "A dog runs."
        assert other.requests == []
    assert [headers["Authorization"] for _, headers, _ in server.requests] == [f"Bearer {KEY}"] * 3
    assert KEY not in str(captioner.source) + caplog.text + str(server.bodies)


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_is_none_is_refused_unseen(monkeypatch, value):
    monkeypatch.setenv("A_KEY", value)
    with pytest.raises(ValueError, match="environment variable A_KEY") as caught:
        endpoint("http://127.0.0.1:9/v1", api_key_variable="A_KEY")
    assert not value.strip() or value not in str(caught.value)


def test_the_source_says_what_decides_a_caption():
    sources = [
        endpoint("http://127.0.0.1:9", **changes).source
        for changes in ({}, {"model": "big"}, {"prompt": "Say."}, {"num_images": 2}, {"max_side": 99})
    ]
    assert len({str(source) for source in sources}) == 5
    assert sources[0] == endpoint("http://elsewhere/v1", timeout_seconds=9.0, max_concurrent=1).source
    assert {"captioner", "model", "prompt_sha256"} <= set(sources[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(base_url="localhost:8000"), "base_url is 'localhost:8000'; give one"),
        (dict(base_url="file:///etc/passwd"), "base_url"),
        (dict(base_url=f"http://me:{KEY}@host/v1"), "api_key_variable"),
        (dict(base_url=f"http://host/v1?key={KEY}"), "api_key_variable"),
        (dict(num_images=0), "num_images is 0; give 1 or more"),
        (dict(max_concurrent=0), "max_concurrent is 0"),
        (dict(max_tokens=0), "max_tokens is 0"),
        (dict(timeout_seconds=0.0), "timeout_seconds is 0.0"),
        (dict(timeout_seconds=float("nan")), "timeout_seconds is nan"),
        (dict(max_retries=-1), "max_retries is -1"),
        (dict(upsample_prompt="Make it long."), "has no {prompt}"),
    ],
)
def test_mistakes_are_named(changes, says):
    with pytest.raises(ValueError, match=says) as caught:
        VisionEndpointConfig(**{"model": "m", **changes})
    assert KEY not in str(caught.value)


def test_a_model_must_be_named():
    with pytest.raises(ValueError, match=r"set config\.endpoint\.model"):
        VisionEndpoint(VisionEndpointConfig())
