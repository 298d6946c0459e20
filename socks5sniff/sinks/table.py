"""`table`: conversations for the eye, in columns that fit the terminal, with totals and counts by outcome below.

The widths of columns are those of all rows: until the last one has come, rows wait, in memory and then in a temporary
file. Where someone waits for each row, it is shown at once in columns that grow with what comes. On a terminal cells
are cut and columns left out so that lines fit, which the last line says; elsewhere nothing is cut or left out.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import IO, NamedTuple

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written

from .clock import Clock
from .columns import RESULT, SEPARATOR, TIME, cell, chosen, usual_rows
from .layout import GAP, Need, display_width, fit, fitted, widest
from .sink import Options, Totals, Writer
from .words import COLOURS, counted

SHOWN_PROXIES = 10
"""Proxies for which the last lines say what connections were tried in vain."""
BLOCK = 10_000
"""Rows kept in memory, and brought into the order of their ids together."""
_RESET = "\x1b[0m"


class Row(NamedTuple):
    """One conversation, ready to be laid out."""

    id: int
    outcome: str
    start_ns: int
    cells: list[str]
    """One for each column; that of the time is empty."""


class TableSink:
    """Rows, then the summary."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._options = options
        self._columns = chosen(options.columns)
        self._lines = None if options.columns else usual_rows()
        self._all = bool(options.columns)
        self._clock = Clock(options.time)
        self._rows = Rows()
        self._sizes = [0] * len(self._columns)
        self._shown: dict[int, int] = {}
        """Size of each column that is shown, by its index."""
        self._first = self._last = 0
        """Least and greatest time, in nanoseconds."""
        self._outcomes: Counter[str] = Counter()

    def records(self, batch: Batch) -> None:
        rows = self._rows_of(batch)
        if self._options.prompt:
            for row in rows:
                self._measure([row])
                self._show_at_once(row)
        elif rows:
            self._measure(rows)
            self._rows.add(rows)

    def conversation(self, conversation: Conversation) -> None:
        self.records(written([conversation]))

    def _rows_of(self, batch: Batch) -> list[Row]:
        if self._lines is None:
            return list(map(self._row, batch))
        rows = []
        ids, starts = batch.id.tolist(), batch.times("start").tolist()
        for index, line in enumerate(self._lines.of(batch)):
            if line is None:
                rows.append(self._row(batch.row(index)))
            else:
                *cells, outcome = line.decode().split(SEPARATOR)
                rows.append(Row(ids[index], outcome, starts[index], cells))
        return rows

    def _row(self, conversation: Conversation) -> Row:
        cells = [cell(column, conversation) for column in self._columns]
        return Row(conversation.id, conversation.outcome, conversation.start_ns, cells)

    def close(self, totals: Totals) -> None:
        if self._rows:
            self._shown = self._fit()
            self._out.write(self._heading())
            write, line, template, dated = self._out.write, self._line, self._template(), self._dated
            for row in self._rows:
                write(line(row, dated, template))
        self._out.write(self._summary(totals))
        self._out.flush()

    def _measure(self, rows: Sequence[Row]) -> None:
        starts = [row.start_ns for row in rows]
        if self._outcomes:
            starts += [self._first, self._last]
        self._first, self._last = min(starts), max(starts)
        self._clock.origin = self._first
        self._outcomes.update([row.outcome for row in rows])
        for index, texts in enumerate(zip(*[row.cells for row in rows], strict=True)):
            self._sizes[index] = max(self._sizes[index], widest(texts))

    def _show_at_once(self, row: Row) -> None:
        """With a new heading where this row does not go under the last one."""
        before, self._shown = self._shown, self._fit()
        # Where nothing is cut, a column may as well grow under its old heading.
        if not before or (self._options.width is not None and self._shown != before):
            self._out.write(self._heading())
        self._out.write(self._line(row, self._dated))
        self._out.flush()

    def _fit(self) -> dict[int, int]:
        """The sizes of what is shown for the rows so far: columns with something in them, or those that were chosen."""
        needs = []
        indexes = []
        everything = self._all or (self._options.prompt and self._options.width is None)
        for index, (column, size) in enumerate(zip(self._columns, self._sizes, strict=True)):
            if column.name == TIME:
                size = display_width(self._clock.brief(self._last, self._dated))
            elif not size and not everything:
                continue
            if self._options.prompt and not column.right:
                size = max(size, column.least)  # so that the next rows fit, too
            size = max(size, display_width(self._title(index)))
            indexes.append(index)
            needs.append(Need(size, column.least, 0 if self._all else column.rank))
        return {indexes[place]: size for place, size in fit(needs, self._options.width).items()}

    @property
    def _dated(self) -> bool:
        return self._clock.day(self._first) != self._clock.day(self._last)

    def _title(self, index: int) -> str:
        column = self._columns[index]
        return f"{column.title} ({self._clock.label(self._first, self._last)})" if column.name == TIME else column.title

    def _heading(self) -> str:
        titles = [fitted(self._title(index), size, self._columns[index].right) for index, size in self._shown.items()]
        rules = ["-" * size for size in self._shown.values()]
        return "".join((" " * GAP).join(cells).rstrip() + "\n" for cells in (titles, rules))

    def _template(self) -> str | None:
        """What `%` makes a line of ASCII texts with, where nothing is cut or coloured."""
        if self._options.colour or any(size < self._sizes[index] for index, size in self._shown.items()):
            return None
        return (" " * GAP).join(
            f"%{'' if self._columns[index].right else '-'}{size}s" for index, size in self._shown.items()
        )

    def _line(self, row: Row, dated: bool, template: str | None = None) -> str:
        texts = [
            self._clock.brief(row.start_ns, dated) if self._columns[index].name == TIME else row.cells[index]
            for index in self._shown
        ]
        if template is not None and "".join(texts).isascii():
            return (template % tuple(texts)).rstrip() + "\n"
        cells = []
        for text, (index, size) in zip(texts, self._shown.items(), strict=True):
            column = self._columns[index]
            text = fitted(text, size, column.right, column.middle)
            if self._options.colour and column.name == RESULT:
                text = f"{COLOURS.get(row.outcome, '')}{text}{_RESET}"
            cells.append(text)
        return (" " * GAP).join(cells).rstrip() + "\n"

    def _summary(self, totals: Totals) -> str:
        shown = self._outcomes.total()
        found = f"{shown:,} of {totals.conversations:,}" if shown < totals.conversations else f"{shown:,}"
        word = "conversation" if totals.conversations == 1 and shown <= 1 else "conversations"
        lines = ["", f"{found} {word} in {counted(totals.packets, 'packet')}"]
        if totals.skipped:
            lines[-1] += f" ({totals.skipped:,} not understood)"
        if not shown:
            return "\n".join([*lines[1:], *_attempts(totals), *map(escape_text, totals.notes)]) + "\n"
        counts = []
        for outcome, count in self._outcomes.most_common():
            text = f"{outcome} {count:,}"
            counts.append(f"{COLOURS.get(outcome, '')}{text}{_RESET}" if self._options.colour else text)
        lines.append(", ".join(counts))
        lines += [*_attempts(totals), *map(escape_text, totals.notes)]
        hidden = [
            column.name
            for index, column in enumerate(self._columns)
            if index not in self._shown and (self._sizes[index] or column.name == TIME)
        ]
        if hidden:
            lines.append(f"no room for {','.join(hidden)}: see --columns")
        return "\n".join(lines) + "\n"


