"""The JSON schema of a record, out of the table of its keys."""

from __future__ import annotations

from typing import Any

from socks5sniff import __version__
from socks5sniff.record.fields import RECORD, Key, Kind

Schema = dict[str, Any]

_TYPES: dict[Kind, Schema] = {
    Kind.NUMBER: {"type": "integer", "minimum": 0},
    Kind.TRUTH: {"type": "boolean"},
    Kind.TIME: {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"},
}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_TEXT: Schema = {"type": "string"}


def schema() -> Schema:
    """JSON Schema (2020-12) of one record. Keys may be added by later versions."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A SOCKS conversation, as socks5sniff {__version__} writes it",
        **_object(RECORD),
    }


def _object(key: Key) -> Schema:
    keys = {name: _described(inner) for name, inner in key.inside.items()}
    required = [name for name, inner in key.inside.items() if not inner.optional]
    return {"type": "object", "properties": keys, "required": required}


def _described(key: Key) -> Schema:
    found = _one(key)
    if key.many:
        found = {"type": "array", "items": found}
    if key.null:
        found = {"enum": [*found["enum"], None]} if "enum" in found else {**found, "type": [found["type"], "null"]}
    return {"description": key.meaning.replace("`", ""), **found}


def _one(key: Key) -> Schema:
    """What a value is, or each of a list's."""
    if key.inside:
        return _object(key)
    if key.words and key.pattern is None:
        return {"enum": list(key.words)}
    return dict(_SECONDS if key.seconds else _TYPES.get(key.kind, _TEXT))
