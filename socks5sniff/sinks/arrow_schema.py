"""The record as Arrow has it: the table of its keys, inner ones joined to the outer by `_`.

`destination.host` is the column `destination_host`; lists (`methods`, `frames`, `anomalies`, `udp_destinations`) stay
lists, of texts or of structs. An object that there is not is null in all its columns.
"""

from __future__ import annotations

from collections.abc import Iterator

from socks5sniff import __version__
from socks5sniff.errors import MissingError
from socks5sniff.record.fields import RECORD, Key, Kind

try:
    import pyarrow as pa
except ImportError:
    raise MissingError("Parquet needs pyarrow, which is not installed: pip install 'socks5sniff[parquet]'") from None

__all__ = ["INDEX", "SCHEMA", "TIME", "VERSION", "Path", "column", "leaves", "of", "pa"]

VERSION = 1
"""Of the columns. Columns may be added without a new number; one that goes or changes its meaning brings it."""

INDEX = pa.int32()
"""Of the words of a vocabulary."""
TIME = pa.timestamp("ns", "UTC")
_TYPES = {Kind.NUMBER: pa.int64(), Kind.TRUTH: pa.bool_(), Kind.TIME: TIME}
_FEW = frozenset({"capture", "reply_name", "peer_reply_name", "tunnel_protocol", "process_name", "network"})
"""Columns whose texts are few, though nobody knows them all."""

Path = tuple[str, ...]
"""Names of a key and of those that it is inside of, the outermost first."""


def leaves(key: Key = RECORD, path: Path = ()) -> Iterator[tuple[Path, Key]]:
    """The keys that are columns, each with its path, in the record's order."""
    for name, inner in key.inside.items():
        if inner.inside and not inner.many:
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


def column(path: Path) -> str:
    """A column's name."""
    return "_".join(path)


def of(key: Key, path: Path) -> pa.DataType:
    """The type of a key's column."""
    if key.inside:
        found = pa.struct([_field(inner, (name,)) for name, inner in key.inside.items()])
    elif key.words or column(path) in _FEW:
        found = pa.dictionary(INDEX, pa.string())
    else:
        found = pa.float64() if key.seconds else _TYPES.get(key.kind, pa.string())
    return pa.list_(pa.field("element", found)) if key.many else found


def _field(key: Key, path: Path) -> pa.Field:
    return pa.field(column(path), of(key, path))


SCHEMA = pa.schema(
    [_field(key, path) for path, key in leaves()],
    {"socks5sniff.schema": str(VERSION), "socks5sniff.version": __version__},
)
"""The columns of a table of records, all of which may be null."""
