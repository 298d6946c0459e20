"""The frames of SOCKS4, SOCKS4A and SOCKS5 as values, and how each is written.

Every field keeps the octet value that is on the wire, known code point or not, so that encoding what was decoded
gives the same octets. `encode` raises ValueError for a value that cannot be on the wire (a 256-octet name, a
method of 300): that is a programming error, not a peer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .address import Address

_ABORT = 0xFF
_IPV4 = 0x01
_DOMAIN = 0x03


@dataclass(frozen=True, slots=True)
class Greeting:
    """The client's version identifier and method list (RFC 1928 s3)."""

    kind: ClassVar[str] = "greeting"

    methods: bytes
    """METHODS, one octet each, in the client's order; at most 255."""
    version: int = 5

    def encode(self) -> bytes:
        return bytes((self.version, len(self.methods))) + self.methods


@dataclass(frozen=True, slots=True)
class MethodSelection:
    """The proxy's choice of a method (RFC 1928 s3)."""

    kind: ClassVar[str] = "method-selection"

    method: int
    """METHOD; FF when none is acceptable."""
    version: int = 5

    def encode(self) -> bytes:
        return bytes((self.version, self.method))


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """User name and password (RFC 1929 s2)."""

    kind: ClassVar[str] = "auth-request"

    username: bytes
    """UNAME, in no declared character set; at most 255 octets."""
    password: bytes
    """PASSWD; at most 255 octets."""
    version: int = 1

    def encode(self) -> bytes:
        username, password = self.username, self.password
        return bytes((self.version, len(username))) + username + bytes((len(password),)) + password


@dataclass(frozen=True, slots=True)
class AuthReply:
    """The proxy's verdict on user name and password (RFC 1929 s2)."""

    kind: ClassVar[str] = "auth-reply"

    status: int
    """STATUS: 00 success, anything else failure."""
    version: int = 1

    def encode(self) -> bytes:
        return bytes((self.version, self.status))


@dataclass(frozen=True, slots=True)
class GssapiMessage:
    """One GSSAPI frame, either way (RFC 1961 s3 to s5)."""

    kind: ClassVar[str] = "gssapi"

    message_type: int
    """MTYP: 1 authentication, 2 protection level, 3 user data, FF abort."""
    token: bytes = b""
    """At most 65,535 octets. An abort has none, nor a length, on the wire."""
    version: int = 1

    def encode(self) -> bytes:
        head = bytes((self.version, self.message_type))
        if self.message_type == _ABORT:
            if self.token:
                raise ValueError("a GSSAPI abort carries no token")
            return head
        if len(self.token) > 0xFFFF:
            raise ValueError(f"a GSSAPI token has at most 65535 octets, not {len(self.token)}")
        return head + bytes((len(self.token) >> 8, len(self.token) & 0xFF)) + self.token


@dataclass(frozen=True, slots=True)
class Request:
    """A SOCKS5 request (RFC 1928 s4)."""

    kind: ClassVar[str] = "request"

    command: int
    """CMD."""
    destination: Address
    """DST.ADDR and DST.PORT."""
    reserved: int = 0
    """RSV."""
    version: int = 5

    def encode(self) -> bytes:
        return bytes((self.version, self.command, self.reserved)) + self.destination.encode()


@dataclass(frozen=True, slots=True)
class Reply:
    """A SOCKS5 reply (RFC 1928 s6)."""

    kind: ClassVar[str] = "reply"

    code: int
    """REP."""
    bound: Address
    """BND.ADDR and BND.PORT."""
    reserved: int = 0
    """RSV."""
    version: int = 5

    def encode(self) -> bytes:
        return bytes((self.version, self.code, self.reserved)) + self.bound.encode()


@dataclass(frozen=True, slots=True)
class Socks4Request:
    """A SOCKS4 request, or a SOCKS4A one when the destination is a domain name."""

    kind: ClassVar[str] = "request"

    command: int
    """CD."""
    destination: Address
    """DSTPORT and DSTIP, or SOCKS4A's host name. IPv6 does not exist here."""
    user: bytes
    """USERID without its NUL."""
    version: int = 4
    """VN."""
    literal: int = 1
    """x of the DSTIP 0.0.0.x (1 to 255) that announces SOCKS4A's host name; no meaning without one."""

    @property
    def is_socks4a(self) -> bool:
        return self.destination.type == _DOMAIN

    def encode(self) -> bytes:
        kind, host, port = self.destination
        if b"\0" in self.user:
            raise ValueError("a SOCKS4 user id cannot hold a NUL")
        head = bytes((self.version, self.command, port >> 8, port & 0xFF))
        if kind == _DOMAIN:
            if b"\0" in host:
                raise ValueError("a SOCKS4A host name cannot hold a NUL")
            if self.literal == 0:
                raise ValueError("SOCKS4A's address 0.0.0.x needs an x other than 0")
            return head + bytes((0, 0, 0, self.literal)) + self.user + b"\0" + host + b"\0"
        if kind != _IPV4 or len(host) != 4:
            raise ValueError("SOCKS4 carries an IPv4 address or a domain name")
        if is_socks4a_marker(host):
            raise ValueError("SOCKS4 cannot name the address 0.0.0.x: it announces a host name")
        return head + host + self.user + b"\0"


@dataclass(frozen=True, slots=True)
class Socks4Reply:
    """A SOCKS4 reply."""

    kind: ClassVar[str] = "reply"

    code: int
    """CD: 90 granted, 91 to 93 refused."""
    bound: Address
    """DSTPORT and DSTIP; always IPv4."""
    version: int = 0
    """VN, which is 0 in a reply."""

    def encode(self) -> bytes:
        kind, host, port = self.bound
        if kind != _IPV4 or len(host) != 4:
            raise ValueError("a SOCKS4 reply carries an IPv4 address")
        return bytes((self.version, self.code, port >> 8, port & 0xFF)) + host


@dataclass(frozen=True, slots=True)
class UdpHeader:
    """The header before the data of a relay datagram (RFC 1928 s7).

    GOST's UDP over TCP puts the same header on the stream, with RSV holding the length of the data that follows.
    """

    kind: ClassVar[str] = "udp"

    destination: Address
    """DST.ADDR and DST.PORT; from the proxy it is the remote sender."""
    fragment: int = 0
    """FRAG: 0 standalone, else the position, high bit set in the last fragment."""
    reserved: int = 0
    """RSV, two octets."""

    def encode(self) -> bytes:
        return bytes((self.reserved >> 8, self.reserved & 0xFF, self.fragment)) + self.destination.encode()


@dataclass(frozen=True, slots=True)
class FwdUdpHeader:
    """The header before each datagram that hev-socks5's FWD UDP puts on the TCP stream."""

    kind: ClassVar[str] = "udp"

    destination: Address
    data_length: int
    """Octets of data that follow the header."""
    header_length: int
    """Octets of this header, as the sender says: 10 for IPv4, 22 for IPv6, 7 and the name for a domain."""

    def encode(self) -> bytes:
        head = bytes((self.data_length >> 8, self.data_length & 0xFF, self.header_length))
        return head + self.destination.encode()


Frame = (
    Greeting
    | MethodSelection
    | AuthRequest
    | AuthReply
    | GssapiMessage
    | Request
    | Reply
    | Socks4Request
    | Socks4Reply
    | UdpHeader
    | FwdUdpHeader
)


def is_socks4a_marker(address: bytes) -> bool:
    """Whether a DSTIP is 0.0.0.x with x other than 0: a host name follows the user id."""
    return address[:3] == b"\0\0\0" and address[3] != 0
