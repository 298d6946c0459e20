"""Lines of text for many records at once, whatever the format.

A format says for each `Form` what its line is: constant text and, between, fields of `Columns`. Forms whose fields are
the same share a `Layout`: one matrix of uint32, a row a record, into which constants and text columns are put side by
side; the NULs between are taken out at the end. The texts are ASCII without anything that a format must escape, which
`Columns` promises; what a format writes around them is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.record import text
from socks5sniff.record.batch import CHOICES, NO_TIME, Batch, Columns
from socks5sniff.record.form import Form, Varying
from socks5sniff.record.text import Text

_BLOCK = 512
"""Records whose lines are put together at once: their matrix stays in the cache."""
_COLON = text.strings([b":"])
_PLAIN = np.zeros(256, np.bool_)
"""Octets that stand for themselves wherever they are."""
_PLAIN[list(b"\0.-_:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] = True
_FIRST = _PLAIN.copy()
"""Those that do at the beginning."""
_FIRST[list(b"\0.-_:")] = False


class Field(NamedTuple):
    """Something of its own in a record's line.

    Attributes:
        kind: a key of `_FIELDS`; of numbers and times also one of `_NUMBERS`. `object` is a whole `tunnel` or `process`
            (`first`), or of that one key (`second`), where a format has it in columns.
        first, second: what the kind takes, names of columns or places of segments.
    """

    kind: str
    first: str | int = 0
    second: str | int = 0


Part = str | Field
Line = Callable[[Form], Sequence[Part]]
"""What the line of a record of a form consists of, without the line's end."""


class Words(NamedTuple):
    """How a format writes what is not plain text or a number.

    Attributes:
        null: for a number or time that is missing.
        word: one of a few, such as the capture's name, or None.
        objects: a whole `tunnel` or `process` by this name, where the format has it in one place.
        text: what the wire said, where it is not letters, digits, dots, dashes and such alone: by the way in which
            the field is to be shown (its `second`) and its value. None where a format needs no such care.
        identity: out of Community ID, start and id.
    """

    null: str
    word: Callable[[str | None], str]
    objects: Mapping[str, Callable[[Any], str]] = {}
    text: Callable[[str | int, str], str] | None = None
    identity: Callable[[str, int, int], str] | None = None


class _Constants(NamedTuple):
    """A line as constants with fields between them: one more constant than fields."""

    fields: tuple[Field, ...]
    constants: tuple[bytes, ...]


class Lines:
    """The lines of one format.

    Attributes:
        head: what stands before the id, with which a line begins then; None where it has none.
    """

    def __init__(self, line: Line, words: Words, head: str | None = None) -> None:
        self.head = head
        self._line = line
        self._words = words
        self._constants: dict[Form, _Constants] = {}

    def of(self, batch: Batch) -> list[bytes | None]:
        """The lines of a batch's rows, without line ends; None for those that are written out."""
        lines: list[bytes | None] = [None] * len(batch)
        rows = batch.of_forms()
        if not len(rows) or batch.columns is None:
            return lines
        values = Values(batch.columns, batch.place[rows], batch.id[rows], self._words)
        form_of = batch.columns.form[batch.place[rows]]
        by_fields: dict[tuple[Field, ...], list[tuple[tuple[bytes, ...], NDArray[np.intp]]]] = {}
        for form in np.unique(form_of).tolist():
            constants = self._constants_of(batch.columns.forms[form])
            by_fields.setdefault(constants.fields, []).append((constants.constants, np.flatnonzero(form_of == form)))
        places = rows.tolist()
        for fields, members in by_fields.items():
            for place, line in _laid_out(fields, members, values):
                lines[places[place]] = line
        return lines

    def _constants_of(self, form: Form) -> _Constants:
        found = self._constants.get(form)
        if found is None:
            found = self._constants[form] = _alternating([*self._line(form), "\n"])
        return found


def _alternating(parts: Iterable[Part]) -> _Constants:
    constants = [""]
    fields: list[Field] = []
    for part in parts:
        if isinstance(part, str):
            constants[-1] += part
        else:
            fields.append(part)
            constants.append("")
    return _Constants(tuple(fields), tuple(constant.encode() for constant in constants))


