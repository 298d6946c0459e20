"""Records as columns: whole numbers in as few octets as they need, words once in a dictionary.

A page with 100,000 conversations is small because of how they lie here. Every value becomes a whole number: words are
places in one dictionary, times are nanoseconds, numbers that grow are distances from the row before. A column's
numbers are cut into planes (all lowest octets, then all second ones, …), where gzip finds what repeats. 0 is null.

    length of the header, 4 octets little-endian | header, JSON | planes of the columns in the header's order

The header is `{"rows", "columns": [[name, kind, count, width, base]…], "words": […], …}`; `base` names the column
that an offset is counted from. `assets/columns.js` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

GREATEST = 2**53 - 1
"""What a number of the page can hold exactly; larger ones are cut to it."""


class Dictionary:
    """Words by place, from 0 in the order in which they came."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, word: str) -> int:
        return self._places.setdefault(word, len(self._places))

    def words(self) -> list[str]:
        return list(self._places)


class Column:
    """The numbers of one column.

    Kinds: `int`, `step` (distance from the row before), `offset` (distance from the same row of another column),
    `seconds`, `word`, `list` and `object` (JSON in the dictionary), `bool`, `count` (of a list's rows).
    """

    __slots__ = ("_dictionary", "_last", "base", "kind", "name", "numbers")

    def __init__(self, name: str, kind: str, dictionary: Dictionary, base: str | None = None) -> None:
        self.name = name
        self.kind = kind
        self.base = base
        self.numbers: list[int] = []
        self._dictionary = dictionary
        self._last = 0

    def add(self, value: Any) -> None:
        """The next row's value, None for null. For an offset the distance."""
        self.numbers.append(0 if value is None else self._number(value) + 1)

    def _number(self, value: Any) -> int:
        kind = self.kind
        if kind == "word":
            return self._dictionary.place(value)
        if kind == "seconds":
            return min(max(round(value * 1e9), 0), GREATEST)
        if kind in ("list", "object"):
            return self._dictionary.place(json.dumps(value, separators=(",", ":")))
        if kind == "step":
            distance, self._last = value - self._last, value
            return _signless(distance)
        if kind == "offset":
            return _signless(value)
        return min(int(value), GREATEST)

    def planes(self) -> tuple[int, bytes]:
        """Octets that each number takes, and the planes, lowest octets first."""
        numbers = np.array(self.numbers, np.uint64)
        width = (int(numbers.max()).bit_length() + 7) // 8 if len(numbers) else 0
        octets = numbers.astype("<u8").view(np.uint8).reshape(-1, 8)
        return width, np.ascontiguousarray(octets[:, :width].T).tobytes()


def container(columns: Iterable[Column], dictionary: Dictionary, facts: Mapping[str, Any]) -> bytes:
    """Columns, their dictionary and what else the page needs to know, as described in this module's docstring."""
    listed = []
    bodies = []
    for column in columns:
        width, planes = column.planes()
        listed.append([column.name, column.kind, len(column.numbers), width, column.base])
        bodies.append(planes)
    header = json.dumps({"columns": listed, "words": dictionary.words(), **facts}, separators=(",", ":")).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *bodies])


def _signless(distance: int) -> int:
    """Small numbers of either sign as small numbers: 0, -1, 1, -2, … become 0, 1, 2, 3, …"""
    distance = min(max(distance, -(GREATEST // 2)), GREATEST // 2)
    return 2 * distance if distance >= 0 else -2 * distance - 1
