"""The keys of a record, each once: its name, what it holds, whether it may be missing, and what it means.

Everything that lists keys walks this table: the record as plain values, the JSON schema, the columns of CSV and of
`--columns`, the names that an expression knows. The manual's table, the page's scripts and the fast writer of JSON are
held to it by tests.
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
    meaning: str = ""
    """One line of the manual, names of keys and values in back-quotes."""
    null: bool = False
    """There is not always a value."""
    optional: bool = False
    """Where there is no value there is not the key either."""
    many: bool = False
    """It holds a list: a comparison looks at each element."""
    seconds: bool = False
    """A number that need not be whole."""
    inside: dict[str, Key] = field(default_factory=dict)
    """Keys of an object, or of each element of a list; `destination == a` is `destination.host == a` where that one
    is what it `stands_for`."""
    stands_for: str | None = None
    """The key inside that a comparison means; None where it must be named."""
    words: tuple[str, ...] = ()
    """All values of a text, where they are few; empty where anything may come."""
    pattern: re.Pattern[str] | None = None
    """What other values look like."""
    source: str | None = None
    """The record's attribute, where it has another name."""

    def accepts(self, word: str) -> bool:
        """Whether a text can be the key's value at all."""
        return not self.words or word in self.words or bool(self.pattern and self.pattern.fullmatch(word))


def _number(meaning: str, null: bool = False) -> Key:
    return Key(Kind.NUMBER, meaning, null=null)


def _seconds(meaning: str, null: bool = True) -> Key:
    return Key(Kind.NUMBER, meaning, null=null, seconds=True)


def _time(meaning: str, source: str) -> Key:
    return Key(Kind.TIME, meaning, source=source)


def _text(meaning: str, null: bool = False, many: bool = False) -> Key:
    return Key(Kind.TEXT, meaning, null=null, many=many)


def _words(meaning: str, *words: str, null: bool = False, many: bool = False, pattern: str | None = None) -> Key:
    found = re.compile(pattern) if pattern else None
    return Key(Kind.TEXT, meaning, null=null, many=many, words=words, pattern=found)


def _object(meaning: str, stands_for: str | None, *, null: bool = False, **inside: Key) -> Key:
    return Key(Kind.OBJECT, meaning, null=null, inside=inside, stands_for=stands_for)


def _list(meaning: str, stands_for: str, **inside: Key) -> Key:
    return Key(Kind.OBJECT, meaning, many=True, inside=inside, stands_for=stands_for)


def _endpoint(meaning: str, null: bool = False) -> Key:
    address = Key(Kind.ADDRESS, "IPv4 or IPv6")
    return _object(meaning, "address", null=null, address=address, port=_number("TCP port"))


def _target(meaning: str) -> Key:
    return _object(
        meaning,
        "host",
        null=True,
        type=_words("of the address", "ipv4", "ipv6", "domain"),
        host=Key(Kind.HOST, "address or name"),
        port=_number("port"),
    )


def _reply(meaning: str) -> Key:
    return _object(meaning, "code", null=True, code=_number("REP, or CD of SOCKS4"), name=_text("its name"))


def _side(meaning: str, null: bool = False) -> Key:
    return _words(meaning, "client", "proxy", null=null)


_METHOD_NAMES = tuple(METHODS.values())
_OTHER_METHODS = "(?:private|unassigned)-0x[0-9a-f]{2}"

