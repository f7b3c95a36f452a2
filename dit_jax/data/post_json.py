# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""JSON to a web service and its answer back: bounded in time, size and tries, and keeping a key secret."""

import contextlib
import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from dit_jax.data.captioner import CaptionError

MAX_ANSWER_BYTES = 2**20
_MAX_DELAY_SECONDS = 60.0
_CHUNK_BYTES = 2**16
_MAX_DETAIL = 200  # characters of what a service says of an error
_USERS_TO_MEND = {301, 302, 303, 307, 308, 401, 403, 404, 405}  # the address or the key: no other call works
_WORTH_REPEATING = {408, 425, 429}  # and all from 500 on
_HOPELESS = 16  # calls in a row that were lost with all their retries: so will the others be


class _Passing(Exception):
    """What may pass: `final` is raised if it does not; `delay_seconds` is what the service asks for."""

    def __init__(self, final: ValueError, delay_seconds: float = 0.0):
        self.final, self.delay_seconds = final, delay_seconds


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for the host that it was given for, and for no other that this one names."""

    def redirect_request(self, *args: Any) -> None:
        return None


class JsonService:
    """Posts JSON objects to one address; may be called from many threads.

    Args:
      url: of the service.
      key: sent as a bearer token, and struck from every message; "" for none.
      timeout_seconds: for a whole answer.
      max_retries: after the first try, of what may pass: no connection, no answer in time, statuses 408, 425,
        429 and from 500 on.
      backoff_seconds: before the first retry; doubled for each further one. `Retry-After` is heeded up to a
        minute.
    """

    def __init__(
        self, url: str, key: str, *, timeout_seconds: float, max_retries: int, backoff_seconds: float
    ):
        self._url, self._key = url, key
        self._timeout, self._retries, self._backoff = timeout_seconds, max_retries, backoff_seconds
        self._lost = 0
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, payload: Mapping[str, Any]) -> Any:
        """The answer to a payload.

        Raises:
          CaptionError: this payload was refused, or its answer is late, too large or not JSON.
          ValueError: the service cannot be reached, or its address or key is wrong, or it
            loses one call after the other.
        """
        data = json.dumps(payload).encode()
        for attempt in range(self._retries + 1):
            try:
                return self._parsed(self._answered(data))
            except _Passing as error:
                passing = error
            if attempt < self._retries:
                time.sleep(self._delay(attempt, passing.delay_seconds))
        self._lost += 1
        if self._lost >= _HOPELESS:
            raise ValueError(
                f"{self._lost} calls of {self._url} in a row were lost, the last: {passing.final}"
            )
        raise passing.final

    def _answered(self, data: bytes) -> bytes:
        try:
            body = self._once(data)
        except CaptionError:
            self._lost = 0  # refused, but by a service that is there
            raise
        self._lost = 0
        return body

    def _delay(self, attempt: int, asked: float) -> float:
        own = self._backoff * 2**attempt * random.uniform(0.75, 1.25)  # so that threads do not come at once
        return min(_MAX_DELAY_SECONDS, max(own, asked))

    def _once(self, data: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, data, headers)
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return self._read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except urllib.error.URLError as error:  # before anything was answered
            reason = f"cannot reach {self._url}: {error.reason}; is it running, and config.endpoint right?"
            raise _Passing(ValueError(self._clean(reason))) from None
        except TimeoutError:
            raise _Passing(CaptionError(f"no answer in {self._timeout:g} seconds")) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(CaptionError(self._clean(f"the connection broke: {error!r}"))) from None

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        body = b""
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise CaptionError(f"the answer is over {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:  # the socket's own timeout starts anew with every byte
                raise TimeoutError
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        return body

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        text = f"status {error.code}: {self._detail(error)}"
        if error.code in _USERS_TO_MEND:
            return ValueError(f"{self._url} answered {text}; mend config.endpoint")
        if error.code in _WORTH_REPEATING or error.code >= 500:
            return _Passing(CaptionError(text), _seconds(error.headers.get("Retry-After")))
        return CaptionError(text)

    def _detail(self, error: urllib.error.HTTPError) -> str:
        """What the service says of it, where it says so as they do: `{"error": {"message": ...}}`."""
        try:
            body = error.read(_CHUNK_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return error.reason
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            body = json.loads(body)["error"]["message"]
        return self._clean(str(body) or str(error.reason))

    def _clean(self, text: str) -> str:
        """One line without the key, of bounded length."""
        text = text.replace(self._key, "***") if self._key else text
        return " ".join(text.split())[:_MAX_DETAIL]

    def _parsed(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise CaptionError("the answer is not JSON") from None


def _seconds(retry_after: str | None) -> float:
    """Seconds of a `Retry-After`; 0 where there is none, or it is a date."""
    return float(retry_after) if retry_after and retry_after.strip().isdecimal() else 0.0
