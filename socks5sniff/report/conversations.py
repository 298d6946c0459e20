"""Conversations taken apart into columns, one for each key of the record."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from socks5sniff.record import Conversation, FrameEntry

from .columns import Column, Dictionary
from .community import community_id
from .explaining import Finding

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
    ("name_resolution", "word"),
    ("first_frame", "step"),
    ("upstream", "object"),
    ("proxy_header", "object"),
    ("process", "object"),
)  # fmt: skip
"""Keys of the record with a column of their kind; `client.port` is the key `port` of the object `client`.

The others are told in `Conversations`: `start`, `last_frame`, `community_id`, and the lists below.
"""

LISTS: dict[str, tuple[tuple[str, str], ...]] = {
    "frames": (
        ("frame", "offset"), ("time", "offset"), ("sender", "word"), ("type", "word"), ("length", "int"),
        ("summary", "word"),
    ),
    "anomalies": (("code", "word"), ("severity", "word"), ("frame", "offset"), ("message", "word")),
    "findings": (
        ("code", "word"), ("severity", "word"), ("sentence", "word"), ("frames", "list"), ("causes", "list"),
        ("advice", "word"),
    ),
    "udp.destinations": (
        ("host", "word"), ("port", "int"), ("datagrams_sent", "int"), ("datagrams_received", "int"),
        ("dns", "word"), ("server_name", "word"), ("quic", "word"),
    ),
}  # fmt: skip
"""Lists of objects: each has a column of counts, and its own columns with as many rows as the counts add up to."""

DESTINATION, BOUND, USERNAME, AS_IS = "\ue000", "\ue001", "\ue002", "\ue003"
"""Holes in a frame's summary for what the record says elsewhere; AS_IS comes first where the text itself has such."""

_SECOND = 1_000_000_000


class Conversations:
    """Columns that grow by a row for each conversation.

    Attributes:
        rows: how many there are.
        dictionary: the words of all columns.
        columns: all of them by name, those of lists too.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.dictionary = Dictionary()
        self.columns: dict[str, Column] = {}
        for name, kind in KEYS:
            self._column(name, kind)
        self._column("start.seconds", "step")
        self._column("start.nanoseconds", "int")
        self._column("last_frame", "offset", "first_frame")
        self._column("community_id", "word")
        for name, parts in LISTS.items():
            self._column(name, "count")
            for part, kind in parts:
                self._column(f"{name}.{part}", kind)

    def _column(self, name: str, kind: str, base: str | None = None) -> None:
        self.columns[name] = Column(name, kind, self.dictionary, base)

    def take(self, conversations: Sequence[Conversation], findings: Sequence[Sequence[Finding]]) -> None:
        """Rows for conversations, each with what explains it."""
        take = {name: column.take for name, column in self.columns.items()}
        self.rows += len(conversations)
        frames = [c.frames for c in conversations]  # first: a record that is not written out yet is from here on
        for name, _ in KEYS:
            take[name](_values(conversations, name))
        starts = [divmod(c.start_ns, _SECOND) for c in conversations]
        take["start.seconds"]([seconds for seconds, _ in starts])
        take["start.nanoseconds"]([fraction for _, fraction in starts])
        take["last_frame"]([c.last_frame - c.first_frame for c in conversations])
        take["community_id"]([_untold(c) for c in conversations])
        self._take_frames(conversations, frames)
        odd = [c.anomalies for c in conversations]
        self._take_list("anomalies", odd, frame=[a.frame - c.first_frame for c in conversations for a in c.anomalies])
        shown = [
            [frame - c.first_frame for frame in finding.frames]
            for c, some in zip(conversations, findings, strict=True)
            for finding in some
        ]
        self._take_list("findings", findings, frames=shown)
        self._take_list("udp.destinations", [[] if c.udp is None else c.udp.destinations for c in conversations])

    def _take_list(self, name: str, lists: Sequence[Sequence[Any]], **told: Sequence[Any]) -> None:
        """Entries as they are, but for the parts that are `told` otherwise: frame numbers, as distances."""
        self.columns[name].take([len(entries) for entries in lists])
        flat = list(chain.from_iterable(lists))
        for part, _ in LISTS[name]:
            self.columns[f"{name}.{part}"].take(told.get(part) or list(map(attrgetter(part), flat)))

    def _take_frames(self, conversations: Sequence[Conversation], lists: Sequence[Sequence[FrameEntry]]) -> None:
        """Frame numbers and times are told as distances from the entry before, which are short."""
        counts = np.array([len(entries) for entries in lists], np.int64)
        flat = list(chain.from_iterable(lists))
        begins = (np.cumsum(counts) - counts)[counts > 0]
        before = [c for c, count in zip(conversations, counts, strict=True) if count]

        def distances(values: list[int], origins: list[int]) -> Any:
            found = np.diff(np.array(values, np.int64), prepend=0)
            found[begins] = np.array([values[begin] for begin in begins], np.int64) - np.array(origins, np.int64)
            return found

        take = {part: self.columns[f"frames.{part}"].take for part, _ in LISTS["frames"]}
        self.columns["frames"].take(counts)
        take["frame"](distances([entry.frame for entry in flat], [c.first_frame for c in before]))
        take["time"](distances([entry.time_ns for entry in flat], [c.start_ns for c in before]))
        take["sender"]([entry.sender for entry in flat])
        take["type"]([entry.type for entry in flat])
        take["length"]([entry.length for entry in flat])
        take["summary"](list(chain.from_iterable(map(_summaries, before))))


def _summaries(c: Conversation) -> list[str]:
    """Summaries of the frames; what the record says elsewhere is a hole at the end."""
    holes = [(str(target), mark) for target, mark in ((c.destination, DESTINATION), (c.bound, BOUND)) if target]
    if c.username:
        holes.append((c.username, USERNAME))
    return [_with_hole(entry.summary, holes) for entry in c.frames]


def _with_hole(summary: str, holes: Sequence[tuple[str, str]]) -> str:
    if not summary.isascii() and any(mark in summary for mark in (DESTINATION, BOUND, USERNAME, AS_IS)):
        return AS_IS + summary
    for text, mark in holes:
        if summary.endswith(text):
            return summary[: -len(text)] + mark
    return summary


def _values(conversations: Sequence[Conversation], name: str) -> list[Any]:
    """What a dotted key names, None where it is null, or unknown to these records."""
    whole, _, part = name.partition(".")
    values = [getattr(c, whole, None) for c in conversations]
    return [None if value is None else getattr(value, part, None) for value in values] if part else values


def _untold(c: Conversation) -> str | None:
    """The community ID where the page would not find it out from the endpoints."""
    return None if c.community_id == community_id(c.client, c.proxy) else c.community_id
