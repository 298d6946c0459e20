"""Texts in columns of a terminal: how wide each may be, which are left out, and cutting what is too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import combining, east_asian_width

GAP = 2
"""Spaces between columns."""


class Need(NamedTuple):
    """What one column asks for."""

    size: int
    """Characters it needs for all that is in it."""
    least: int
    """Characters below which it is of no use; where it needs less, that."""
    rank: int
    """The higher, the sooner it is left out; 0 stays."""


def fit(needs: Sequence[Need], width: int | None) -> dict[int, int]:
    """Size of each column that is shown, by its index.

    Where not all fit into `width`, those of the highest rank go until the least sizes do, and the widest of the
    others are narrowed.
    """
    sizes = {index: need.size for index, need in enumerate(needs)}
    if width is None:
        return sizes
    least = {index: min(need.size, need.least) for index, need in enumerate(needs)}
    while sum(least.values()) + GAP * (len(least) - 1) > width:
        droppable = [index for index in least if needs[index].rank]
        if not droppable:
            break
        del least[max(droppable, key=lambda index: needs[index].rank)]
    sizes = {index: sizes[index] for index in least}
    room = max(width - GAP * (len(sizes) - 1), len(sizes))
    while sum(sizes.values()) > room:
        narrowable = [index for index in sizes if sizes[index] > least[index]] or list(sizes)
        sizes[max(narrowable, key=sizes.__getitem__)] -= 1
    return sizes


def display_width(text: str) -> int:
    """Columns of a terminal that `text` takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text)


def padded(text: str, size: int, right: bool = False) -> str:
    """`text` with spaces to fill `size` columns, before it if it is to stand `right`."""
    spaces = " " * (size - display_width(text))
    return spaces + text if right else text + spaces


def fitted(text: str, size: int, right: bool = False, middle: bool = False) -> str:
    """`text` in exactly `size` columns: cut, or with spaces."""
    if len(text) <= size and text.isascii():
        return text.rjust(size) if right else text.ljust(size)
    return padded(cut(text, size, middle), size, right)


def widest(texts: Sequence[str]) -> int:
    """Columns of a terminal that the widest of some texts takes."""
    measure = len if "".join(texts).isascii() else display_width
    return max(map(measure, texts), default=0)


def cut(text: str, size: int, middle: bool = False) -> str:
    """`text` in at most `size` columns, with an ellipsis where something is missing."""
    if display_width(text) <= size:
        return text
    if size <= 1:
        return "…"[:size]
    tail = (size - 1) // 2 if middle else 0
    head = _prefix(text, size - 1 - tail)
    return head + "…" + (_prefix(text[::-1], tail)[::-1] if tail else "")


def _prefix(text: str, size: int) -> str:
    for length in range(min(len(text), size), -1, -1):
        if display_width(text[:length]) <= size:
            return text[:length]
    return ""
