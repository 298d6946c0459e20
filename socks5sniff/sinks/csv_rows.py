"""`csv`: one row for each conversation, the record's objects spread over columns named `client.address` and so on.

Lists are joined with spaces; of `frames` the number is given, of `anomalies` the codes. An empty cell is what was
not seen. Text that a spreadsheet would take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import csv
from typing import Any

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation
from socks5sniff.record.fields import COLUMNS

from .sink import OneByOne, Options, Totals, Writer

_PATHS = [(key, part) for key, _, part in (column.partition(".") for column in COLUMNS)]
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms, which spreadsheets take too. (A tab or return is escaped before this.)"""
_BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for the system's old code page."""


class CsvSink(OneByOne):
    """A header row, then the rows."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._excel = options.excel
        if options.excel:
            self._rows = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        else:
            self._rows = csv.writer(out, lineterminator="\n")
        self._started = False

    def conversation(self, conversation: Conversation) -> None:
        self._start()
        self._rows.writerow(row(conversation))
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._start()
        self._out.flush()

    def _start(self) -> None:
        if not self._started:
            self._out.write(_BYTE_ORDER_MARK if self._excel else "")
            self._rows.writerow(COLUMNS)
            self._started = True


def row(conversation: Conversation) -> list[str]:
    """The cells of one conversation, in the order of COLUMNS."""
    record = conversation.as_dict()
    record["frames"] = len(record["frames"])
    record["anomalies"] = [anomaly["code"] for anomaly in record["anomalies"]]
    cells = []
    for key, part in _PATHS:
        value = record[key]
        cells.append(_cell(value.get(part) if part and value is not None else value))
    return cells


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
