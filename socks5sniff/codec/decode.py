"""From octets to frames: one function a frame, all of one form.

    decode_x(octets, start=0) -> Decoded | NeedMore | Mismatch

`Decoded` is the frame, its length and what deviates from the specification; octets after it are not looked at.
`NeedMore` is no verdict yet: too few octets. `Mismatch` says that no octets to come can make these the frame. Nothing
is raised for any octets. A deviation never hides the frame: a wrong VER gives the frame and `bad-version`, so a caller
that detects protocols looks at the version itself.

These functions are the analyser's inner loop, so they index octets directly instead of going through a cursor.
Octets other than `bytes` (a memoryview, a bytearray) are copied first, no more of them than the frame can have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from .address import Address
from .codes import COMMANDS, REPLIES, SOCKS4_COMMANDS, SOCKS4_REPLIES
from .frames import (
    AuthReply,
    AuthRequest,
    FwdUdpHeader,
    Greeting,
    GssapiMessage,
    MethodSelection,
    Reply,
    Request,
    Socks4Reply,
    Socks4Request,
    UdpHeader,
)

MAX_GREETING = 2 + 255
MAX_AUTH_REQUEST = 3 + 2 * 255
MAX_GSSAPI = 4 + 0xFFFF
MAX_ADDRESSED = 3 + 1 + 1 + 255 + 2
"""Request, reply and both UDP headers: three octets, then ATYP, a 255-octet name and the port."""

MAX_SOCKS4_STRING = 512
"""Octets of USERID or HOSTNAME without the NUL. The memos set no limit. A host name has at most 255 octets and a
user id is a login name, so twice the former leaves room for what is odd and yet bounds how long a NUL is waited for."""

MAX_SOCKS4_REQUEST = 8 + 2 * (MAX_SOCKS4_STRING + 1)

_CONNECT = 0x01
_ABORT = 0xFF
_IPV4 = 0x01
_DOMAIN = 0x03
_IPV6 = 0x04

F = TypeVar("F")


class Deviation(NamedTuple):
    """One departure from the specification."""

    code: str
    """A key of `ANOMALIES`."""
    message: str
    """What exactly, in one line. Safe to show: holds numbers and names of fields, no text from the wire."""


@dataclass(slots=True)
class Decoded(Generic[F]):
    """A whole frame. The envelope is not frozen, which would cost as much time as all else about it; its content is."""

    frame: F
    length: int
    """Octets of the frame, from `start`."""
    deviations: tuple[Deviation, ...] = ()
    """In the order of the fields they are about."""


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Too few octets to decide."""

    octets: int
    """The least number of octets from `start` with which there can be a verdict."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """These octets cannot be delimited as this frame, whatever follows."""

    deviation: Deviation


Octets = bytes | bytearray | memoryview


def decode_greeting(octets: Octets, start: int = 0) -> Decoded[Greeting] | NeedMore:
    """The client's greeting (RFC 1928 s3)."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_GREETING]), 0
    have = len(octets) - start
    if have < 2:
        return NeedMore(2)
    version = octets[start]
    length = 2 + octets[start + 1]
    if have < length:
        return NeedMore(length)
    methods = octets[start + 2 : start + length]
    deviations: tuple[Deviation, ...] = ()
    if version != 5:
        deviations += (_bad_version("the greeting", version, 5),)
    if not methods:
        deviations += (Deviation("no-methods-offered", "the greeting offers no method"),)
    elif len(methods) > 1 and len(set(methods)) < len(methods):
        twice = sorted({method for method in methods if methods.count(method) > 1})
        listed = ", ".join(f"0x{method:02x}" for method in twice)
        deviations += (Deviation("duplicate-methods", f"offered more than once: {listed}"),)
    return Decoded(Greeting(methods, version), length, deviations)


def decode_method_selection(octets: Octets, start: int = 0) -> Decoded[MethodSelection] | NeedMore:
    """The proxy's choice (RFC 1928 s3)."""
    if len(octets) - start < 2:
        return NeedMore(2)
    version = octets[start]
    frame = MethodSelection(octets[start + 1], version)
    return Decoded(frame, 2, () if version == 5 else (_bad_version("the method choice", version, 5),))


