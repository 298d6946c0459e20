"""`table`: conversations for the eye, in columns that fit the terminal, with totals and counts by outcome below.

The first rows decide the layout (with `prompt`, usual widths do, and each row is shown at once); rows after them are
cut to it, so that memory stays bounded however many there are. Where nothing has to fit, nothing is cut or left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation

from .sink import Options, Rows, Totals, Writer
from .words import explain, octets

CHUNK = 500
"""Rows laid out at a time."""
_GAP = 2
"""Spaces between columns."""
_FILLER = "\0"
"""Taken out again before the table is written; it cannot be in an escaped text."""
_RESET = "\x1b[0m"
_COLOURS = {
    "succeeded": "\x1b[32m",
    "rejected": "\x1b[33m",
    "incomplete": "\x1b[36m",
    "auth-failed": "\x1b[31m",
    "no-acceptable-method": "\x1b[31m",
    "malformed": "\x1b[35m",
}


class Column(NamedTuple):
    """One column of the table."""

    title: str
    text: Callable[[Conversation], str]
    least: int
    """Characters below which the column is of no use."""
    usual: int
    """Characters it mostly needs, for a layout made before any row is seen."""
    rank: int
    """The higher, the sooner the column is left out where all don't fit; 0 stays."""
    right: bool = False
    middle: bool = False
    """Cut in the middle: the end tells as much as the beginning."""


def _number(c: Conversation) -> str:
    return str(c.id) if c.parent is None else f"{c.id} in {c.parent}"


def _octets(conversation: Conversation, index: int) -> str:
    counts = octets(conversation)
    return "" if counts is None else str(counts[index])


def _result(c: Conversation) -> str:
    words = explain(c)
    return c.outcome if c.outcome in ("succeeded", words.replace(" ", "-")) else f"{c.outcome}: {words}"


def _tunnel(c: Conversation) -> str:
    if c.tunnel is not None:
        return " ".join(filter(None, (c.tunnel.protocol, c.tunnel.server_name)))
    return f"{len(c.udp.destinations)} UDP destinations" if c.udp is not None else ""


def _anomalies(c: Conversation) -> str:
    return " ".join(dict.fromkeys(anomaly.code for anomaly in c.anomalies))


COLUMNS = (
    Column("#", _number, 3, 5, 1, right=True),
    Column("time (UTC)", lambda c: c.start[11:23], 12, 12, 5),
    Column("client", lambda c: str(c.client), 21, 21, 2, middle=True),
    Column("proxy", lambda c: str(c.proxy), 21, 21, 6, middle=True),
    Column("user", lambda c: c.username or "", 6, 10, 3),
    Column("command", lambda c: c.command or "", 7, 13, 4),
    Column("destination", lambda c: "" if c.destination is None else str(c.destination), 18, 30, 0, middle=True),
    Column("result", _result, 18, 28, 0),
    Column("tunnel", _tunnel, 7, 22, 7),
    Column("sent", lambda c: _octets(c, 0), 9, 9, 10, right=True),
    Column("received", lambda c: _octets(c, 1), 10, 10, 9, right=True),
    Column("seconds", lambda c: f"{c.duration:.3f}", 8, 9, 11, right=True),
    Column("anomalies", _anomalies, 12, 24, 8),
)
_RESULT = next(index for index, column in enumerate(COLUMNS) if column.title == "result")


