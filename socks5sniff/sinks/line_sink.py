"""A format with a line for each conversation, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written

from .layouts import Lines
from .sink import Options, Totals, Writer


class LineSink:
    """Lines of rows of forms are made together, those of others one by one; flushed when someone waits for them."""

    def __init__(
        self, out: Writer, options: Options, lines: Lines, line: Callable[[Conversation], str], end: str = "\n"
    ) -> None:
        """`line` gives what `lines` does, of one conversation; neither has the line's `end`."""
        self._out = out
        self._prompt = options.prompt
        self._lines = lines
        self._line = line
        self._end = end

    def records(self, batch: Batch) -> None:
        if not len(batch):
            return
        self._begin(batch)
        self._out.write("".join(texts(self._lines, self._line, batch, self._end)))
        if self._prompt:
            self._out.flush()

    def conversation(self, conversation: Conversation) -> None:
        self.records(written([conversation]))

    def close(self, totals: Totals) -> None:
        self._out.flush()

    def printed(self, batch: Batch) -> list[str]:
        """The lines of records whose ids may not be known, each from behind the id, if it has one."""
        batch.id = np.array([0 if each is None else each.id for each in batch.written], np.int64)
        made = texts(self._lines, self._line, batch)
        head = self._lines.head
        if head is None:
            return made
        return [text[len(head) + len(str(number)) :] for number, text in zip(batch.id.tolist(), made, strict=True)]

    def _begin(self, batch: Batch) -> None:
        """Write what stands before these lines."""


def texts(lines: Lines, line: Callable[[Conversation], str], batch: Batch, end: str = "") -> list[str]:
    """A batch's lines, each with this end."""
    if batch.printed is None:
        return [
            f"{line(batch.row(row)) if made is None else made.decode()}{end}"
            for row, made in enumerate(lines.of(batch))
        ]
    head, numbers = lines.head, batch.id.tolist()
    return [
        f"{line(batch.row(row))}{end}"
        if rest is None
        else f"{rest}{end}"
        if head is None
        else f"{head}{number}{rest}{end}"
        for row, (number, rest) in enumerate(zip(numbers, batch.printed, strict=True))
    ]
