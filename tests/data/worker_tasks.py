# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests have a bounded worker do; it finds them by name, so this imports quickly."""

import ctypes
import os
import time


def squares(count):
    for k in range(count):
        yield k * k


def process_id():
    yield os.getpid()


def segfault():
    yield 1
    ctypes.string_at(0)


def hang():
    time.sleep(60)
    yield 1


def spin():
    yield 1
    while True:
        pass


def eat(num_bytes):
    yield len(b"1" * num_bytes)


def refuse():
    yield "first"
    raise LookupError("no such thing")


def sends(array):
    yield array[::-1]
