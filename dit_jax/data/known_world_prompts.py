# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Short prompts of the known world made dense, without a word that the world could not show.

What a short prompt leaves open (sizes, speeds, starts, and with them bounces, gravity and collisions) is
drawn from the world itself: the first scene of a stream of scenes that agrees with all that the prompt says.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dit_jax.data.known_world import KnownWorld, KnownWorldConfig
from dit_jax.data.known_world_captions import DIRECTIONS, PALETTE, REGIONS, SHAPES, SIZES, SPEEDS, caption
from dit_jax.data.known_world_physics import UNIT, Body
from dit_jax.data.known_world_scene import LEVELS, draw_scene

_STREAMS = 2**62  # seeds from here on are for prompts: no data set is made of these scenes
_MAX_SCENES = 2**18  # half a minute; three shapes that say only their directions need a thousand
_GRAMMAR = "write prompts such as 'A red circle moves right and a blue square moves up and left.'"


class PromptError(ValueError):
    """A prompt that the world has no words for, or no scene."""


def _one_of(name: str, words: Iterable[str]) -> str:
    return f"(?P<{name}>{'|'.join(sorted(words, key=len, reverse=True))})"


_BODY = (
    f"an? (?:{_one_of('size', SIZES)} )?{_one_of('colour', PALETTE)} {_one_of('shape', SHAPES)} "
    f"mov(?:es|ing)(?: {_one_of('speed', SPEEDS)})? {_one_of('direction', DIRECTIONS)}"
    f"(?: from the {_one_of('region', sum(REGIONS, ()))}(?: of a dark background)?)?"
)
_FIND = re.compile(_BODY, re.IGNORECASE)
_UNNAMED = re.sub(r"\?P<\w+>", "?:", _BODY)
_WHOLE = re.compile(rf"{_UNNAMED}(?:(?:, and |, | and |\. ){_UNNAMED})*\.?", re.IGNORECASE)


def densify(prompt: str, config: KnownWorldConfig, seed: int = 0) -> str:
    """A dense caption that `config`'s world could have, of a clip that `prompt` describes too.

    A prompt names each shape with its colour and direction, and may give its size, speed and start. One that
    gives all of them for each is dense already, and comes back as it is.

    Args:
      prompt: in the words of the world's short captions.
      config: of the world; its seed is not used.
      seed: decides what the prompt leaves open: equal prompts with equal seeds become equal.

    Raises:
      PromptError: the prompt is in other words, or the world has no such scene.
    """
    wanted = [_lower(match.groupdict()) for match in _FIND.finditer(prompt)]
    if wanted and all(all(body.values()) for body in wanted):
        return prompt
    if not _WHOLE.fullmatch(prompt.strip()):
        raise PromptError(f"{prompt!r} is not in the known world's words: {_GRAMMAR}")
    _check(wanted, config.level)
    truth = _scene(wanted, dataclasses.replace(config, seed=_STREAMS + seed, num_clips=None))
    objects = [thing | {"colour": w["colour"], "shape": w["shape"]} for thing, w in _pairs(truth, wanted)]
    return caption({**truth, "objects": objects})["dense"]


def _lower(body: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: word and word.lower() for name, word in body.items()}


def _check(wanted: Sequence[Mapping[str, str | None]], level: int) -> None:
    """Refuses at once what no scene of a level shows."""
    rules, colours = LEVELS[level], [body["colour"] for body in wanted]
    if len(set(colours)) < len(colours):
        raise PromptError(f"two shapes are {max(colours, key=colours.count)}: give each its own colour")
    if len(wanted) not in rules.counts:
        raise PromptError(
            f"{len(wanted)} shapes, and level {level} has {' or '.join(map(str, rules.counts))}: name so many"
        )
    for name, words in (("direction", rules.directions), ("size", rules.sizes)):
        for word in (body[name] for body in wanted):
            if word and word not in words:
                raise PromptError(f"{name} {word!r} is not in level {level}: choose {', '.join(words)}")
    if rules.occluder and wanted[0]["direction"] not in ("right", "left"):
        raise PromptError(f"the first shape of level {level} passes a bar: let it move right or left")


def _scene(wanted: Sequence[Mapping[str, str | None]], config: KnownWorldConfig) -> dict[str, Any]:
    """The truth of the stream's first clip that agrees with what is wanted, but for colours and shapes."""
    world, width = KnownWorld(config), UNIT * config.width // config.height
    for index in range(_MAX_SCENES):
        bodies = draw_scene(config.level, config.seed, index, width).bodies
        if len(bodies) == len(wanted) and all(map(_agrees, bodies, wanted)):
            truth = world[index].truth
            if all(w["region"] in (None, thing["region"]) for thing, w in _pairs(truth, wanted)):
                return truth
    raise PromptError(f"no scene in {_MAX_SCENES} of level {config.level} is like that: leave more unsaid")


def _agrees(body: Body, wanted: Mapping[str, str | None]) -> bool:
    # Colours change nothing that happens, and of the shapes only a triangle turns elsewhere at a wall.
    same = (body.shape == "triangle") == (wanted["shape"] == "triangle")
    words = ((body.direction, "direction"), (body.size, "size"), (body.speed, "speed"))
    return same and all(wanted[name] in (None, word) for word, name in words)


def _pairs(truth: Mapping[str, Any], wanted: Sequence[Mapping[str, str | None]]) -> Iterable[tuple]:
    return zip(truth["objects"], wanted, strict=True)