def decode_auth_request(octets: Octets, start: int = 0) -> Decoded[AuthRequest] | NeedMore:
    """User name and password (RFC 1929 s2)."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_AUTH_REQUEST]), 0
    have = len(octets) - start
    if have < 3:
        return NeedMore(3 + octets[start + 1] if have == 2 else 3)
    password_at = start + 3 + octets[start + 1]
    if len(octets) < password_at:
        return NeedMore(password_at - start)
    end = password_at + octets[password_at - 1]
    if len(octets) < end:
        return NeedMore(end - start)
    version = octets[start]
    username = octets[start + 2 : password_at - 1]
    password = octets[password_at:end]
    deviations: tuple[Deviation, ...] = ()
    if version != 1:
        deviations += (_auth_version("the username/password request", version),)
    if not username:
        deviations += (Deviation("empty-credential", "the user name is empty"),)
    if not password:
        deviations += (Deviation("empty-credential", "the password is empty"),)
    return Decoded(AuthRequest(username, password, version), end - start, deviations)


def decode_auth_reply(octets: Octets, start: int = 0) -> Decoded[AuthReply] | NeedMore:
    """The proxy's verdict on user name and password (RFC 1929 s2)."""
    if len(octets) - start < 2:
        return NeedMore(2)
    version = octets[start]
    frame = AuthReply(octets[start + 1], version)
    return Decoded(frame, 2, () if version == 1 else (_auth_version("the username/password reply", version),))


def decode_gssapi(octets: Octets, start: int = 0) -> Decoded[GssapiMessage] | NeedMore:
    """A GSSAPI frame of either side (RFC 1961 s3 to s5). A type in no table is taken to have a length and a token."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_GSSAPI]), 0
    have = len(octets) - start
    if have < 2:
        return NeedMore(2)
    version = octets[start]
    message_type = octets[start + 1]
    deviations = () if version == 1 else (_auth_version("the GSSAPI message", version),)
    if message_type == _ABORT:
        return Decoded(GssapiMessage(message_type, b"", version), 2, deviations)
    if have < 4:
        return NeedMore(4 + (octets[start + 2] << 8) if have == 3 else 4)
    length = 4 + (octets[start + 2] << 8 | octets[start + 3])
    if have < length:
        return NeedMore(length)
    return Decoded(GssapiMessage(message_type, octets[start + 4 : start + length], version), length, deviations)


def decode_request(octets: Octets, start: int = 0) -> Decoded[Request] | NeedMore | Mismatch:
    """A SOCKS5 request (RFC 1928 s4)."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_ADDRESSED]), 0
    found = _address(octets, start)
    if not isinstance(found, tuple):
        return found
    destination, length, deviations = found
    version = octets[start]
    command = octets[start + 1]
    reserved = octets[start + 2]
    if version != 5 or reserved or command not in COMMANDS:
        deviations = _request_deviations(version, command, reserved) + deviations
    if command == _CONNECT and not destination.port:
        deviations += (_ZERO_PORT,)
    if destination.type == _DOMAIN:
        deviations += destination_deviations(destination.host)
    return Decoded(Request(command, destination, reserved, version), length, deviations)


def decode_reply(octets: Octets, start: int = 0) -> Decoded[Reply] | NeedMore | Mismatch:
    """A SOCKS5 reply (RFC 1928 s6). Replies of other lengths that some servers send are the caller's to judge."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_ADDRESSED]), 0
    found = _address(octets, start)
    if not isinstance(found, tuple):
        return found
    bound, length, deviations = found
    version = octets[start]
    code = octets[start + 1]
    reserved = octets[start + 2]
    if version != 5 or reserved or code not in REPLIES:
        deviations = _reply_deviations(version, code, reserved) + deviations
    return Decoded(Reply(code, bound, reserved, version), length, deviations)


def decode_udp_header(octets: Octets, start: int = 0) -> Decoded[UdpHeader] | NeedMore | Mismatch:
    """The header of a relay datagram (RFC 1928 s7); the data begin after `length` octets."""
    decoded = decode_gost_udp_header(octets, start)
    if isinstance(decoded, Decoded) and decoded.frame.reserved:
        reserved = Deviation("reserved-nonzero", f"RSV of the UDP header is 0x{decoded.frame.reserved:04x}")
        return Decoded(decoded.frame, decoded.length, (reserved, *decoded.deviations))
    return decoded


def decode_gost_udp_header(octets: Octets, start: int = 0) -> Decoded[UdpHeader] | NeedMore | Mismatch:
    """The header of GOST's UDP over TCP: as in a relay datagram, `reserved` being the length of the data after it."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_ADDRESSED]), 0
    found = _address(octets, start)
    if not isinstance(found, tuple):
        return found
    destination, length, deviations = found
    reserved = octets[start] << 8 | octets[start + 1]
    return Decoded(UdpHeader(destination, octets[start + 2], reserved), length, deviations)