RECORD = _object(
    "a SOCKS conversation",
    None,
    id=_number("from 1, in the order of the conversations' first packets"),
    parent=_number("the conversation whose tunnel carries this one, to eight levels (a chain of proxies)", null=True),
    capture=_text("file or interface"),
    protocol=_words(
        "`socks5`, `socks4`, `socks4a`; `null` for another protocol on a proxy port",
        *("socks5", "socks4", "socks4a"),
        null=True,
    ),
    client=_endpoint("by SOCKS role, whoever opened the TCP connection"),
    proxy=_endpoint("the other end of that connection"),
    reversed=Key(Kind.TRUTH, "the proxy opened the TCP connection"),
    start=_time("first packet of the TCP connection, UTC with nanoseconds", "start_ns"),
    end=_time("its last packet", "end_ns"),
    duration=_seconds("between the two", null=False),
    phase=_words(
        "furthest reached: `greeting`, `authentication`, `request`, `relay`",
        *("greeting", "authentication", "request", "relay"),
        null=True,
    ),
    outcome=_words(
        "`succeeded`, `rejected`, `auth-failed`, `no-acceptable-method`, `incomplete`, `malformed`",
        *("succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed"),
    ),
    methods=_words("offered, in order", *_METHOD_NAMES, pattern=_OTHER_METHODS, null=True, many=True),
    method=_words("chosen", *_METHOD_NAMES, pattern=_OTHER_METHODS, null=True),
    username=_text("what was sent: user name, or SOCKS4's user id", null=True),
    password=_text("masked, unless passwords are asked for", null=True),
    authenticated=Key(Kind.TRUTH, "the proxy's verdict", null=True),
    command=_words(
        "`connect`, `bind`, `udp-associate`, `resolve`, …",
        *COMMANDS.values(),
        pattern="unknown-0x[0-9a-f]{2}",
        null=True,
    ),
    destination=_target("DST of the request"),
    reply=_reply("the first reply"),
    bound=_target("BND of the first reply"),
    peer_reply=_reply("BIND's second reply"),
    peer=_target("BND of the second reply"),
    tunnel=_object(
        "what the first octets through the relay are",
        "protocol",
        null=True,
        protocol=_text("`tls`, `http`, `ssh`, `socks5`, … or `unknown`"),
        server_name=Key(Kind.HOST, "SNI or Host", null=True),
        alpn=_text("protocols offered in TLS", null=True, many=True),
        detail=_text("one line: HTTP's request line, SSH's banner", null=True),
    ),
    bytes=_object(
        "octets through the tunnel, each counted once; `null` inside GSSAPI tokens",
        None,
        null=True,
        sent=_number("from the client"),
        received=_number("to the client"),
    ),
    udp=_object(
        "what went through a UDP association, octets without the SOCKS header",
        None,
        null=True,
        datagrams_sent=_number("from the client"),
        datagrams_received=_number("to the client"),
        bytes_sent=_number("octets of DATA from the client"),
        bytes_received=_number("octets of DATA to the client"),
        fragments=_number("datagrams with FRAG"),
        destinations=_list(
            "remote parties",
            "host",
            host=Key(Kind.HOST, "address or name"),
            port=_number("UDP port"),
            datagrams_sent=_number("to it"),
            datagrams_received=_number("from it"),
            dns=Key(Kind.TEXT, "the first DNS question to it, and the answer", null=True, optional=True),
            server_name=Key(Kind.HOST, "the name in QUIC's ClientHello", null=True, optional=True),
            quic=Key(Kind.TEXT, "QUIC's version, and the ClientHello's JA4", null=True, optional=True),
        ),
    ),
    timing=_object(
        "seconds that each step took",
        None,
        tcp_handshake=_seconds("SYN to SYN/ACK"),
        negotiation=_seconds("greeting to method selection"),
        authentication=_seconds("first to last octet of the sub-negotiation"),
        request=_seconds("request to reply"),
        first_byte=_seconds("reply to the first octet from the destination"),
        upstream_handshake=_seconds("the proxy's own SYN to its SYN/ACK, where `upstream` is known"),
    ),
    close=_words("how the TCP connection ended: `fin`, `reset` or `open`", "fin", "reset", "open"),
    closed_by=_side("who ended it: `client` or `proxy`", null=True),
    packets=_number("TCP packets"),
    tcp_stream=_number("Wireshark's number of the connection"),
    community_id=_text("the connection's Community ID, as other tools have it"),
    name_resolution=_words(
        "`remote`: the proxy was given a name; `local`: an address that the client had from DNS before; "
        "`address`: another address",
        *("remote", "local", "address"),
        null=True,
    ),
    first_frame=_number("number of the first frame"),
    last_frame=_number("number of the last frame"),
    frames=_list(
        "the SOCKS frames; behind a GSSAPI frame what it encloses",
        "type",
        frame=_number("number of the packet that completed it"),
        time=_time("of that packet", "time_ns"),
        sender=_side("who sent it"),
        type=_words(
            "of the SOCKS frame",
            *("greeting", "method-selection", "auth-request", "auth-reply", "gssapi", "request", "reply", "udp"),
        ),
        length=_number("octets of the SOCKS frame"),
        summary=_text("what it says, in one line"),
    ),
    anomalies=_list(
        "what was odd",
        "code",
        code=_words("what, as below", *ANOMALIES),
        severity=_words("how bad", "note", "warning", "error"),
        frame=_number("where"),
        message=_text("in words"),
    ),
    upstream=_object(
        "the proxy's own connection to the destination, where the capture has it",
        None,
        null=True,
        source=_endpoint("the proxy's end"),
        destination=_endpoint("the other end"),
        matched_by=_words("how it was found", "bound-address", "destination-and-time", "octets"),
        outcome=_words("what became of it", "established", "refused", "unanswered"),
    ),
    proxy_header=_object(
        "a PROXY protocol header in front of the greeting",
        None,
        null=True,
        version=_number("1 or 2"),
        source=_endpoint("the client that it states", null=True),
        destination=_endpoint("where that client came in", null=True),
        length=_number("octets of the header"),
    ),
    network=_text(
        "what tells this connection from another with the same addresses and ports (`vlan 10`, an interface)",
        null=True,
    ),
    process=_object(
        "the client's program, where it runs on this machine or the file says so",
        "name",
        null=True,
        pid=_number("its process id"),
        name=_text("its name"),
        container=Key(Kind.TEXT, "the container that it runs in, if it does", null=True, optional=True),
    ),
    interim=Key(Kind.TRUTH, "there only in a record of `live --interim`: the conversation is open", optional=True),
)
"""The record: a key whose keys are those of a conversation."""


def names(key: Key, prefix: str = "") -> Iterator[str]:
    """Every name that can be written inside `key`, those of inner keys with dots."""
    for name, inner in key.inside.items():
        yield prefix + name
        yield from names(inner, f"{prefix}{name}.")


COLUMNS: tuple[str, ...] = tuple(
    f"{name}.{part}" if part else name
    for name, key in RECORD.inside.items()
    for part in (key.inside if key.inside and not key.many else ("",))
)
"""The record spread over columns: objects by their keys, lists whole."""


def find(name: str) -> Key:
    """The key of a name with dots; KeyError where there is none."""
    key = RECORD
    for part in name.split("."):
        key = key.inside[part]
    return key
