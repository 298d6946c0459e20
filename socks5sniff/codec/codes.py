"""Every SOCKS code point in one place: one registry each, with the names that records and reports show.

The registries are plain dictionaries, so that tables for other programs can be generated from them. A value
outside its registry is no error: it stays the integer it is, and the name functions give it a name that tells
the value (`unknown-0x99`). Sources: RFC 1928, 1929 and 1961, the SOCKS4 and SOCKS4A memos, the IANA registry
"SOCKS Methods", Tor's socks-extensions, and the programs named beside a private value.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Method(IntEnum):
    """METHOD of the SOCKS5 greeting and its answer (RFC 1928 s3, IANA "SOCKS Methods")."""

    NO_AUTHENTICATION = 0x00
    GSSAPI = 0x01
    USERNAME_PASSWORD = 0x02
    CHAP = 0x03
    CHALLENGE_RESPONSE = 0x05
    SSL = 0x06
    NDS = 0x07
    MULTI_AUTHENTICATION_FRAMEWORK = 0x08
    JSON_PARAMETER_BLOCK = 0x09
    NO_ACCEPTABLE = 0xFF


class Command(IntEnum):
    """CMD of a request (RFC 1928 s4; CD in SOCKS4)."""

    CONNECT = 0x01
    BIND = 0x02
    UDP_ASSOCIATE = 0x03
    FWD_UDP = 0x05
    PING = 0x80
    TRACEROUTE = 0x81
    RESOLVE = 0xF0
    RESOLVE_PTR = 0xF1
    MUX_BIND = 0xF2
    UDP_OVER_TCP = 0xF3


class AddressType(IntEnum):
    """ATYP (RFC 1928 s5)."""

    IPV4 = 0x01
    DOMAIN = 0x03
    IPV6 = 0x04


class ReplyStatus(IntEnum):
    """REP of a SOCKS5 reply (RFC 1928 s6; F0 to F7 are Tor's extended errors)."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08
    INVALID_ADDRESS = 0x09
    ONION_DESCRIPTOR_NOT_FOUND = 0xF0
    ONION_DESCRIPTOR_INVALID = 0xF1
    ONION_INTRODUCTION_FAILED = 0xF2
    ONION_RENDEZVOUS_FAILED = 0xF3
    ONION_MISSING_AUTHORIZATION = 0xF4
    ONION_WRONG_AUTHORIZATION = 0xF5
    ONION_ADDRESS_INVALID = 0xF6
    ONION_INTRODUCTION_TIMED_OUT = 0xF7


class Socks4Status(IntEnum):
    """CD of a SOCKS4 reply."""

    GRANTED = 90
    REJECTED = 91
    NO_IDENTD = 92
    IDENTD_MISMATCH = 93


class AuthStatus(IntEnum):
    """STATUS of the username/password answer (RFC 1929 s2). Any value but SUCCESS is a failure."""

    SUCCESS = 0x00
    FAILURE = 0x01


class GssapiMessageType(IntEnum):
    """MTYP of a GSSAPI frame (RFC 1961 s3 to s5)."""

    AUTHENTICATION = 0x01
    PROTECTION_LEVEL = 0x02
    USER_DATA = 0x03
    ABORT = 0xFF


class ProtectionLevel(IntEnum):
    """The octet that the level negotiation carries (RFC 1961 s4.1)."""

    INTEGRITY = 0x01
    CONFIDENTIALITY = 0x02
    SELECTIVE = 0x03


METHODS: dict[int, str] = {
    0x00: "no-authentication",
    0x01: "gssapi",
    0x02: "username-password",
    0x03: "chap",
    0x05: "challenge-response",
    0x06: "ssl",
    0x07: "nds",
    0x08: "multi-authentication-framework",
    0x09: "json-parameter-block",
    0xFF: "no-acceptable-method",
}
"""Assigned methods. `method_name` also names the rest: 0x04 and 0x0A to 0x7F unassigned, 0x80 to 0xFE private."""

METHOD_OWNERS: dict[int, tuple[str, ...]] = {
    0x80: ("GOST: TLS",),
    0x82: ("GOST: TLS, then username/password",),
    0x88: ("GOST: stream multiplexing",),
}
"""Who is known to use a private method and for what, likeliest first."""

COMMANDS: dict[int, str] = {
    0x01: "connect",
    0x02: "bind",
    0x03: "udp-associate",
    0x05: "fwd-udp",
    0x80: "ping",
    0x81: "traceroute",
    0xF0: "resolve",
    0xF1: "resolve-ptr",
    0xF2: "mux-bind",
    0xF3: "udp-over-tcp",
}
"""Commands, each with its likeliest meaning."""

SOCKS4_COMMANDS: frozenset[int] = frozenset({0x01, 0x02, 0xF0, 0xF1})
"""Those of `COMMANDS` that SOCKS4 knows: CONNECT, BIND, and Tor's two."""

COMMAND_OWNERS: dict[int, tuple[str, ...]] = {
    0x01: ("RFC 1928: CONNECT",),
    0x02: ("RFC 1928: BIND",),
    0x03: ("RFC 1928: UDP ASSOCIATE",),
    0x05: ("hev-socks5: UDP in TCP",),
    0x80: ("NEC: ping",),
    0x81: ("NEC: traceroute",),
    0xF0: ("Tor: RESOLVE",),
    0xF1: ("Tor: RESOLVE_PTR",),
    0xF2: ("GOST: multiplexed BIND",),
    0xF3: ("GOST: UDP over TCP",),
}
"""Who gives a command its meaning, likeliest first. RFC 1928 assigns 01 to 03 only, so others may use the rest too."""

ADDRESS_TYPES: dict[int, str] = {0x01: "ipv4", 0x03: "domain", 0x04: "ipv6"}

REPLIES: dict[int, str] = {
    0x00: "succeeded",
    0x01: "general SOCKS server failure",
    0x02: "connection not allowed by ruleset",
    0x03: "network unreachable",
    0x04: "host unreachable",
    0x05: "connection refused",
    0x06: "TTL expired",
    0x07: "command not supported",
    0x08: "address type not supported",
    0x09: "invalid address",
    0xF0: "onion service descriptor not found",
    0xF1: "descriptor invalid",
    0xF2: "introduction failed",
    0xF3: "rendezvous failed",
    0xF4: "missing client authorization",
    0xF5: "wrong client authorization",
    0xF6: "invalid onion address",
    0xF7: "introduction timed out",
}
"""SOCKS5 reply codes."""

SOCKS4_REPLIES: dict[int, str] = {
    90: "request granted",
    91: "request rejected or failed",
    92: "no identd reachable",
    93: "identd mismatch",
}

AUTH_STATUSES: dict[int, str] = {0x00: "success", 0x01: "failure"}
"""RFC 1929 names 00 only; every other value is a failure."""

GSSAPI_MESSAGES: dict[int, str] = {
    0x01: "authentication",
    0x02: "protection-level negotiation",
    0x03: "encapsulated user data",
    0xFF: "abort",
}

PROTECTION_LEVELS: dict[int, str] = {
    0x01: "integrity",
    0x02: "integrity and confidentiality",
    0x03: "selective",
}


class Anomaly(NamedTuple):
    """One kind of oddity."""

    severity: str
    """`note`, `warning` or `error`."""
    description: str


ANOMALIES: dict[str, Anomaly] = {
    "bad-version": Anomaly("error", "VER is not what the state allows"),
    "no-methods-offered": Anomaly("warning", "the greeting offers no method (NMETHODS is 0)"),
    "duplicate-methods": Anomaly("note", "the greeting lists a method twice"),
    "method-not-offered": Anomaly("error", "the proxy chose a method that the client did not offer"),
    "no-acceptable-method": Anomaly("note", "the proxy accepts none of the offered methods (METHOD is FF)"),
    "cleartext-credentials": Anomaly("warning", "a password crossed the network in clear"),
    "empty-credential": Anomaly("warning", "user name or password is empty (ULEN or PLEN is 0)"),
    "auth-version": Anomaly("warning", "VER of the sub-negotiation is not 01"),
    "auth-failed": Anomaly("note", "the proxy refused the credentials (STATUS is not 00)"),
    "reserved-nonzero": Anomaly("warning", "RSV is not zero"),
    "unknown-command": Anomaly("warning", "the command is in no table"),
    "unknown-address-type": Anomaly("error", "the address type is in no table, so the frame's end is unknown"),
    "unknown-reply": Anomaly("warning", "the reply code is in no table"),
    "empty-domain": Anomaly("warning", "the domain name is empty"),
    "domain-not-ascii": Anomaly("note", "the domain name holds octets outside ASCII"),
    "domain-is-ip-literal": Anomaly("note", "the domain name is an IP address in text"),
    "domain-has-nul": Anomaly("error", "the domain name holds a NUL octet"),
    "zero-port": Anomaly("note", "CONNECT to port 0"),
    "early-data": Anomaly("note", "the client sent data before the success reply (optimistic data)"),
    "data-after-failure": Anomaly("warning", "payload after a failure reply"),
    "server-spoke-first": Anomaly("error", "the proxy sent before the client's greeting"),
    "reply-before-request": Anomaly("error", "the proxy replied before the client's request"),
    "split-frame": Anomaly("note", "a SOCKS frame came in several segments"),
    "pipelined-frames": Anomaly("note", "several SOCKS frames came in one segment"),
    "bound-unspecified": Anomaly("note", "UDP ASSOCIATE was answered with 0.0.0.0 or ::"),
    "associate-names-target": Anomaly(
        "warning", "the address of UDP ASSOCIATE looks like the remote target, not the client's own"
    ),
    "refusal-too-long": Anomaly("warning", "octets follow the choice METHOD FF"),
    "gssapi-level-unprotected": Anomaly("warning", "the GSSAPI protection level was sent unwrapped (NEC variant)"),
    "late-close": Anomaly("note", "the connection stayed open more than 10 s after a failure"),
    "handshake-gap": Anomaly("error", "octets of the handshake are missing from the capture"),
    "midstream": Anomaly("note", "the start of the TCP connection is not in the capture"),
    "conflicting-retransmission": Anomaly("warning", "a retransmitted octet differs from its first copy"),
    "not-socks-on-socks-port": Anomaly("warning", "another protocol on a proxy port"),
    "local-dns": Anomaly("warning", "the client resolved the name itself before it asked the proxy (DNS leak)"),
    "udp-fragmented": Anomaly("note", "a relay datagram is a fragment (FRAG is not 0)"),
    "udp-unassociated": Anomaly("warning", "a relay datagram from a party that the association does not name"),
    "auth-unasked": Anomaly("error", "a username/password sub-negotiation although another method was chosen"),
    "proxy-protocol": Anomaly("note", "a PROXY protocol header came first"),
    "closed-without-data": Anomaly(
        "note", "success, but the proxy closed before one octet came from the destination, and before the client did"
    ),
    "unreachable-bound": Anomaly("warning", "the address for datagrams cannot be reached from where the client is"),
    "udp-one-way": Anomaly("warning", "datagrams went to the relay and none came back"),
    "udp-no-header": Anomaly("error", "a datagram between client and relay without a SOCKS header"),
    "udp-names-client": Anomaly("warning", "the header of an answer names the client instead of the remote sender"),
    "udp-after-close": Anomaly("warning", "datagrams after the association's TCP connection had ended"),
    "udp-fragments-incomplete": Anomaly("warning", "a sequence of fragments (FRAG) that never was completed"),
    "odd-destination": Anomaly(
        "note", "the domain name is a URL, holds a port, or is a number in another notation than an address"
    ),
    "half-frame": Anomaly("warning", "a side closed in the middle of a frame"),
    "internal-error": Anomaly("error", "socks5sniff failed at this connection; what it had read by then is shown"),
}
"""Every anomaly that a record can hold."""


def method_name(method: int) -> str:
    """Name of a method: `no-authentication`, `unassigned-0x42`, `private-0x91`, `no-acceptable-method`."""
    name = METHODS.get(method)
    if name is None:
        name = f"private-0x{method:02x}" if method >= 0x80 else f"unassigned-0x{method:02x}"
    return name


def command_name(command: int) -> str:
    """Name of a command: `connect`, `resolve-ptr`, `unknown-0x99`."""
    return COMMANDS.get(command) or f"unknown-0x{command:02x}"


def address_type_name(address_type: int) -> str:
    """`ipv4`, `ipv6`, `domain`, else `unknown-0x07`."""
    return ADDRESS_TYPES.get(address_type) or f"unknown-0x{address_type:02x}"


def reply_name(code: int) -> str:
    """Name of a SOCKS5 reply code: `connection refused`, `unassigned 0x33`."""
    return REPLIES.get(code) or f"unassigned 0x{code:02x}"


def socks4_reply_name(code: int) -> str:
    """Name of a SOCKS4 reply code (90 to 93): `request granted`, `unassigned 0x5e`."""
    return SOCKS4_REPLIES.get(code) or f"unassigned 0x{code:02x}"


def auth_status_name(status: int) -> str:
    """`success` for 00; every other STATUS is `failure` (RFC 1929 s2)."""
    return AUTH_STATUSES.get(status, "failure")


def gssapi_message_name(message_type: int) -> str:
    """Name of a GSSAPI message type: `authentication`, `unknown 0x07`."""
    return GSSAPI_MESSAGES.get(message_type) or f"unknown 0x{message_type:02x}"


def protection_level_name(level: int) -> str:
    """Name of a GSSAPI protection level: `integrity`, `unknown 0x07`."""
    return PROTECTION_LEVELS.get(level) or f"unknown 0x{level:02x}"