def decode_fwd_udp_header(octets: Octets, start: int = 0) -> Decoded[FwdUdpHeader] | NeedMore | Mismatch:
    """The header of hev-socks5's FWD UDP; `length` is what the address makes it, whatever `header_length` says."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_ADDRESSED]), 0
    found = _address(octets, start)
    if not isinstance(found, tuple):
        return found
    destination, length, deviations = found
    data_length = octets[start] << 8 | octets[start + 1]
    return Decoded(FwdUdpHeader(destination, data_length, octets[start + 2]), length, deviations)


def decode_socks4_request(octets: Octets, start: int = 0) -> Decoded[Socks4Request] | NeedMore | Mismatch:
    """A SOCKS4 or SOCKS4A request; Tor's RESOLVE and RESOLVE_PTR come in it too."""
    if type(octets) is not bytes:
        octets, start = bytes(octets[start : start + MAX_SOCKS4_REQUEST]), 0
    have = len(octets) - start
    if have < 8:
        return NeedMore(9)
    named = octets[start + 7] != 0 and octets[start + 4 : start + 7] == b"\0\0\0"
    user_end = octets.find(0, start + 8, start + 9 + MAX_SOCKS4_STRING)
    if user_end < 0:
        if have > 8 + MAX_SOCKS4_STRING:
            return Mismatch(_unterminated("user id"))
        return NeedMore(have + 2 if named and have < 8 + MAX_SOCKS4_STRING else have + 1)
    version = octets[start]
    command = octets[start + 1]
    port = octets[start + 2] << 8 | octets[start + 3]
    user = octets[start + 8 : user_end]
    deviations: tuple[Deviation, ...] = ()
    if version != 4:
        deviations += (_bad_version("the SOCKS4 request", version, 4),)
    if command not in SOCKS4_COMMANDS:
        deviations += (Deviation("unknown-command", f"SOCKS4 has no command 0x{command:02x}"),)
    if command == _CONNECT and not port:
        deviations += (_ZERO_PORT,)
    if not named:
        destination = Address(_IPV4, octets[start + 4 : start + 8], port)
        return Decoded(Socks4Request(command, destination, user, version), user_end + 1 - start, deviations)
    host_end = octets.find(0, user_end + 1, user_end + 2 + MAX_SOCKS4_STRING)
    if host_end < 0:
        if len(octets) - user_end - 1 > MAX_SOCKS4_STRING:
            return Mismatch(_unterminated("host name"))
        return NeedMore(have + 1)
    host = octets[user_end + 1 : host_end]
    frame = Socks4Request(command, Address(_DOMAIN, host, port), user, version, octets[start + 7])
    return Decoded(frame, host_end + 1 - start, deviations + domain_deviations(host) + destination_deviations(host))


def decode_socks4_reply(octets: Octets, start: int = 0) -> Decoded[Socks4Reply] | NeedMore:
    """A SOCKS4 reply: eight octets. The shorter ones that some servers send are the caller's to judge."""
    if len(octets) - start < 8:
        return NeedMore(8)
    version, code, port_high, port_low = octets[start : start + 4]
    deviations: tuple[Deviation, ...] = ()
    if version != 0:
        deviations += (_bad_version("the SOCKS4 reply", version, 0),)
    if code not in SOCKS4_REPLIES:
        deviations += (Deviation("unknown-reply", f"SOCKS4 has no reply code {code}"),)
    bound = Address(_IPV4, bytes(octets[start + 4 : start + 8]), port_high << 8 | port_low)
    return Decoded(Socks4Reply(code, bound, version), 8, deviations)


def domain_deviations(host: bytes) -> tuple[Deviation, ...]:
    """What is odd about the content of a domain field."""
    # Nearly every name ends in a letter; only the others can be IPv4 addresses, and only those with a colon IPv6 ones.
    if host.isascii() and host[-1:] > b"9" and b":" not in host and b"\0" not in host:
        return ()
    deviations: tuple[Deviation, ...] = ()
    if not host:
        deviations += (Deviation("empty-domain", "the domain name is empty"),)
    if not host.isascii():
        deviations += (Deviation("domain-not-ascii", "the domain name holds octets outside ASCII"),)
    if _is_ip_literal(host):
        deviations += (Deviation("domain-is-ip-literal", "the domain name is an IP address in text"),)
    if b"\0" in host:
        deviations += (Deviation("domain-has-nul", "the domain name holds a NUL octet"),)
    return deviations


_NUMBERS = re.compile(rb"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]+|[0-9]+)){0,3}\.?")
_WITH_PORT = re.compile(rb"(?:[^:/]+|\[[^]/]*\]):[0-9]{1,5}")


