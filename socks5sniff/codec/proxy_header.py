"""The PROXY protocol header (HAProxy's, version 1 and 2) that a load balancer puts in front of a connection's octets.

Version 1 is a line of text, version 2 begins with a signature and says its own length; what it holds behind the
addresses (TLVs) is passed over. A header may name no addresses: UNKNOWN, LOCAL, and families other than IP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from .address import Address
from .codes import AddressType
from .decode import Decoded, Deviation, Mismatch, NeedMore

MAX_PROXY_LINE = 107
"""Octets of a version 1 header, its end of line included."""
MAX_PROXY_HEADER = 16 + 0xFFFF
"""Octets of a version 2 header."""

PROXY_WORD = b"PROXY "
"""What version 1 begins with, and version 2."""
PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21
_SIZES = {1: 4, 2: 16}
"""Octets of an address by the upper half of the family octet: IPv4 and IPv6."""
_TYPES = {4: AddressType.IPV4, 16: AddressType.IPV6}
_NONE = Mismatch(Deviation("bad-version", "no PROXY protocol header"))
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who the sender says is connected with whom."""

    kind: ClassVar[str] = "proxy-header"

    version: int
    source: Address | None
    """The client; None where the header names none."""
    destination: Address | None
    """Where the client connected to."""


def starts_proxy_header(octets: bytes) -> bool:
    """Whether octets are the start of a header, or what begins like one, as far as they go."""
    return octets[:6] == PROXY_WORD[: len(octets)] or octets[:12] == PROXY_SIGNATURE[: len(octets)]


def decode_proxy_header(octets: bytes) -> Decoded[ProxyHeader] | NeedMore | Mismatch:
    """The header at the start of these octets."""
    if not octets:
        return NeedMore(1)
    if not starts_proxy_header(octets):
        return _NONE
    return _text(octets) if octets[0] == PROXY_WORD[0] else _binary(octets)


def _text(octets: bytes) -> Decoded[ProxyHeader] | NeedMore | Mismatch:
    line, end, _ = octets[:MAX_PROXY_LINE].partition(b"\r\n")
    if not end:
        return NeedMore(len(octets) + 1) if len(octets) < MAX_PROXY_LINE else _NONE
    length = len(line) + len(end)
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return Decoded(ProxyHeader(1, None, None), length)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        return _NONE
    size = 4 if words[1] == b"TCP4" else 16
    source, destination = _written(words[2], words[4], size), _written(words[3], words[5], size)
    if source is None or destination is None:
        return _NONE
    return Decoded(ProxyHeader(1, source, destination), length)


def _written(host: bytes, port: bytes, size: int) -> Address | None:
    """An address in text of so many octets; None where it is none."""
    from ipaddress import ip_address

    try:
        packed = ip_address(host.decode("ascii")).packed
    except ValueError:
        return None
    if len(packed) != size or not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        return None
    return Address(_TYPES[size], packed, int(port))


def _binary(octets: bytes) -> Decoded[ProxyHeader] | NeedMore | Mismatch:
    if len(octets) < _FIXED:
        return NeedMore(_FIXED)
    command, family = octets[12], octets[13]
    if command not in (_LOCAL, _PROXY):
        return _NONE
    length = _FIXED + (octets[14] << 8 | octets[15])
    if len(octets) < length:
        return NeedMore(length)
    size = _SIZES.get(family >> 4, 0)
    ports = _FIXED + 2 * size
    if command == _LOCAL or not size or length < ports + 4:
        return Decoded(ProxyHeader(2, None, None), length)
    source, destination = (
        Address(_TYPES[size], octets[host : host + size], octets[port] << 8 | octets[port + 1])
        for host, port in ((_FIXED, ports), (_FIXED + size, ports + 2))
    )
    return Decoded(ProxyHeader(2, source, destination), length)
