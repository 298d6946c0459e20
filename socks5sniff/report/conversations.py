"""Conversations taken apart into columns, one for each key of the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from socks5sniff.record import Conversation

from .columns import Column, Dictionary

KEYS: tuple[tuple[str, str], ...] = (
    ("id", "step"),
    ("parent", "int"),
    ("capture", "word"),
    ("network", "word"),
    ("protocol", "word"),
    ("client.address", "word"),
    ("client.port", "int"),
    ("proxy.address", "word"),
    ("proxy.port", "int"),
    ("reversed", "bool"),
    ("duration", "seconds"),
    ("phase", "word"),
    ("outcome", "word"),
    ("methods", "list"),
    ("method", "word"),
    ("username", "word"),
    ("password", "word"),
    ("authenticated", "bool"),
    ("command", "word"),
    *((f"{target}.{part}", kind) for target in ("destination", "bound", "peer")
      for part, kind in (("type", "word"), ("host", "word"), ("port", "int"))),
    *((f"{reply}.{part}", kind) for reply in ("reply", "peer_reply")
      for part, kind in (("code", "int"), ("name", "word"))),
    ("tunnel.protocol", "word"),
    ("tunnel.server_name", "word"),
    ("tunnel.alpn", "list"),
    ("tunnel.detail", "word"),
    ("bytes.sent", "int"),
    ("bytes.received", "int"),
    *((f"udp.{part}", "int") for part in (
        "datagrams_sent", "datagrams_received", "bytes_sent", "bytes_received", "fragments")),
    *((f"timing.{step}", "seconds") for step in (
        "tcp_handshake", "negotiation", "authentication", "request", "first_byte", "upstream_handshake")),
    ("close", "word"),
    ("closed_by", "word"),
    ("packets", "int"),
    ("tcp_stream", "step"),
    ("community_id", "word"),
    ("name_resolution", "word"),
    ("first_frame", "step"),
    ("upstream", "object"),
    ("proxy_header", "object"),
    ("process", "object"),
)  # fmt: skip
"""Keys of the record with a column of their kind; `client.port` is the key `port` of the object `client`.

`start`, `last_frame` and the lists `frames`, `anomalies` and `udp.destinations` are told in `Conversations.add`.
"""

LISTS: dict[str, tuple[tuple[str, str], ...]] = {
    "frames": (
        ("frame", "offset"), ("time", "offset"), ("sender", "word"), ("type", "word"), ("length", "int"),
        ("summary", "word"),
    ),
    "anomalies": (("code", "word"), ("severity", "word"), ("frame", "offset"), ("message", "word")),
    "udp.destinations": (
        ("host", "word"), ("port", "int"), ("datagrams_sent", "int"), ("datagrams_received", "int"),
    ),
}  # fmt: skip
"""Lists of objects: each has a column of counts, and its own columns with as many rows as the counts add up to."""

DESTINATION, BOUND, USERNAME, AS_IS = "\ue000", "\ue001", "\ue002", "\ue003"
"""Holes in a frame's summary for what the record says elsewhere; AS_IS comes first where the text itself has such."""

_NANOSECONDS = 1_000_000_000


class Conversations:
    """Columns that grow by a row for each conversation.

    Attributes:
        rows: how many there are.
        dictionary: the words of all columns.
        columns: all of them, those of lists too.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.dictionary = Dictionary()
        self.columns: list[Column] = []
        self._row = [(_getter(name), self._column(name, kind).add) for name, kind in KEYS]
        self._seconds = self._column("start.seconds", "step")
        self._fraction = self._column("start.nanoseconds", "int")
        self._last_frame = self._column("last_frame", "offset", "first_frame")
        self._told = self._column("explanation", "list")
        self._counts = {name: self._column(name, "count") for name in LISTS}
        self._lists = {
            name: [self._column(f"{name}.{part}", kind).add for part, kind in parts] for name, parts in LISTS.items()
        }

    def _column(self, name: str, kind: str, base: str | None = None) -> Column:
        column = Column(name, kind, self.dictionary, base)
        self.columns.append(column)
        return column

    def add(self, c: Conversation, explanation: list[str] | None = None) -> None:
        """A row for a conversation, with the sentences that explain it."""
        self.rows += 1
        for get, add in self._row:
            add(get(c))
        seconds, fraction = divmod(c.start_ns, _NANOSECONDS)
        self._seconds.add(seconds)
        self._fraction.add(fraction)
        self._last_frame.add(c.last_frame - c.first_frame)
        self._told.add(explanation or None)
        self._add_frames(c)
        self._add_rows("anomalies", [(a.code, a.severity, a.frame - c.first_frame, a.message) for a in c.anomalies])
        self._add_rows("udp.destinations", [] if c.udp is None else c.udp.destinations)

    def _add_frames(self, c: Conversation) -> None:
        """Frame numbers and times are told as distances from the entry before, which are short."""
        holes = [(str(target), mark) for target, mark in ((c.destination, DESTINATION), (c.bound, BOUND)) if target]
        if c.username:
            holes.append((c.username, USERNAME))
        number, time = c.first_frame, c.start_ns
        rows = []
        for entry in c.frames:
            summary = _with_holes(entry.summary, holes)
            rows.append((entry.frame - number, entry.time_ns - time, entry.sender, entry.type, entry.length, summary))
            number, time = entry.frame, entry.time_ns
        self._add_rows("frames", rows)

    def _add_rows(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        self._counts[name].add(len(rows))
        adders = self._lists[name]
        for row in rows:
            for add, value in zip(adders, row, strict=True):
                add(value)


def _with_holes(summary: str, holes: Sequence[tuple[str, str]]) -> str:
    if any(mark in summary for mark in (DESTINATION, BOUND, USERNAME, AS_IS)):
        return AS_IS + summary
    for text, mark in holes:
        if summary.endswith(text):
            return summary[: -len(text)] + mark
    return summary


def _getter(name: str) -> Callable[[Conversation], Any]:
    """What a dotted key names, None where it is null, or unknown to this record."""
    whole, _, part = name.partition(".")
    if not part:
        if name in ("network", "proxy_header"):
            return lambda c: getattr(c, name, None)
        return attrgetter(name)
    get = attrgetter(whole)

    def value(c: Conversation) -> Any:
        found = get(c)
        return None if found is None else getattr(found, part, None)

    return value