class TableSink(Rows):
    """Rows in chunks, then the summary."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._options = options
        self._rows: list[tuple[int, str, list[str]]] = []
        self._layout: list[tuple[int, int]] | None = None
        self._outcomes: Counter[str] = Counter()

    def conversation(self, conversation: Conversation) -> None:
        self._outcomes[conversation.outcome] += 1
        cells = [escape_text(column.text(conversation)) for column in COLUMNS]
        self._rows.append((conversation.id, conversation.outcome, cells))
        if self._options.prompt or len(self._rows) >= CHUNK:
            self._write_rows()

    def close(self, totals: Totals) -> None:
        self._write_rows()
        self._out.write(self._summary(totals))
        self._out.flush()

    def _write_rows(self) -> None:
        if not self._rows:
            return
        from tabulate import tabulate

        width = self._options.width
        first = self._layout is None
        if self._layout is None:
            self._layout = layout([] if self._options.prompt and width else [row for _, _, row in self._rows], width)
        columns = self._layout
        # Titles and rules are rows too, in every chunk: they hold the columns at their sizes. (As tabulate's own
        # headers they would be two characters wider each.)
        rows = [
            [cut(COLUMNS[index].title, size) for index, size in columns],
            ["-" * size for _, size in columns],
        ]
        for _, outcome, row in sorted(self._rows, key=itemgetter(0)):
            cells = [_measured(cut(row[index], size, COLUMNS[index].middle)) for index, size in columns]
            if self._options.colour:
                self._paint(cells, outcome)
            rows.append(cells)
        sides = ["right" if COLUMNS[index].right else "left" for index, _ in columns]
        text = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=sides)
        lines = [line.rstrip() for line in text.replace(_FILLER, "").split("\n")]
        self._out.write("\n".join(lines if first else lines[2:]) + "\n")
        if self._options.prompt:
            self._out.flush()
        self._rows = []

    def _paint(self, cells: list[str], outcome: str) -> None:
        assert self._layout is not None
        for position, (index, _) in enumerate(self._layout):
            if index == _RESULT:
                cells[position] = f"{_COLOURS.get(outcome, '')}{cells[position]}{_RESET}"

    def _summary(self, totals: Totals) -> str:
        shown = self._outcomes.total()
        found = f"{shown:,} of {totals.conversations:,}" if shown < totals.conversations else f"{shown:,}"
        word = "conversation" if totals.conversations == 1 and shown <= 1 else "conversations"
        lines = ["", f"{found} {word} in {totals.packets:,} packets"]
        if totals.skipped:
            lines[-1] += f" ({totals.skipped:,} not understood)"
        if shown:
            counts = []
            for outcome, count in self._outcomes.most_common():
                text = f"{outcome} {count:,}"
                counts.append(f"{_COLOURS.get(outcome, '')}{text}{_RESET}" if self._options.colour else text)
            lines.append(", ".join(counts))
        else:
            lines = lines[1:]
        return "\n".join(lines) + "\n"


def layout(rows: list[list[str]], width: int | None) -> list[tuple[int, int]]:
    """Columns to show and their sizes, as (index into COLUMNS, characters).

    Columns without any content are left out. Where the rest do not fit into `width`, those of the highest rank go
    until the least sizes do, and the widest of the others are narrowed.
    """
    if rows:
        sizes = {
            index: max(len(column.title), *(display_width(row[index]) for row in rows))
            for index, column in enumerate(COLUMNS)
            if any(row[index] for row in rows)
        }
    else:
        sizes = {index: column.usual for index, column in enumerate(COLUMNS)}
    if width is None:
        return list(sizes.items())
    least = {index: min(size, COLUMNS[index].least) for index, size in sizes.items()}
    while sum(least.values()) + _GAP * (len(least) - 1) > width:
        droppable = [index for index in least if COLUMNS[index].rank]
        if not droppable:
            break
        del least[max(droppable, key=lambda index: COLUMNS[index].rank)]
    sizes = {index: sizes[index] for index in least}
    room = max(width - _GAP * (len(sizes) - 1), len(sizes))
    while sum(sizes.values()) > room:
        narrowable = [index for index in sizes if sizes[index] > least[index]] or list(sizes)
        sizes[max(narrowable, key=sizes.__getitem__)] -= 1
    return list(sizes.items())


def display_width(text: str) -> int:
    """Columns of a terminal that `text` takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text)


def _measured(text: str) -> str:
    """`text` with a filler after each wide character, so that tabulate counts two for it without `wcwidth` too."""
    if text.isascii():
        return text
    return "".join([char + _FILLER if east_asian_width(char) in "WF" else char for char in text])


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
