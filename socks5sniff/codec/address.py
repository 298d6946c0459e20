"""An address as SOCKS carries it: type, raw host octets, port (RFC 1928 s5)."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from .codes import address_type_name
from .text import decode_text

_IPV4 = 0x01
_DOMAIN = 0x03
_IPV6 = 0x04

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_ZERO_GROUPS = re.compile(r"\b0(?::0)+\b")


def ipv4_text(octets: bytes) -> str:
    """Four octets as a dotted quad."""
    a, b, c, d = octets
    return f"{a}.{b}.{c}.{d}"


def ipv6_text(octets: bytes) -> str:
    """Sixteen octets as RFC 5952 writes them: lower case, the longest (first) run of zero groups as `::`.

    Of the prefixes that RFC 5952 s5 leaves to choice only the IPv4-mapped one is mixed: `::ffff:192.0.2.1`.
    """
    if octets.startswith(_MAPPED_PREFIX):
        return f"::ffff:{ipv4_text(octets[12:])}"
    text = "{:x}:{:x}:{:x}:{:x}:{:x}:{:x}:{:x}:{:x}".format(*struct.unpack(">8H", octets))
    runs = [run.span() for run in _ZERO_GROUPS.finditer(text)]
    if not runs:
        return text
    start, end = max(runs, key=lambda run: run[1] - run[0])
    return f"{text[:start].removesuffix(':')}::{text[end:].removeprefix(':')}"


class Address(NamedTuple):
    """DST.ADDR with DST.PORT, or BND.ADDR with BND.PORT."""

    type: int
    """ATYP: 1 IPv4, 3 domain name, 4 IPv6."""
    host: bytes
    """4 or 16 octets, or the name without its length octet, as on the wire."""
    port: int

    @classmethod
    def ipv4(cls, host: str, port: int) -> Address:
        """From a dotted quad. Raises ValueError when it is none."""
        from ipaddress import IPv4Address

        return cls(_IPV4, IPv4Address(host).packed, port)

    @classmethod
    def ipv6(cls, host: str, port: int) -> Address:
        """From an IPv6 address in text, without brackets and zone. Raises ValueError when it is none."""
        from ipaddress import IPv6Address

        return cls(_IPV6, IPv6Address(host).packed, port)

    @classmethod
    def domain(cls, name: str | bytes, port: int) -> Address:
        """A domain name, whatever it looks like; a string goes out as UTF-8. Raises ValueError above 255 octets."""
        octets = name.encode() if isinstance(name, str) else name
        if len(octets) > 255:
            raise ValueError(f"a domain name has at most 255 octets, not {len(octets)}")
        return cls(_DOMAIN, octets, port)

    @classmethod
    def from_text(cls, host: str, port: int) -> Address:
        """From what a user writes: an IPv4 address, an IPv6 address with or without brackets, else a name."""
        from ipaddress import IPv6Address, ip_address

        try:
            address = ip_address(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host)
        except ValueError:
            return cls.domain(host, port)
        return cls(_IPV6 if isinstance(address, IPv6Address) else _IPV4, address.packed, port)

    @property
    def type_name(self) -> str:
        """`ipv4`, `ipv6` or `domain`."""
        return address_type_name(self.type)

    @property
    def text(self) -> str:
        r"""The host: dotted quad, RFC 5952, or the name (UTF-8, other octets as `\xNN`). Not escaped for display."""
        if self.type == _IPV4 and len(self.host) == 4:
            return ipv4_text(self.host)
        if self.type == _IPV6 and len(self.host) == 16:
            return ipv6_text(self.host)
        return decode_text(self.host)

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0 or ::, which says "the address of this connection" (RFC 1928 s6)."""
        return self.type != _DOMAIN and not any(self.host)

    def encode(self) -> bytes:
        """ATYP, address and port. Raises ValueError when host or port do not fit the type.

        The host of a type that RFC 1928 does not know goes out as it is: tests send such frames.
        """
        kind, host, port = self
        length = len(host)
        if kind == _DOMAIN:
            head = bytes((kind, length))
        elif (kind == _IPV4 and length != 4) or (kind == _IPV6 and length != 16):
            raise ValueError(f"{length} octets are no {address_type_name(kind)} address")
        else:
            head = bytes((kind,))
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"port {port} is not in 0 to 65535")
        return head + host + port.to_bytes(2, "big")

    def __str__(self) -> str:
        return f"[{self.text}]:{self.port}" if self.type == _IPV6 else f"{self.text}:{self.port}"
