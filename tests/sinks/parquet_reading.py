"""Records out of Parquet: the columns put together again into what `Conversation.as_dict` gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from socks5sniff.record import iso_time
from socks5sniff.record.fields import RECORD, Key, Kind


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a file."""
    table = pq.read_table(file)
    for row in pa.table([_whole(column) for column in table.columns], table.column_names).to_pylist():
        yield _object(RECORD, row, "")


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as numbers: Python's own have no nanoseconds."""

    def without(type_: pa.DataType) -> pa.DataType:
        if pa.types.is_list(type_):
            return pa.list_(without(type_.value_type))
        if pa.types.is_struct(type_):
            return pa.struct([(field.name, without(field.type)) for field in type_])
        if pa.types.is_dictionary(type_):
            return type_.value_type
        return pa.int64() if pa.types.is_timestamp(type_) else type_

    return pc.cast(column, without(column.type))


def _object(key: Key, row: dict[str, Any], prefix: str) -> dict[str, Any] | None:
    found = {name: _value(inner, row, f"{prefix}{name}") for name, inner in key.inside.items()}
    if key.null and _nothing(found):
        return None
    return {name: value for name, value in found.items() if value is not None or not key.inside[name].optional}


def _nothing(value: Any) -> bool:
    return all(map(_nothing, value.values())) if isinstance(value, dict) else value is None


def _value(key: Key, row: dict[str, Any], name: str) -> Any:
    if key.inside and not key.many:
        return _object(key, row, f"{name}_")
    value = row[name]
    if key.inside:
        return None if value is None else [_object(key, one, "") for one in value]
    return iso_time(value) if key.kind is Kind.TIME and value is not None else value