def destination_deviations(host: bytes) -> tuple[Deviation, ...]:
    """What is odd about a name as a destination, besides `domain_deviations`."""
    if host[-1:] > b"9" and b":" not in host and b"/" not in host and b"0x" not in host and b"0X" not in host:
        return ()
    odd = None
    if b"/" in host:
        odd = "a URL" if b"://" in host else "a name with a path"
    elif _WITH_PORT.fullmatch(host):
        odd = "a name with a port"
    elif host[:1] == b"[" and host[-1:] == b"]":
        odd = "an address in brackets"
    elif _NUMBERS.fullmatch(host) and _counts_as_ipv4(host.rstrip(b".")) and not _is_ip_literal(host):
        odd = "a number in another notation than an address has"
    return () if odd is None else (Deviation("odd-destination", f"the domain name is {odd}"),)


def _base(number: bytes) -> int:
    return 16 if number[:2].lower() == b"0x" else 8 if number[:1] == b"0" else 10


def _counts_as_ipv4(host: bytes) -> bool:
    """Whether resolvers take numbers for an IPv4 address: octets, then all that is left in the last of them."""
    try:
        *octets, last = (int(part, _base(part)) for part in host.split(b"."))
    except ValueError:  # 09 is no octal number
        return False
    return max(octets, default=0) < 256 and last < 1 << 8 * (4 - len(octets))


def _address(octets: bytes, start: int) -> tuple[Address, int, tuple[Deviation, ...]] | NeedMore | Mismatch:
    """The address after three octets, the length of the whole, and what is odd about a domain name.

    Requests, replies and both UDP headers have this form.
    """
    have = len(octets) - start
    if have < 4:
        return NeedMore(4)
    kind = octets[start + 3]
    host_at = start + 4
    if kind == _DOMAIN:
        if have < 5:
            return NeedMore(7)
        host_at = start + 5
        port_at = host_at + octets[start + 4]
    elif kind == _IPV4:
        port_at = start + 8
    elif kind == _IPV6:
        port_at = start + 20
    else:
        return Mismatch(Deviation("unknown-address-type", f"no address type 0x{kind:02x} is known"))
    length = port_at + 2 - start
    if have < length:
        return NeedMore(length)
    host = octets[host_at:port_at]
    address = Address(kind, host, octets[port_at] << 8 | octets[port_at + 1])
    return address, length, domain_deviations(host) if kind == _DOMAIN else ()


def _request_deviations(version: int, command: int, reserved: int) -> tuple[Deviation, ...]:
    deviations: tuple[Deviation, ...] = ()
    if version != 5:
        deviations += (_bad_version("the request", version, 5),)
    if command not in COMMANDS:
        deviations += (Deviation("unknown-command", f"no command 0x{command:02x} is known"),)
    if reserved:
        deviations += (Deviation("reserved-nonzero", f"RSV of the request is 0x{reserved:02x}"),)
    return deviations


def _reply_deviations(version: int, code: int, reserved: int) -> tuple[Deviation, ...]:
    deviations: tuple[Deviation, ...] = ()
    if version != 5:
        deviations += (_bad_version("the reply", version, 5),)
    if code not in REPLIES:
        deviations += (Deviation("unknown-reply", f"reply code 0x{code:02x} is unassigned"),)
    if reserved:
        deviations += (Deviation("reserved-nonzero", f"RSV of the reply is 0x{reserved:02x}"),)
    return deviations


_ZERO_PORT = Deviation("zero-port", "CONNECT to port 0")


def _bad_version(what: str, version: int, expected: int) -> Deviation:
    return Deviation("bad-version", f"{what} has version {version}, not {expected}")


def _auth_version(what: str, version: int) -> Deviation:
    return Deviation("auth-version", f"{what} has version {version}, not 1")


def _unterminated(what: str) -> Deviation:
    return Deviation("not-socks-on-socks-port", f"no SOCKS4: the {what} has no NUL within {MAX_SOCKS4_STRING} octets")


def _is_ip_literal(host: bytes) -> bool:
    """Whether a domain field holds an IPv4 or IPv6 address in text, with brackets or without."""
    from ipaddress import ip_address

    if host[:1] == b"[" and host[-1:] == b"]":
        host = host[1:-1]
    # The longest text of an address has 45 octets; a zone may follow it, an interface name of at most 15 or so.
    if len(host) > 64 or not host.isascii():
        return False
    try:
        ip_address(host.decode("ascii"))
    except ValueError:
        return False
    return True
