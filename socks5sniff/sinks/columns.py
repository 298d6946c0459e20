"""The columns a table can have: those of its own, made for the eye, and every name of the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation, Tunnel
from socks5sniff.record.fields import COLUMNS as RECORD_PATHS
from socks5sniff.record.form import Form

from .layouts import Field, Lines, Part, Words, asked
from .words import counted, ending_word, octets, result, results

TIME = "time"
"""Name of the column that the table's clock fills in."""
RESULT = "result"
"""Name of the column that is coloured."""


class Column(NamedTuple):
    """One column of the table."""

    name: str
    """What `--columns` calls it."""
    title: str
    text: Callable[[Conversation], str]
    least: int = 8
    """Characters below which the column is of no use."""
    rank: int = 0
    """The higher, the sooner the column is left out where all don't fit; 0 stays."""
    right: bool = False
    middle: bool = False
    """Cut in the middle: the end tells as much as the beginning."""


def _number(c: Conversation) -> str:
    return str(c.id) if c.parent is None else f"{c.id} in {c.parent}"


def _octets(conversation: Conversation, index: int) -> str:
    counts = octets(conversation)
    return "" if counts is None else str(counts[index])


def _tunnel(c: Conversation) -> str:
    if c.tunnel is not None:
        return _carried(c.tunnel)
    return "" if c.udp is None else counted(len(c.udp.destinations), "UDP destination")


def _carried(tunnel: Tunnel | None) -> str:
    return "" if tunnel is None else " ".join(filter(None, (tunnel.protocol, tunnel.server_name)))


def process(c: Conversation) -> str:
    """`curl[4711]`, with `@CONTAINER` where that is known; empty where nothing is."""
    if c.process is None:
        return ""
    container = c.process.get("container")
    return f"{c.process['name']}[{c.process['pid']}]{f'@{container}' if container else ''}"


def _anomalies(c: Conversation | Form) -> str:
    return " ".join(dict.fromkeys(anomaly.code for anomaly in c.anomalies if anomaly.code != c.outcome))


USUAL = (
    Column("id", "#", _number, 12, 2, right=True),
    Column(TIME, TIME, lambda c: "", 23, 5),
    Column("client", "client", lambda c: str(c.client), 21, 3, middle=True),
    Column("process", "process", process, 12, 8),
    Column("proxy", "proxy", lambda c: str(c.proxy), 15, middle=True),
    Column("user", "user", lambda c: c.username or "", 6, 6),
    Column("command", "command", lambda c: c.command or "", 13, 9),
    Column(
        "destination", "destination", lambda c: "" if c.destination is None else str(c.destination), 20, middle=True
    ),
    Column(RESULT, RESULT, result, 18),
    Column("tunnel", "tunnel", _tunnel, 7, 7),
    Column("sent", "sent", lambda c: _octets(c, 0), 14, right=True),
    Column("received", "received", lambda c: _octets(c, 1), 14, right=True),
    Column("seconds", "seconds", lambda c: f"{c.duration:.3f}", 12, 10, right=True),
    Column("anomalies", "anomalies", _anomalies, 12, 4),
)
"""What a table has unless columns are chosen."""

_USUAL = {column.name: column for column in USUAL}
NAMES: tuple[str, ...] = tuple(
    dict.fromkeys([*_USUAL, *(part for path in RECORD_PATHS for part in (path.partition(".")[0], path))])
)
"""Everything that `--columns` takes."""


def chosen(names: Sequence[str]) -> tuple[Column, ...]:
    """The columns called `names`, all of NAMES; the usual ones if there are none."""
    return tuple(_USUAL.get(name) or _of_the_record(name) for name in names) or USUAL


def _of_the_record(path: str) -> Column:
    key, _, part = path.partition(".")

    def text(conversation: Conversation) -> str:
        value = conversation.as_dict().get(key)  # one of `live --interim` is only in its records
        return _text(value.get(part) if part and value is not None else value)

    return Column(path, path, text, middle=True)


def _text(value: Any) -> str:
    """A value of the record in one line; lists with spaces between, of frames and anomalies what is shortest."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    if isinstance(value, dict):
        if "port" in value:
            host = str(value.get("host", value.get("address")))
            return f"[{host}]:{value['port']}" if ":" in host else f"{host}:{value['port']}"
        if "summary" in value:
            return f"{value['frame']}:{value['type']}"
        if "severity" in value:
            return str(value["code"])
        return " ".join(f"{name}={_text(item)}" for name, item in value.items() if item is not None)
    return str(value)


def cell(column: Column, conversation: Conversation) -> str:
    """What a column shows of a conversation, safe to print."""
    return escape_text(column.text(conversation))


SEPARATOR = "\t"
"""Between cells of a row that is one text; it cannot be in one, as they are escaped."""


def usual_rows() -> Lines:
    """Maker of rows for forms: the cells of the USUAL columns, and behind them the outcome."""
    objects = {"tunnel": lambda tunnel: escape_text(_carried(tunnel))}
    return Lines(_row, Words("", ending_word, objects, lambda way, text: escape_text(text)))


def _row(form: Form) -> list[Part]:
    cells = _cells(form)
    return [
        *(part for column in USUAL for part in (*cells.get(column.name, ()), SEPARATOR)),
        form.outcome,
    ]


def _cells(form: Form) -> dict[str, Sequence[Part]]:
    """What the columns show of a form's conversations, apart from those that are empty."""
    carries: dict[str, Sequence[Part]] = {
        "tunnel": [Field("object", "tunnel")],
        "sent": [Field("integer", "sent")],
        "received": [Field("integer", "received")],
    }
    return {
        "id": [Field("id")],
        "client": [Field("endpoint", "client_address", "client_port")],
        "proxy": [Field("endpoint", "proxy_address", "proxy_port")],
        "user": [Field("text", "username")] if form.username else [],
        "command": [escape_text(form.command or "")],
        "destination": [] if form.destination is None else asked(form.destination),
        "result": results(form),
        "seconds": [Field("rounded", 3)],
        "anomalies": [_anomalies(form)],
        **(carries if form.relays else {}),
    }
