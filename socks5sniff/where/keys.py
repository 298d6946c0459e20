"""The keys of a record that an expression can name, each with its kind.

A key with others inside (`destination`, `anomalies`) stands for one of them where it is compared: `destination == a` is
`destination.host == a`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from socks5sniff.codec.codes import ANOMALIES, COMMANDS, METHODS


class Kind(Enum):
    """What a value is, and so what it can be compared with."""

    NUMBER = "a number"
    TEXT = "text"
    HOST = "an address or a host name"
    ADDRESS = "an address"
    TRUTH = "true or false"
    TIME = "a time"
    OBJECT = "no value of its own"


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    kind: Kind
    many: bool = False
    """It holds a list: a comparison looks at each element."""
    inside: dict[str, Key] = field(default_factory=dict)
    stands_for: str | None = None
    """The key inside that a comparison means; None where it must be named."""
    words: frozenset[str] = frozenset()
    """All values of a text, where they are few; empty where anything may come."""
    pattern: re.Pattern[str] | None = None
    """What other values look like."""
    source: str | None = None
    """The record's attribute, where it has another name."""

    def accepts(self, word: str) -> bool:
        """Whether a text can be the key's value at all."""
        return not self.words or word in self.words or bool(self.pattern and self.pattern.fullmatch(word))


def _words(*words: str, pattern: str | None = None, many: bool = False) -> Key:
    return Key(Kind.TEXT, many, words=frozenset(words), pattern=re.compile(pattern) if pattern else None)


def _object(stands_for: str | None, **inside: Key) -> Key:
    return Key(Kind.OBJECT, False, inside, stands_for)


def _list(stands_for: str, **inside: Key) -> Key:
    return Key(Kind.OBJECT, True, inside, stands_for)


_NUMBER = Key(Kind.NUMBER)
_TEXT = Key(Kind.TEXT)
_HOST = Key(Kind.HOST)
_TRUTH = Key(Kind.TRUTH)
_SIDE = _words("client", "proxy")
_ENDPOINT = _object("address", address=Key(Kind.ADDRESS), port=_NUMBER)
_TARGET = _object("host", type=_words("ipv4", "ipv6", "domain"), host=_HOST, port=_NUMBER)
_REPLY = _object("code", code=_NUMBER, name=_TEXT)
_METHOD_NAMES = tuple(METHODS.values())
_OTHER_METHODS = "(?:private|unassigned)-0x[0-9a-f]{2}"
_STEPS = ("tcp_handshake", "negotiation", "authentication", "request", "first_byte", "upstream_handshake")
_UDP_COUNTS = ("datagrams_sent", "datagrams_received", "bytes_sent", "bytes_received", "fragments")

_FRAME_TYPES = (
    *("greeting", "method-selection", "auth-request", "auth-reply"),
    *("gssapi", "request", "reply", "udp"),
)

RECORD = _object(
    None,
    id=_NUMBER,
    parent=_NUMBER,
    capture=_TEXT,
    protocol=_words("socks5", "socks4", "socks4a"),
    client=_ENDPOINT,
    proxy=_ENDPOINT,
    reversed=_TRUTH,
    start=Key(Kind.TIME, source="start_ns"),
    end=Key(Kind.TIME, source="end_ns"),
    duration=_NUMBER,
    phase=_words("greeting", "authentication", "request", "relay"),
    outcome=_words("succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed"),
    methods=_words(*_METHOD_NAMES, pattern=_OTHER_METHODS, many=True),
    method=_words(*_METHOD_NAMES, pattern=_OTHER_METHODS),
    username=_TEXT,
    password=_TEXT,
    authenticated=_TRUTH,
    command=_words(*COMMANDS.values(), pattern="unknown-0x[0-9a-f]{2}"),
    destination=_TARGET,
    reply=_REPLY,
    bound=_TARGET,
    peer_reply=_REPLY,
    peer=_TARGET,
    tunnel=_object("protocol", protocol=_TEXT, server_name=_HOST, alpn=Key(Kind.TEXT, many=True), detail=_TEXT),
    bytes=_object(None, sent=_NUMBER, received=_NUMBER),
    udp=_object(
        None,
        **dict.fromkeys(_UDP_COUNTS, _NUMBER),
        destinations=_list("host", host=_HOST, port=_NUMBER, datagrams_sent=_NUMBER, datagrams_received=_NUMBER),
    ),
    timing=_object(None, **dict.fromkeys(_STEPS, _NUMBER)),
    close=_words("reset", "fin", "open"),
    closed_by=_SIDE,
    packets=_NUMBER,
    tcp_stream=_NUMBER,
    community_id=_TEXT,
    name_resolution=_words("remote", "local", "address"),
    first_frame=_NUMBER,
    last_frame=_NUMBER,
    frames=_list(
        "type",
        frame=_NUMBER,
        time=Key(Kind.TIME, source="time_ns"),
        sender=_SIDE,
        type=_words(*_FRAME_TYPES),
        length=_NUMBER,
        summary=_TEXT,
    ),
    anomalies=_list(
        "code",
        code=_words(*ANOMALIES),
        severity=_words("note", "warning", "error"),
        frame=_NUMBER,
        message=_TEXT,
    ),
    upstream=_object(
        None,
        source=_ENDPOINT,
        destination=_ENDPOINT,
        matched_by=_words("bound-address", "destination-and-time", "octets"),
        outcome=_words("established", "refused", "unanswered"),
    ),
    proxy_header=_object(None, version=_NUMBER, source=_ENDPOINT, destination=_ENDPOINT, length=_NUMBER),
    network=_TEXT,
    process=_object("name", pid=_NUMBER, name=_TEXT),
)
"""The record: a key whose keys are those of a conversation."""


def names(key: Key, prefix: str = "") -> Iterator[str]:
    """Every name that can be written inside `key`, those of inner keys with dots."""
    for name, inner in key.inside.items():
        yield prefix + name
        yield from names(inner, f"{prefix}{name}.")
