# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a section of a config to the dataclass that it fills."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

T = TypeVar("T")


def construct(cls: type[T], section: Mapping[str, Any] | ConfigDict, where: str) -> T:
    """`cls(**section)`, naming the nearest valid key where one is unknown; JSON's lists become tuples.

    Raises:
      ValueError: an unknown key, or what `cls` itself refuses.
    """
    valid = [field.name for field in dataclasses.fields(cls)]
    values = section.to_dict() if isinstance(section, ConfigDict) else dict(section)
    for key in values:
        if key not in valid:
            raise ValueError(f"config.{where}.{key} is unknown; {nearest(key, valid)}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def nearest(name: str, valid: list[str]) -> str:
    """Advice for a misspelt name."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid names are {', '.join(sorted(valid))}"
