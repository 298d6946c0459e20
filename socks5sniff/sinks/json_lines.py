"""`json`: one array, written as it grows. `jsonl`: one object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from json.encoder import encode_basestring_ascii as quote
from typing import Any

from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.record.form import Form

from .form_records import TEXTS, TIMES, form_record
from .form_records import Words as Pieces
from .layouts import Field, Lines, Part, Words
from .line_sink import LineSink, texts
from .record_line import record_line, text_process, text_tunnel, words
from .sink import Options, Totals, Writer


class JsonLinesSink(LineSink):
    """One JSON object a line."""

    def __init__(self, out: Writer, options: Options) -> None:
        super().__init__(out, options, json_lines(), record_line)


class JsonSink:
    """One JSON array with an element a line, so that it can be both parsed whole and followed while it grows."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._lines = json_lines()
        self._before = "[\n"

    def records(self, batch: Batch) -> None:
        for line in texts(self._lines, record_line, batch):
            self._write(line)

    def conversation(self, conversation: Conversation) -> None:
        self._write(record_line(conversation))

    def _write(self, line: str) -> None:
        self._out.write(self._before + line)
        self._before = ",\n"
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._out.flush()


def json_lines() -> Lines:
    """Maker of JSON lines."""
    objects: dict[str, Callable[[Any], str]] = {"tunnel": text_tunnel, "process": text_process}
    return Lines(_line, Words("null", words.__getitem__, objects), '{"id":')


def _line(form: Form) -> list[Part]:
    """The object of `record_line` for a record of this form."""
    return list(_value(form_record(form)))


def _value(value: Any) -> Iterator[Part]:
    if isinstance(value, Field):
        before, behind = ('"', 'Z"') if value.kind in TIMES else ('"', '"') if value.kind in TEXTS else ("", "")
        yield from (before, value, behind)
    elif isinstance(value, Pieces):
        yield '"'
        yield from (quote(piece)[1:-1] if isinstance(piece, str) else piece for piece in value)
        yield '"'
    elif isinstance(value, dict):
        yield from _listed("{", ([f"{quote(name)}:", *_value(inner)] for name, inner in value.items()), "}")
    elif isinstance(value, list):
        yield from _listed("[", map(_value, value), "]")
    else:
        yield json.dumps(value)


def _listed(opening: str, items: Iterable[Iterable[Part]], closing: str) -> Iterator[Part]:
    yield opening
    for number, item in enumerate(items):
        yield "," if number else ""
        yield from item
    yield closing
