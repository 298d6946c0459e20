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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socks5sniff.record import plain

Numbers = NDArray[np.float64]

GREATEST = 2.0**53 - 1
"""What a number of the page can hold exactly; larger ones are cut to it."""
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class Dictionary(dict[str | None, int]):
    """Words by place, from 1 in the order in which they came; null has place 0."""

    def __init__(self) -> None:
        super().__init__({None: 0})

    def __missing__(self, word: str | None) -> int:
        place = self[word] = len(self)
        return place

    def words(self) -> list[str]:
        return [word for word in self if word is not None]


class Column:
    """The numbers of one column.

    Kinds: `int` (and `bool`), `step` (distance from the row before), `offset` (distance from another number of the
    same row), `seconds`, `word`, `list` and `object` (JSON in the dictionary), `count` (rows that a list has).
    """

    __slots__ = ("_chunks", "_dictionary", "_last", "base", "kind", "name")

    def __init__(self, name: str, kind: str, dictionary: Dictionary, base: str | None = None) -> None:
        self.name = name
        self.kind = kind
        self.base = base
        self._chunks: list[NDArray[np.uint64]] = []
        self._dictionary = dictionary
        self._last = 0.0

    def take(self, values: Sequence[Any] | NDArray[Any]) -> None:
        """More rows' values, None for null; of an offset the distances."""
        if self.kind == "object":
            values = [plain(value) for value in values]
        if self.kind in ("list", "object"):
            values = [None if value is None else _dumps(value) for value in values]
        if self.kind in ("word", "list", "object"):
            places = map(self._dictionary.__getitem__, values)
            self._chunks.append(np.fromiter(places, np.uint64, len(values)))
        else:
            self._chunks.append(self._numbers(np.array(values, np.float64)))

    def _numbers(self, values: Numbers) -> NDArray[np.uint64]:
        """0 for null (which is NaN by now), else the number and one."""
        if self.kind == "seconds":
            values = np.rint(np.where(values < 0, np.nan, values) * 1e9)  # a step that took less than no time is none
        elif self.kind == "step":
            values, self._last = np.diff(values, prepend=self._last), values[-1] if len(values) else self._last
        if self.kind in ("step", "offset"):
            values = np.where(values < 0, -2 * values - 1, 2 * values)
        return np.where(np.isnan(values), 0, np.clip(values, 0, GREATEST - 1) + 1).astype(np.uint64)

    def planes(self) -> tuple[int, int, bytes]:
        """How many numbers there are, octets that each takes, and the planes, lowest octets first."""
        numbers = np.concatenate(self._chunks) if self._chunks else np.empty(0, np.uint64)
        width = (int(numbers.max()).bit_length() + 7) // 8 if len(numbers) else 0
        octets = numbers.astype("<u8").view(np.uint8).reshape(-1, 8)
        return len(numbers), width, np.ascontiguousarray(octets[:, :width].T).tobytes()


def container(columns: Iterable[Column], dictionary: Dictionary, facts: Mapping[str, Any]) -> bytes:
    """Columns, their dictionary and what else the page needs to know, as described in this module's docstring."""
    listed = []
    bodies = []
    for column in columns:
        count, width, planes = column.planes()
        listed.append([column.name, column.kind, count, width, column.base])
        bodies.append(planes)
    header = json.dumps({"columns": listed, "words": dictionary.words(), **facts}, separators=(",", ":")).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *bodies])
