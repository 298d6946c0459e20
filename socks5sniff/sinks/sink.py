"""What every sink is, and the table of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from io import StringIO
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np

from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch


class Writer(Protocol):
    """Where a sink writes: any text stream."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> None: ...


class Row(Protocol):
    """A fact beside the records."""

    def as_dict(self) -> dict[str, Any]:
        """As programs read it."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the whole input held, for the last lines of a report."""

    packets: int = 0
    """Frames read."""
    skipped: int = 0
    """Frames that could not be understood down to TCP or UDP."""
    conversations: int = 0
    """SOCKS conversations found, those that a filter kept from the sink included."""
    evicted: int = 0
    """Open connections that were forgotten, because there were too many at once."""
    fault: str | None = None
    """What the input ended with, where it was damaged."""
    attempts: Sequence[tuple[Endpoint, str, int]] = ()
    """TCP connections to proxies that came to no conversation: proxy, outcome, how many."""
    tried: Sequence[Row] = ()
    """Those connections themselves, as many as are listed."""
    past: Sequence[Row] = ()
    """What went past the proxies, where it was looked for."""
    notes: Sequence[str] = ()
    """A line for each input that is empty, no capture, or still being written."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to write; a sink looks at what concerns it."""

    width: int | None = None
    """Columns of the terminal; None where nothing has to fit."""
    colour: bool = False
    """The output is a terminal that shows colours."""
    prompt: bool = False
    """Someone waits at the other end: write each conversation out as it comes."""
    time: str = "utc"
    """Form of the times that table and frames show, one of `clock.FORMS`."""
    columns: tuple[str, ...] = ()
    """Names of the columns that the table has, of `columns.NAMES`; the usual ones if there are none."""
    excel: bool = False
    """CSV as spreadsheets open it: with a byte order mark, and every text in quotes."""
    inputs: tuple[str, ...] = ()
    """Names of the inputs, as the user gave them."""
    command: tuple[str, ...] = ()
    """Words of the command line, without the program's name."""
    ports: tuple[int, ...] = ()
    """Ports that the user named as proxies'."""
    max_rows: int = 200_000
    """Conversations that a page's table holds."""
    writer: str = ""
    """Of a dataset, what the names of its files have in common, and no others; something new where it is empty."""
    interim: bool = False
    """Open conversations have records too: zeek says which."""


class Sink(Protocol):
    """A format. Nothing is written before the first call, so that a failed start leaves the output untouched."""

    def records(self, batch: Batch, /) -> None:
        """Write some conversations, or keep them until there is enough to lay out."""

    def conversation(self, conversation: Conversation, /) -> None:
        """Write one conversation."""

    def close(self, totals: Totals, /) -> None:
        """Write what is still held, and the format's ending. The output itself stays open."""


@runtime_checkable
class Unfinished(Protocol):
    """A sink whose output is not there before it is closed."""

    def discard(self) -> None:
        """Leave nothing behind of what is not whole."""


@runtime_checkable
class Lasting(Protocol):
    """A sink of many files."""

    def commit(self) -> None:
        """All that it was given is in files that are whole."""


class OneByOne(ABC):
    """A sink that takes conversations one by one."""

    def records(self, batch: Batch) -> None:
        for conversation in batch:
            self.conversation(conversation)

    @abstractmethod
    def conversation(self, conversation: Conversation) -> None:
        """Write one conversation."""


FORMATS: dict[str, str] = {
    "table": "socks5sniff.sinks.table:TableSink",
    "json": "socks5sniff.sinks.json_lines:JsonSink",
    "jsonl": "socks5sniff.sinks.json_lines:JsonLinesSink",
    "csv": "socks5sniff.sinks.csv_rows:CsvSink",
    "zeek": "socks5sniff.sinks.zeek:ZeekSink",
    "accesslog": "socks5sniff.sinks.accesslog:AccessLogSink",
    "frames": "socks5sniff.sinks.frames:FrameSink",
    "html": "socks5sniff.sinks.html:HtmlSink",
    "parquet": "socks5sniff.sinks.parquet:ParquetSink",
    "dataset": "socks5sniff.sinks.parquet:DatasetSink",
}
"""Class of each format, made as `Class(out, options)`; a module is imported when its format is chosen."""

PRINTED = {"json": "jsonl", "jsonl": "jsonl", "csv": "csv", "accesslog": "accesslog"}
"""Formats whose lines can be made where the records are, before their ids are known, and the one that makes them."""

Files = Callable[[str], AbstractContextManager[IO[bytes]]]
"""Where `parquet` and `dataset` write: begins a file that is called so within a dataset, `""` where it is the only one.
It gets its name when its context ends, and leaves nothing behind when that ends with an exception. Either may raise
OutputError."""


def open_sink(name: str, out: Writer | Files, options: Options) -> Sink:
    """The sink of a format of `FORMATS` (KeyError for any other name), writing to `out`.

    Raises:
        MissingError: the format needs a package that is not installed.
    """
    module, _, attribute = FORMATS[name].partition(":")
    sink: Sink = getattr(import_module(module), attribute)(out, options)
    return sink


def printing(
    name: str, keep: Callable[[Conversation], bool] | None = None
) -> Callable[[Batch], list[str]] | None:
    """What makes a format's lines from behind their ids, to be put into `Batch.printed`; None where nothing does.

    Args:
        keep: the records that are wanted, None for all; the others have empty lines.
    """
    return partial(_printed, PRINTED[name], keep) if name in PRINTED else None


def _printed(name: str, keep: Callable[[Conversation], bool] | None, batch: Batch) -> list[str]:
    wanted = range(len(batch)) if keep is None else [row for row, each in enumerate(batch) if keep(each)]
    lines = [""] * len(batch)
    for row, line in zip(wanted, _printer(name).printed(batch.take(np.array(wanted, np.intp))), strict=True):
        lines[row] = line
    return lines


@cache
def _printer(name: str) -> Any:
    return open_sink(name, StringIO(), Options())
