"""Records to Arrow's columns, those of forms without an object for each.

What conversations of a form have in common is a value for all of them, and the rest is a `Field`; so a column is put
together of few pieces, each of which says for which rows it holds. The lists of frames and anomalies are such columns,
too, one row an entry, with the places at which each record's begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.record import Conversation, Tunnel
from socks5sniff.record.batch import NO_TIME, Batch
from socks5sniff.record.fields import RECORD, Key
from socks5sniff.record.form import Form
from socks5sniff.record.text import strings

from .arrow_arrays import array, coded, lists, numbers, text_column
from .arrow_schema import SCHEMA, Path, leaves, of, pa
from .form_records import Words as Pieces
from .form_records import form_record
from .layouts import Field, Values, Words

_SECOND = 1e9
_NO_WORDS = Words("", str)
"""Of a format that writes no text around its values."""

Rows = NDArray[np.intp]
Entries = Sequence[dict[str, Any]]


class Piece(NamedTuple):
    """Some rows of a column."""

    value: Any
    """Theirs: a Field or Pieces where each has its own, a value that all have, or None."""
    rows: Rows
    """The records that have it."""
    places: Rows
    """Where in the column it goes."""


def of_forms(batch: Batch, forms: dict[Form, dict[str, Any]]) -> tuple[Rows, pa.Table | None]:
    """The rows of a batch that are of forms: which they are, and their columns.

    Args:
        batch: some records.
        forms: what `form_record` gave of the forms that were met; new ones are added.
    """
    rows = batch.of_forms()
    if not len(rows) or batch.columns is None:
        return rows, None
    values = Values(batch.columns, batch.place[rows], batch.id[rows], _NO_WORDS)
    present, form_of = np.unique(batch.columns.form[batch.place[rows]], return_inverse=True)
    records = []
    for form in (batch.columns.forms[number] for number in present.tolist()):
        if form not in forms:
            forms[form] = form_record(form)
        records.append(forms[form])
    groups = [np.flatnonzero(form_of == number) for number in range(len(records))]
    arrays = []
    for path, key in leaves():
        found = [_inside(record, path) for record in records]
        if key.inside:
            arrays.append(_lists(key, path, found, groups, values, len(rows)))
        else:
            pieces = [Piece(value, group, group) for value, group in zip(found, groups, strict=True)]
            arrays.append(_column(of(key, path), pieces, values, len(rows)))
    return rows, pa.Table.from_arrays(arrays, schema=SCHEMA)


def _inside(record: dict[str, Any], path: Path) -> Any:
    """What a form's record has at a path; of a field that stands for a whole object the field of one of its keys."""
    value: Any = record
    for name in path:
        if isinstance(value, Field):
            return value._replace(second=name)
        value = value and value.get(name)
    return value


def _lists(
    key: Key, path: Path, found: Sequence[Entries | None], groups: Sequence[Rows], values: Values, size: int
) -> pa.Array:
    """A column of lists of structs; `found` are the entries by group, None for all where there are no lists."""
    type_ = of(key, path)
    if all(entries is None for entries in found):
        return pa.nulls(size, type_)
    counts = np.zeros(size, np.int64)
    for entries, group in zip(found, groups, strict=True):
        counts[group] = len(entries or ())
    begins = np.cumsum(counts) - counts
    inner = []
    for name, part in key.inside.items():
        pieces = [
            Piece(entry[name], group, begins[group] + place)
            for entries, group in zip(found, groups, strict=True)
            for place, entry in enumerate(entries or ())
        ]
        inner.append(_column(of(part, (name,)), pieces, values, int(counts.sum())))
    return lists(counts, None, inner, type_)


def _column(type_: pa.DataType, pieces: Sequence[Piece], values: Values, size: int) -> pa.Array:
    merged: dict[Any, list[Piece]] = {}
    for piece in pieces:
        if piece.value is not None:
            value = piece.value
            if isinstance(value, list):
                value = tuple(value)
            elif isinstance(value, Pieces) and not any(isinstance(part, Field) for part in value):
                value = "".join(map(str, value))
            merged.setdefault(value, []).append(piece)
    together = [
        Piece(value, np.concatenate([one.rows for one in some]), np.concatenate([one.places for one in some]))
        for value, some in merged.items()
    ]
    if not together:
        return pa.nulls(size, type_)
    if pa.types.is_primitive(type_) and not pa.types.is_boolean(type_):
        return _numbers(type_, together, values, size)
    return _texts(type_, together, values, size)