def _attempts(totals: Totals) -> Iterator[str]:
    """A line for each proxy that connections were tried to in vain."""
    for number, (proxy, of_proxy) in enumerate(groupby(totals.attempts, itemgetter(0))):
        if number == SHOWN_PROXIES:
            rest = len({proxy for proxy, _, _ in totals.attempts}) - SHOWN_PROXIES
            yield f"and to {rest:,} more"
            return
        counts = ", ".join(f"{outcome} {count:,}" for _, outcome, count in of_proxy)
        yield f"connections to {proxy} without a conversation: {counts}"


class Rows:
    """Rows in the order of their ids, a BLOCK at a time; blocks but the last one are in a temporary file."""

    def __init__(self) -> None:
        self._block: list[Row] = []
        self._file: IO[str] | None = None

    def __bool__(self) -> bool:
        return bool(self._block or self._file)

    def add(self, rows: Sequence[Row]) -> None:
        for begin in range(0, len(rows), BLOCK):
            self._block += rows[begin : begin + BLOCK]
            if len(self._block) >= BLOCK:
                self._put_aside()

    def __iter__(self) -> Iterator[Row]:
        if self._file is not None:
            self._file.seek(0)
            for line in self._file:
                number, outcome, start, *cells = line.removesuffix("\n").split(SEPARATOR)
                yield Row(int(number), outcome, int(start), cells)
            self._file.close()
            self._file = None
        yield from sorted(self._block, key=itemgetter(0))

    def _put_aside(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115 (closed when read)
        for number, outcome, start, cells in sorted(self._block, key=itemgetter(0)):
            self._file.write(SEPARATOR.join((str(number), outcome, str(start), *cells)) + "\n")
        self._block.clear()
