"""The four levels: what makes an input, and what checks some of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from . import connections, dialogues, files, frames, scripts


class Level(NamedTuple):
    """Inputs of one level; they are checked so many `together`, because a capture of many costs little more."""

    make: Callable[[Random], Any]
    check: Callable[[Sequence[Any], str], None]
    together: int


def _payload(chance: Random) -> scripts.Script:
    return chance.choice((scripts.of_octets, scripts.of_octets, scripts.of_messages))(chance)


def _dialogue(inputs: Sequence[scripts.Script], seed: str) -> None:
    for script in inputs:
        dialogues.check(script, seed)


def _file(inputs: Sequence[bytes], seed: str) -> None:
    for octets in inputs:
        files.check(octets, seed)


LEVELS = {
    "dialogue": Level(scripts.of_messages, _dialogue, 1),
    "payload": Level(_payload, connections.check, 64),
    "packet": Level(frames.make, frames.check, 64),
    "file": Level(files.make, _file, 1),
}


def group(name: str, seed: int, number: int) -> list[Any]:
    """The inputs that are checked together from this number on."""
    level = LEVELS[name]
    return [level.make(Random(f"{name}/{seed}/{each}")) for each in range(number, number + level.together)]


def check(name: str, seed: int, number: int) -> None:
    """Make the inputs from this number on, and check them."""
    LEVELS[name].check(group(name, seed, number), f"{seed}/{number}")
