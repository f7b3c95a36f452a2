# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A server on this machine that speaks as a vision endpoint does, and misbehaves as one may."""

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def answer(text, finish="stop"):
    """A completion as an endpoint sends it."""
    message = {"role": "assistant", "content": text}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }


@dataclasses.dataclass
class Reply:
    """What to send: a JSON value or bytes; slowly, or less than promised."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0  # between bytes
    missing: int = 0  # bytes that are promised and not sent

    def data(self):
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class ChatServer:
    """Answers request k with `script[k]`, and those after the script with `reply(request)`."""

    def __init__(self, reply: Callable[[dict], Reply], script: list[Reply] = ()):
        self.reply, self.script = reply, list(script)
        self.requests: list[tuple[str, dict, dict]] = []  # path, headers, body
        self.times: list[float] = []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()

    @property
    def bodies(self):
        return [body for _, _, body in self.requests]

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer._handle(self)

            def do_GET(self):
                outer._handle(self)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()

    def _handle(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length", 0))) or b"{}")
        with self._lock:
            self.requests.append((handler.path, dict(handler.headers), body))
            self.times.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            scripted = self.script.pop(0) if self.script else None
        reply = scripted or self.reply(body)
        time.sleep(reply.delay_seconds)
        with self._lock:
            self._now -= 1  # before the answer, after which the client may ask anew
        with contextlib.suppress(ConnectionError):  # the client need not wait for the end
            self._send(handler, reply)

    def _send(self, handler, reply):
        data = reply.data()
        handler.send_response(reply.status)
        handler.send_header("Content-Length", str(len(data) + reply.missing))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        for chunk in [data[i : i + 1] for i in range(len(data))] if reply.drip_seconds else [data]:
            handler.wfile.write(chunk)
            time.sleep(reply.drip_seconds)
