"""The record of a form, in the table's order: what all its conversations have, and fields where each has its own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from socks5sniff.record.batch import CHOICES, Columns
from socks5sniff.record.fields import RECORD, Kind
from socks5sniff.record.form import Form, FormAnomaly, FormFrame, Step

from .layouts import Field, Part, shown

TIMES = frozenset({"time", "frame_time"})
"""Kinds of fields that are times, and want a `Z` behind."""
TEXTS = frozenset({"plain", "text"})
"""Kinds of fields that are text."""

_COLUMNS = frozenset(field.name for field in fields(Columns))
_COLUMN_KINDS = {Kind.NUMBER: "integer", Kind.TIME: "time"}


class Words(tuple[Part, ...]):
    """A text that is put together, of constants and fields."""

    __slots__ = ()


def form_record(form: Form) -> dict[str, Any]:
    """`Conversation.as_dict()` of any conversation of this form; values, or a Field or Words in place of one."""
    made = _made(form)
    names = (name for name, key in RECORD.inside.items() if not key.optional)
    return {name: made[name] if name in made else _as_it_is(form, name) for name in names}


def _as_it_is(form: Form, name: str) -> Any:
    """What forms or columns have under the key's name; None for what conversations of forms never have."""
    if name == "capture" or name in CHOICES:
        return Field("word", name)
    if hasattr(form, name):
        value = getattr(form, name)
        return list(value) if isinstance(value, tuple) else value
    return Field(_COLUMN_KINDS.get(RECORD.inside[name].kind, "plain"), name) if name in _COLUMNS else None


def _made(form: Form) -> dict[str, Any]:
    """Keys that have another shape in the record than in a form and its columns."""
    replied = form.replied if form.relays else None
    return {
        "id": Field("id"),
        "client": _endpoint("client"),
        "proxy": _endpoint("proxy"),
        "reversed": False,
        "duration": Field("duration"),
        "username": Field("text", "username") if form.username else None,
        "destination": _target(form.destination, "destination"),
        "reply": None if form.reply is None else form.reply._asdict(),
        "bound": _target(form.bound, "bound"),
        "peer_reply": None if form.peer_reply is None else form.peer_reply._asdict(),
        "peer": _target(form.peer, "peer"),
        "tunnel": Field("object", "tunnel") if form.relays else None,
        "bytes": {way: Field("integer", way) for way in RECORD.inside["bytes"].inside} if form.relays else None,
        "timing": {
            "tcp_handshake": Field("handshake", "tcp_handshake"),
            "negotiation": _step(form.negotiation),
            "authentication": _step(form.authentication),
            "request": _step(form.request),
            "first_byte": None if replied is None else Field("first_byte", replied),
            "upstream_handshake": None if form.upstream is None else Field("handshake", "upstream_handshake"),
        },
        "name_resolution": {None: None, "domain": "remote"}.get(form.destination, "address"),
        "frames": [_frame(frame) for frame in form.frames],
        "anomalies": [_anomaly(entry) for entry in form.anomalies],
        "upstream": None if form.upstream is None else _upstream(*form.upstream),
        "process": Field("object", "process"),
    }


def _upstream(matched_by: str, outcome: str) -> dict[str, Any]:
    ends = {end: _endpoint(f"upstream_{end}") for end in ("source", "destination")}
    return {**ends, "matched_by": matched_by, "outcome": outcome}


def _endpoint(role: str) -> dict[str, Any]:
    return {"address": Field("plain", f"{role}_address"), "port": Field("integer", f"{role}_port")}


def _target(kind: str | None, column: str) -> dict[str, Any] | None:
    if kind is None:
        return None
    return {"type": kind, "host": Field("text", column), "port": Field("integer", f"{column}_port")}


def _step(places: Step) -> Field | None:
    return None if places is None else Field("step", *places)


def _frame(frame: FormFrame) -> dict[str, Any]:
    return {
        "frame": Field("frame", frame.place),
        "time": Field("frame_time", frame.place),
        "sender": frame.sender,
        "type": frame.type,
        "length": frame.length if isinstance(frame.length, int) else Field("integer", frame.length),
        "summary": Words(piece if isinstance(piece, str) else shown(piece) for piece in frame.summary),
    }


def _anomaly(entry: FormAnomaly) -> dict[str, Any]:
    return {
        "code": entry.code,
        "severity": entry.severity,
        "frame": Field("frame", entry.place),
        "message": entry.message,
    }