def _numbers(type_: pa.DataType, pieces: Sequence[Piece], values: Values, size: int) -> pa.Array:
    found = np.full(size, NO_TIME, np.int64)
    for value, rows, places in pieces:
        if isinstance(value, Field) and value.kind == "object":
            objects, index = values.chosen(value)
            known = [_of_object(each, str(value.second)) for each in objects]
            found[places] = np.array([NO_TIME if each is None else each for each in known], np.int64)[index[rows]]
        else:
            found[places] = values.number(value)[rows] if isinstance(value, Field) else value
    missing = found == NO_TIME
    if pa.types.is_floating(type_):
        return numbers(found / _SECOND, missing)
    return numbers(found, missing, type_)


def _texts(type_: pa.DataType, pieces: Sequence[Piece], values: Values, size: int) -> pa.Array:
    """Values that are no numbers: those there are, and of each row which it has."""
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    alike = [piece for piece in pieces if not isinstance(piece.value, (Field, Pieces))]
    index = np.full(size, -1, np.int32)
    for number, piece in enumerate(alike):
        index[piece.places] = number
    pools = [array([piece.value for piece in alike], plain)] if alike else []
    begin = len(alike)
    for value, rows, places in pieces:
        if isinstance(value, (Field, Pieces)):
            pool, of_rows = _pool(plain, value, rows, values)
            pools.append(pool)
            index[places] = begin + of_rows
            begin += len(pool)
    pool = pools[0] if len(pools) == 1 else pa.concat_arrays(pools)
    if plain == type_ and len(pool) == size and np.array_equal(index, np.arange(size)):
        return pool
    which = numbers(index, index < 0)
    return pool.take(which) if plain == type_ else coded(which, pool)


def _pool(type_: pa.DataType, value: Field | Pieces, rows: Rows, values: Values) -> tuple[pa.Array, Rows]:
    """Different values, and of each of the rows which it has."""
    if isinstance(value, Field) and value.kind in ("word", "object"):
        words, index = values.chosen(value)
        if value.kind == "object":
            words = [_of_object(each, str(value.second)) for each in words]
        return array(words, type_), index[rows]
    parts = value if isinstance(value, Pieces) else (value,)
    column = [
        values.text(part)[rows] if isinstance(part, Field) else np.repeat(strings([part.encode()]), len(rows), 0)
        for part in parts
    ]
    return text_column(np.concatenate(column, 1)), np.arange(len(rows))


def _of_object(value: Tunnel | dict[str, Any] | None, key: str) -> Any:
    if value is None:
        return None
    return value.get(key) if isinstance(value, dict) else getattr(value, key)


def of_written(conversations: Sequence[Conversation]) -> pa.Table:
    """Conversations that are written out."""
    return pa.Table.from_arrays(list(_spread(RECORD, (), conversations)), schema=SCHEMA)


def _spread(key: Key, path: Path, objects: Sequence[Any]) -> Iterator[pa.Array]:
    """The columns of the keys inside one."""
    for name, inner in key.inside.items():
        values = _values(objects, inner.source or name)
        if inner.optional:  # where there is nothing there is not even the key
            values = [value or None for value in values]
        here = (*path, name)
        if not inner.inside:
            yield array(values, of(inner, here))
        elif inner.many:
            yield _listed(inner, here, values)
        else:
            yield from _spread(inner, here, values)


def _values(objects: Sequence[Any], name: str) -> list[Any]:
    first = next((each for each in objects if each is not None), None)
    if first is None:
        return [None] * len(objects)
    get = methodcaller("get", name) if isinstance(first, dict) else attrgetter(name)
    try:
        return list(map(get, objects))
    except AttributeError:
        return [None if each is None else get(each) for each in objects]


def _listed(key: Key, path: Path, values: Sequence[Sequence[Any] | None]) -> pa.Array:
    """A column of lists of structs."""
    flat = list(chain.from_iterable(each or () for each in values))
    inner = [array(_values(flat, part.source or name), of(part, (name,))) for name, part in key.inside.items()]
    counts = np.array([len(each or ()) for each in values])
    missing = np.array([each is None for each in values])
    return lists(counts, missing, inner, of(key, path))
