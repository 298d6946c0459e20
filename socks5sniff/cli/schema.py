"""The JSON schema of a record, out of the types of `Conversation` and the meanings that the manual gives."""

from __future__ import annotations

import re
import types
from dataclasses import fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from socks5sniff import __version__, manual
from socks5sniff.codec.codes import ANOMALIES
from socks5sniff.record import Conversation

from .filters import OUTCOMES, SEVERITIES

Schema = dict[str, Any]

TIME: Schema = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"}
_RENAMED: dict[str, dict[str, Schema]] = {
    "start_ns": {"start": TIME},
    "end_ns": {"end": TIME, "duration": {"type": "number", "minimum": 0}},
    "time_ns": {"time": TIME},
}
"""What the attributes that hold nanoseconds are in JSON."""
WORDS: dict[str, tuple[str, ...]] = {
    "protocol": ("socks5", "socks4", "socks4a"),
    "phase": ("greeting", "authentication", "request", "relay"),
    "outcome": OUTCOMES,
    "close": ("fin", "reset", "open"),
    "closed_by": ("client", "proxy"),
    "name_resolution": ("remote", "local", "address"),
    "FrameEntry.sender": ("client", "proxy"),
    "FrameEntry.type": (
        "greeting",
        "method-selection",
        "auth-request",
        "auth-reply",
        "gssapi",
        "request",
        "reply",
        "udp",
    ),
    "AnomalyEntry.severity": SEVERITIES,
    "AnomalyEntry.code": tuple(ANOMALIES),
    "Target.type": ("ipv4", "ipv6", "domain"),
}
"""Strings that are one of a few words."""
_ENDPOINT: Schema = {
    "type": "object",
    "properties": {"address": {"type": "string"}, "port": {"type": "integer"}},
    "required": ["address", "port"],
}
_FREE: dict[str, Schema] = {
    "upstream": {
        "source": _ENDPOINT,
        "destination": _ENDPOINT,
        "matched_by": {"enum": ["bound-address", "destination-and-time", "octets"]},
        "outcome": {"enum": ["established", "refused", "unanswered"]},
    },
    "process": {
        "pid": {"type": "integer", "minimum": 0},
        "name": {"type": "string"},
        "container": {"type": ["string", "null"]},
    },
}
"""Keys in objects that the record keeps as plain dictionaries."""
_OPTIONAL = {"container"}
"""Keys of these that need not be there."""
_PLAIN: dict[type, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    str: {"type": "string"},
}


def schema() -> Schema:
    """JSON Schema (2020-12) of one record. Keys may be added by later versions."""
    meanings = _meanings()
    properties: Schema = {}
    hints = _hints(Conversation)
    for field in fields(Conversation):
        for key, what in _properties("", field.name, hints[field.name]).items():
            properties[key] = {"description": meanings[key], **what} if key in meanings else what
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A SOCKS conversation, as socks5sniff {__version__} writes it",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _properties(owner: str, name: str, hint: Any) -> dict[str, Schema]:
    """The keys that an attribute becomes, and what each holds."""
    if name in _RENAMED:
        return _RENAMED[name]
    path = f"{owner}.{name}" if owner else name
    if path in WORDS:
        optional = type(None) in get_args(hint)
        return {name: {"enum": [*WORDS[path], *([None] if optional else [])]}}
    if path in _FREE:
        required = [key for key in _FREE[path] if key not in _OPTIONAL]
        found: Schema = {"type": "object", "properties": _FREE[path], "required": required}
        return {name: _or_null(found)}
    return {name: _of(hint)}


def _of(hint: Any) -> Schema:
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (one for one in get_args(hint) if one is not type(None))
        return _or_null(_of(inner))
    if get_origin(hint) is list:
        return {"type": "array", "items": _of(get_args(hint)[0])}
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    keys: Schema = {}
    for name, inner in _hints(hint).items():
        keys |= _properties(hint.__name__, name, inner)
    return {"type": "object", "properties": keys, "required": list(keys)}


def _or_null(what: Schema) -> Schema:
    return {"anyOf": [what, {"type": "null"}]} if "enum" in what else {**what, "type": [what["type"], "null"]}


@cache
def _hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _meanings() -> dict[str, str]:
    """What the manual's page says of each key."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*?) \|$", manual.text("record"), re.MULTILINE)
    return {key: meaning.replace("`", "") for keys, meaning in rows for key in re.findall(r"\w+", keys)}
