"""`csv`: one row for each conversation, the record's objects spread over columns named `client.address` and so on.

Lists are joined with spaces; of `frames` the number is given, of `anomalies` the codes. An empty cell is what was
not seen. Text that a spreadsheet would take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Literal

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.record.fields import COLUMNS, RECORD
from socks5sniff.record.form import Form

from .form_records import TIMES, form_record
from .layouts import Field, Lines, Part, Words
from .line_sink import LineSink
from .sink import Options, Totals, Writer

_PATHS = [(key, part) for key, _, part in (column.partition(".") for column in COLUMNS)]
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms, which spreadsheets take too. (A tab or return is escaped before this.)"""


class CsvSink(LineSink):
    """A header row, then the rows."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._format = _Excel() if options.excel else _Csv()
        super().__init__(out, options, self._format.lines(), self._format.of, self._format.end)
        self._started = False

    def close(self, totals: Totals) -> None:
        self._start()
        super().close(totals)

    def _begin(self, batch: Batch) -> None:
        self._start()

    def _start(self) -> None:
        if not self._started:
            self._out.write(self._format.mark + self._format.text(COLUMNS) + self._format.end)
            self._started = True


class _Csv:
    """Cells in quotes where they need them."""

    mark = ""
    end = "\n"
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
    around = ""
    """What stands on both sides of a cell that needs no quotes."""

    def text(self, cells: Sequence[str]) -> str:
        """Some cells as the `csv` module writes them, without the row's end."""
        out = StringIO()
        csv.writer(out, lineterminator="", quoting=self.quoting).writerow(cells)
        return out.getvalue()

    def of(self, conversation: Conversation) -> str:
        """The row of one conversation."""
        return self.text(row(conversation))

    def lines(self) -> Lines:
        """Maker of rows."""
        return Lines(self._line, Words("", self._cell, self._objects(), self._wire), self.around)

    def _cell(self, value: Any) -> str:
        """One cell; a row that is an empty cell alone would be written in quotes."""
        return self.text([_cell(value), "0"])[: -len(self.text(["0"])) - 1]

    def _wire(self, way: str | int, value: str) -> str:
        text = self._cell(value)
        return text[len(self.around) : len(text) - len(self.around)]

    def _objects(self) -> dict[str, Callable[[Any], str]]:
        """How objects of few different values fill the cells of their keys."""

        def cells(keys: Sequence[str], values: Mapping[str, Any]) -> str:
            return ",".join(self._cell(values.get(key)) for key in keys)

        keys = {name: [part for key, part in _PATHS if key == name] for name in ("tunnel", "process")}
        return {
            "tunnel": lambda tunnel: cells(keys["tunnel"], {} if tunnel is None else tunnel._asdict()),
            "process": lambda process: cells(keys["process"], process or {}),
        }

    def _line(self, form: Form) -> list[Part]:
        parts: list[Part] = []
        for value in _values(form_record(form)):
            parts += [",", *self._shown(value)]
        return parts[1:]

    def _shown(self, value: Any) -> list[Part]:
        if isinstance(value, dict):
            value = Field("endpoint", value["address"].first, value["port"].first)
        if not isinstance(value, Field):
            return [self._cell(value)]
        if value.kind in ("word", "object"):
            return [value]
        return [self.around, value, "Z" if value.kind in TIMES else "", self.around]


class _Excel(_Csv):
    """Every cell in quotes."""

    mark = "\ufeff"
    """A byte order mark: without it Excel takes UTF-8 for the system's old code page."""
    end = "\r\n"
    quoting: Literal[0, 1] = csv.QUOTE_ALL
    around = '"'


def row(conversation: Conversation) -> list[str]:
    """The cells of one conversation, in the order of COLUMNS."""
    return [_cell(value) for value in _values(conversation.as_dict())]


def _values(record: dict[str, Any]) -> Iterator[Any]:
    """What a record, or that of a form, has in each of COLUMNS; a field that stands for a whole object comes once."""
    record["frames"] = len(record["frames"])
    record["anomalies"] = [anomaly["code"] for anomaly in record["anomalies"]]
    for key, part in _PATHS:
        value = record.get(key)
        if not part or value is None:
            yield value
        elif not isinstance(value, Field):
            yield value.get(part)
        elif part == next(iter(RECORD.inside[key].inside)):
            yield value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        value = " ".join([_one(item) for item in value])
    text = escape_text(_one(value))
    return "'" + text if text.lstrip().startswith(_FORMULA_STARTS) else text


def _one(value: Any) -> str:
    """A list's item or an upstream's end in one word: an endpoint as `address:port`."""
    if isinstance(value, dict) and "port" in value:
        host = value.get("host", value.get("address"))
        return f"[{host}]:{value['port']}" if ":" in str(host) else f"{host}:{value['port']}"
    return str(value)