def _laid_out(
    fields: tuple[Field, ...], members: list[tuple[tuple[bytes, ...], NDArray[np.intp]]], values: Values
) -> Iterable[tuple[int, bytes]]:
    """The lines of records that have the same fields: place and text."""
    rows = np.concatenate([places for _, places in members])
    which = np.repeat(np.arange(len(members)), [len(places) for _, places in members])
    columns = [values.text(field)[rows] for field in fields]
    widths = [max(-(-len(constants[gap]) // 4) for constants, _ in members) for gap in range(len(fields) + 1)]
    blank = [bytes(4 * column.shape[1]) for column in columns] + [b""]
    base = np.stack(
        [
            np.frombuffer(
                b"".join(
                    constant.ljust(4 * width, b"\0") + room
                    for constant, width, room in zip(constants, widths, blank, strict=True)
                ),
                np.uint32,
            )
            for constants, _ in members
        ]
    )
    at = 0
    places = []
    for width, column in zip(widths, columns, strict=False):
        at += width
        places.append((at, at + column.shape[1]))
        at += column.shape[1]
    for begin in range(0, len(rows), _BLOCK):
        end = min(begin + _BLOCK, len(rows))
        block = base[which[begin:end]]
        for (left, right), column in zip(places, columns, strict=True):
            block[:, left:right] = column[begin:end]
        yield from zip(rows[begin:end].tolist(), block.tobytes().translate(None, b"\0").split(b"\n"), strict=False)


class Values:
    """The text columns of some rows, each made when a field asks for it."""

    def __init__(self, columns: Columns, rows: NDArray[np.intp], number: NDArray[np.int64], words: Words) -> None:
        self._columns = columns
        self._rows = rows
        self._number = number
        self._words = words
        self._made: dict[Field, Text] = {}

    def text(self, field: Field) -> Text:
        """A field's text column."""
        made = self._made.get(field)
        if made is None:
            made = self._made[field] = _FIELDS[field.kind](self, field)
        return made

    def _column(self, name: str | int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = getattr(self._columns, str(name))[self._rows]
        return found

    def _at(self, place: str | int) -> NDArray[np.int64]:
        """The time of a dialogue's segment."""
        found: NDArray[np.int64] = self._columns.times[self._rows, int(place)]
        return found

    def number(self, field: Field) -> NDArray[np.int64]:
        """A number as it is, a time or step in nanoseconds: NO_TIME where there is none."""
        return _NUMBERS[field.kind](self, field)

    def _id(self, field: Field) -> NDArray[np.int64]:
        return self._number

    def _named(self, field: Field) -> NDArray[np.int64]:
        return self._column(field.first)

    def _frame(self, field: Field) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._columns.frames[self._rows, int(field.first)]
        return found

    def _frame_time(self, field: Field) -> NDArray[np.int64]:
        return self._at(field.first)

    def _duration(self, field: Field) -> NDArray[np.int64]:
        return self._column("end") - self._column("start")

    def _handshake(self, field: Field) -> NDArray[np.int64]:
        return self._column(field.first)

    def _step(self, field: Field) -> NDArray[np.int64]:
        return self._at(field.second) - self._at(field.first)

    def _first_byte(self, field: Field) -> NDArray[np.int64]:
        came = self._column("first_byte")
        return np.where(came == NO_TIME, NO_TIME, came - self._at(field.first))

    def integer(self, field: Field) -> Text:
        return text.integers(self.number(field))

    def time(self, field: Field) -> Text:
        return text.times(self.number(field))

    def seconds(self, field: Field) -> Text:
        values = self.number(field)
        missing = values == NO_TIME
        found = text.seconds(np.where(missing, 0, values))
        return text.replaced(found, missing, [self._words.null.encode()] * int(missing.sum()))

    def plain(self, field: Field) -> Text:
        return _narrow(self._column(field.first).view(np.uint32))

    def wire(self, field: Field) -> Text:
        """Text from the wire, in the format's own words where it is out of the ordinary."""
        column = self.plain(field)
        show = self._words.text
        if show is None:
            return column
        octets = np.ascontiguousarray(column).view(np.uint8)
        first = octets[np.arange(len(octets)), (octets != 0).argmax(1)]
        rows = ~_PLAIN[octets].all(1) | ~_FIRST[first]
        return text.replaced(
            column.copy(), rows, [show(field.second, text.plain(row)).encode() for row in column[rows]]
        )

    def identity(self, field: Field) -> Text:
        assert self._words.identity is not None, "the format has one"
        ids = [text.plain(row) for row in self._column("community_id").view(np.uint32)]
        starts, numbers = self._column("start").tolist(), self._number.tolist()
        return text.strings([word.encode() for word in map(self._words.identity, ids, starts, numbers)])

    def rounded(self, field: Field) -> Text:
        """The duration, to so many digits."""
        return text.rounded(self._duration(field), int(field.first))

    def epoch(self, field: Field) -> Text:
        """The time of a segment, or of a column, in seconds and microseconds."""
        values = self._column(field.first) if isinstance(field.first, str) else self._at(field.first)
        return text.decimal(values, 6)

    def endpoint(self, field: Field) -> Text:
        """A host and, where asked for, its port; IPv6 in brackets."""
        hosts = _narrow(self._column(field.first).view(np.uint32))
        colons = (np.ascontiguousarray(hosts).view(np.uint8) == ord(":")).any(1)
        shown = text.replaced(hosts.copy(), colons, [b"[%s]" % text.plain(row).encode() for row in hosts[colons]])
        if not field.second:
            return shown
        return np.concatenate((shown, np.repeat(_COLON, len(shown), 0), text.integers(self._column(field.second))), 1)

    def object(self, field: Field) -> Text:
        return self._said(field, self._words.objects[str(field.first)])

    def word(self, field: Field) -> Text:
        return self._said(field, self._words.word)

    def _said(self, field: Field, words: Callable[[Any], str]) -> Text:
        distinct, index = self.chosen(field)
        return text.strings([words(each).encode() for each in distinct])[index]

    def chosen(self, field: Field) -> tuple[list[Any], NDArray[np.intp]]:
        """Of an `object` or `word`: the different ones there are, and which of them each row has."""
        name = str(field.first)
        named: dict[str, Sequence[Any]] = {
            "tunnel": self._columns.tunnels,
            "process": self._columns.processes,
            "capture": self._columns.captures,
            **CHOICES,
        }
        distinct, index = np.unique(self._column(name), return_inverse=True)
        return [named[name][each] for each in distinct.tolist()], index


def _narrow(column: Text) -> Text:
    """Without the words at the right that no row uses."""
    used = np.flatnonzero(column.any(0))
    return column[:, : int(used[-1]) + 1 if len(used) else 1]


_NUMBERS: dict[str, Callable[[Values, Field], NDArray[np.int64]]] = {
    "id": Values._id,
    "integer": Values._named,
    "time": Values._named,
    "duration": Values._duration,
    "handshake": Values._handshake,
    "frame": Values._frame,
    "frame_time": Values._frame_time,
    "step": Values._step,
    "first_byte": Values._first_byte,
}

_FIELDS: dict[str, Callable[[Values, Field], Text]] = {
    "id": Values.integer,
    "integer": Values.integer,
    "plain": Values.plain,
    "time": Values.time,
    "duration": Values.seconds,
    "handshake": Values.seconds,
    "frame": Values.integer,
    "frame_time": Values.time,
    "step": Values.seconds,
    "first_byte": Values.seconds,
    "endpoint": Values.endpoint,
    "object": Values.object,
    "word": Values.word,
    "text": Values.wire,
    "identity": Values.identity,
    "rounded": Values.rounded,
    "epoch": Values.epoch,
}


def shown(varying: Varying) -> Field:
    """The field of something that varies in a summary."""
    if varying.column == "username":
        return Field("plain", "username")
    return Field("endpoint" if varying.port else "plain", varying.column, varying.port or 0)


def asked(kind: str) -> list[Part]:
    """The destination, an address of this kind, and its port; its `text` is shown the way called `host`."""
    before, behind = ("[", "]:") if kind == "ipv6" else ("", ":")
    return [before, Field("text", "destination", "host"), behind, Field("integer", "destination_port")]
