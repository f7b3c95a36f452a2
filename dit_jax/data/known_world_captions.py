# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Words of the known world: its vocabulary, and captions at three levels.

The tables below give every word its meaning, so a caption can be read back into the facts it states:
sizes and speeds are ranges in thousandths of the frame's shorter side (speeds per second), directions
are signs of x (to the right) and y (down), colours are RGB.

The palette is seven corners of the RGB cube and three of its bright face centres: no two are nearer than
179 (red to green is 361), each is over 230 from the background, and dimming by a fifth leaves each nearest
to itself, so colours can be told after a compressor.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "white": (255, 255, 255),
    "pink": (255, 128, 128),
    "mint": (128, 255, 128),
    "lavender": (128, 128, 255),
}
BACKGROUND: tuple[int, int, int] = (16, 16, 16)
OCCLUDER: tuple[int, int, int] = (104, 104, 104)  # as far from the background as from the palette
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "diamond", "cross")
SIZES: dict[str, tuple[int, int]] = {"small": (140, 180), "medium": (220, 270), "large": (320, 450)}
SPEEDS: dict[str, tuple[int, int]] = {"slowly": (200, 260), "steadily": (320, 380), "quickly": (450, 520)}
DIRECTIONS: dict[str, tuple[int, int]] = {
    "right": (1, 0),
    "left": (-1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up and right": (1, -1),
    "up and left": (-1, -1),
    "down and right": (1, 1),
    "down and left": (-1, 1),
}
REGIONS: tuple[tuple[str, str, str], ...] = (
    ("top left", "top", "top right"),
    ("left side", "centre", "right side"),
    ("bottom left", "bottom", "bottom right"),
)
_COLOUR_WORD = re.compile(r"\b(" + "|".join(PALETTE) + r")\b", re.IGNORECASE)


def colours_in(caption: str) -> frozenset[str]:
    """The palette's colours that a caption names."""
    return frozenset(word.lower() for word in _COLOUR_WORD.findall(caption))


def region(x: float, y: float, width: int, height: int) -> str:
    """The ninth of a `width` by `height` frame in which a point (in pixels) lies."""
    row, column = (min(2, int(3 * v / length)) for v, length in ((y, height), (x, width)))
    return REGIONS[row][column]


def caption(truth: Mapping[str, Any]) -> dict[str, str]:
    """Captions of a clip by level, from its truth (see `known_world.KnownWorld`).

    Returns:
      "tag": keywords; "short": one sentence of who moves where; "dense": every fact, in the order of
      objects (size, colour, shape, speed, direction, start, walls hit), gravity, collisions, occluder.
    """
    objects = truth["objects"]
    moves = [f"a {_name(o)} moves {o['direction']}" for o in objects]
    return {
        "tag": ", ".join(f"{_name(o)} moving {o['direction']}" for o in objects),
        "short": _capital(_join(moves)) + ".",
        "dense": " ".join(_sentences(objects, truth)),
    }


def _sentences(objects: Sequence[Mapping[str, Any]], truth: Mapping[str, Any]) -> list[str]:
    sentences = [_motion(i, o, truth["events"]) for i, o in enumerate(objects)]
    if truth["gravity"]:
        whom = ("it", "both shapes", "all three shapes")[len(objects) - 1]
        sentences.append(f"Gravity pulls {whom} down.")
    sentences += _collisions(objects, truth["events"])
    if truth["occluder"]:
        sentences.append("A grey bar stands in front.")
        sentences += _passages(objects, truth["events"])
    return sentences


def _motion(index: int, body: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    where = f"the {body['region']}" + (" of a dark background" if index == 0 else "")
    text = f"A {body['size']} {_name(body)} moves {body['speed']} {body['direction']} from {where}"
    hits = [e["wall"] for e in events if e["kind"] == "wall" and e["object"] == index]
    walls = list(dict.fromkeys(hits))
    if walls:
        text += f", bouncing off the {_join(walls)} wall{'s' if len(walls) > 1 else ''}"
    return text + "."


def _collisions(objects: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[str]:
    pairs = dict.fromkeys(tuple(e["objects"]) for e in events if e["kind"] == "collision")
    return [f"The {_name(objects[i])} and the {_name(objects[j])} collide." for i, j in pairs]


def _passages(objects: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[str]:
    last = {e["object"]: e["kind"] for e in events if e["kind"] in ("hide", "emerge")}
    sentences = []
    for kind, one, many in (("emerge", "passes", "pass"), ("hide", "goes", "go")):
        names = [f"the {_name(body)}" for i, body in enumerate(objects) if last.get(i) == kind]
        if names:
            sentences.append(f"{_capital(_join(names))} {one if len(names) == 1 else many} behind the bar.")
    return sentences


def _name(body: Mapping[str, Any]) -> str:
    return f"{body['colour']} {body['shape']}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
