# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Captions by a vision-language model behind an OpenAI-compatible endpoint, on a host that the user runs.

vLLM, SGLang, llama.cpp and Ollama serve one; `POST {base_url}/chat/completions` is all that is asked of it.
"""

import base64
import dataclasses
import hashlib
import io
import os
import unicodedata
import urllib.parse
from typing import Any

import numpy as np
from PIL import Image

from dit_jax.arrays import VideoBytes
from dit_jax.data.captioner import CaptionError
from dit_jax.data.captions import caption_at
from dit_jax.data.clip import Clip
from dit_jax.data.post_json import JsonService

PROMPT = (
    "These are frames of one video of {seconds} seconds, in their order and evenly spaced. Describe the video "
    "in one paragraph: who and what is in it, how each looks, what each does and how it moves from beginning "
    "to end, the place, the light, the style and the movement of the camera. State only what can be seen. "
    "Begin with the subject, and mention neither frames nor images."
)
UPSAMPLE_PROMPT = (
    "Rewrite this prompt for a video as one paragraph that describes the video in detail: subjects and their "
    "looks, motion from beginning to end, place, light, style and camera. Keep everything that the prompt "
    "states, contradict none of it, and answer with the paragraph alone. The prompt: {prompt}"
)


@dataclasses.dataclass(frozen=True)
class VisionEndpointConfig:
    """A vision-language model and what to ask of it.

    Attributes:
      base_url: up to and with the version, such as `http://localhost:8000/v1`.
      model: its name at the endpoint.
      api_key_variable: name of the environment variable that holds the key; "" for an endpoint without one.
      prompt: asks for a caption. `{seconds}` becomes the clip's duration, `{caption}` its present caption.
      upsample_prompt: asks for a dense prompt; `{prompt}` becomes the short one.
      num_images: frames shown, from the first to the last, evenly spaced.
      max_side: pixels; larger frames are made smaller.
      max_tokens: of a caption; one that is longer has failed.
      timeout_seconds: for an answer.
      max_retries, backoff_seconds: see `JsonService`.
      max_concurrent: requests at the same time, of each process that captions.
    """

    base_url: str = "http://localhost:8000/v1"
    model: str = ""
    api_key_variable: str = ""
    prompt: str = PROMPT
    upsample_prompt: str = UPSAMPLE_PROMPT
    num_images: int = 8
    max_side: int = 512
    max_tokens: int = 512
    timeout_seconds: float = 120.0
    max_retries: int = 4
    backoff_seconds: float = 1.0
    max_concurrent: int = 8

    def __post_init__(self):
        url = urllib.parse.urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url is {self.base_url!r}; give one such as http://localhost:8000/v1")
        if url.username or url.password or url.query or url.fragment:
            raise ValueError("base_url has more than a host and a path; give a key by api_key_variable")
        for name, least in (("num_images", 1), ("max_side", 16), ("max_tokens", 1), ("max_concurrent", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")
        if not 0 < self.timeout_seconds < np.inf:
            raise ValueError(f"timeout_seconds is {self.timeout_seconds}; give a time above 0")
        if not 0 <= self.max_retries <= 10 or not 0 <= self.backoff_seconds < np.inf:
            raise ValueError(
                f"max_retries is {self.max_retries} and backoff_seconds {self.backoff_seconds}; give 0 to 10 "
                "retries and a time of 0 or more"
            )
        if "{prompt}" not in self.upsample_prompt:
            raise ValueError("upsample_prompt has no {prompt}; put it where the short prompt belongs")


class VisionEndpoint:
    """A `Captioner` that asks a model behind an OpenAI-compatible endpoint, at temperature 0.

    Raises:
      ValueError: no model is named, or the environment has no such key.
    """

    def __init__(self, config: VisionEndpointConfig):
        if not config.model:
            raise ValueError("no model is named: set config.endpoint.model to one that the endpoint serves")
        self.concurrency = config.max_concurrent
        self.source = {
            "captioner": "endpoint",
            "model": config.model,
            "prompt_sha256": hashlib.sha256(config.prompt.encode()).hexdigest()[:16],
            "num_images": str(config.num_images),
            "max_side": str(config.max_side),
        }
        self._config = config
        self._service = JsonService(
            f"{config.base_url.rstrip('/')}/chat/completions",
            _key(config.api_key_variable),
            timeout_seconds=config.timeout_seconds,
            max_retries=config.max_retries,
            backoff_seconds=config.backoff_seconds,
        )

    def describe(self, clip: Clip) -> str:
        frames = _frames(clip.video, self._config.num_images, self._config.max_side)
        text = self._config.prompt.replace("{seconds}", f"{len(clip.video) / clip.fps:.1f}")
        text = text.replace("{caption}", caption_at(clip.captions, "dense"))
        images = [{"type": "image_url", "image_url": {"url": url}} for url in map(_data_url, frames)]
        return self._ask([{"type": "text", "text": text}, *images], 0)

    def upsample(self, prompt: str, seed: int = 0) -> str:
        return self._ask(self._config.upsample_prompt.replace("{prompt}", prompt), seed)

    def _ask(self, content: Any, seed: int) -> str:
        answer = self._service(
            {
                "model": self._config.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": self._config.max_tokens,
                "temperature": 0,
                "seed": seed,
            }
        )
        return _text(answer)


def _key(variable: str) -> str:
    """The key in an environment variable; "" where none is named."""
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"the environment variable {variable} is empty: put the endpoint's key in it")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"the environment variable {variable} holds no key: it has spaces or odd characters")
    return key


def _frames(video: VideoBytes, count: int, max_side: int) -> list[Image.Image]:
    last = len(video) - 1
    indices = np.linspace(0, last, count).round() if count > 1 else [last // 2]
    images = [Image.fromarray(video[int(index)]) for index in np.unique(indices)]
    for image in images:
        image.thumbnail((max_side, max_side))
    return images


def _data_url(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95, subsampling=0)  # colours of small things survive
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _text(answer: Any) -> str:
    """The one caption of an answer, in one line.

    Raises:
      CaptionError: there is none, or it is not whole.
    """
    try:
        choice = answer["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise CaptionError("the answer has no choices[0].message.content") from None
    if finish == "length":
        raise CaptionError("the caption is cut: raise config.endpoint.max_tokens")
    if finish not in (None, "stop"):
        raise CaptionError(f"the model did not finish: {str(finish)[:50]!r}")
    if not isinstance(text, str) or not text.strip():
        raise CaptionError("the model said nothing")
    # Neither control codes nor halves of characters, which no file can hold.
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())
