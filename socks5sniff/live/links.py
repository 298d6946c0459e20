"""What Linux knows of its interfaces (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

IFF_UP, IFF_LOOPBACK = 1, 8

_NETLINK_ROUTE, _SOCK_RAW = 0, 3
_GETLINK, _NEWLINK, _DONE, _ERROR = 18, 16, 3, 2
_REQUEST, _DUMP = 1, 0x300
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, hardware type, index, flags, change."""
_NAME, _MTU, _LINKINFO, _GSO_SIZE, _GRO_SIZE = 3, 4, 18, 41, 58
_INFO_KIND = 1
"""IFLA_ values (linux/if_link.h)."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface.

    Attributes:
        name: what it is called.
        index: its number.
        flags: IFF_ values (netdevice(7)).
        hardware: ARPHRD_ value (linux/if_arp.h).
        largest: octets of the largest packet that it takes: more than its MTU, as the segmenting is left to it.
        kind: what made it: `bridge`, `veth`, `tun`; empty where that is hardware.
    """

    name: str
    index: int
    flags: int
    hardware: int
    largest: int
    kind: str = ""

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)


def links() -> Iterator[Link]:
    """All interfaces of this network namespace."""
    with socket.socket(socket.AF_NETLINK, _SOCK_RAW, _NETLINK_ROUTE) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + _LINK.size, _GETLINK, _REQUEST | _DUMP, 0, 0) + bytes(_LINK.size))
        while True:
            octets = kernel.recv(1 << 17)
            at = 0
            while at + _HEADER.size <= len(octets):
                size, kind, *_ = _HEADER.unpack_from(octets, at)
                if kind in (_DONE, _ERROR) or size < _HEADER.size:
                    return
                if kind == _NEWLINK:
                    yield _link(octets[at + _HEADER.size : at + size])
                at += size + 3 & ~3


def find(name: str) -> Link | None:
    """The interface of that name, None where there is none (now)."""
    return next((link for link in links() if link.name == name), None)


def _link(octets: bytes) -> Link:
    _, hardware, index, flags, _ = _LINK.unpack_from(octets)
    found = _attributes(octets[_LINK.size :])
    sizes = [int.from_bytes(found.get(kind, b""), sys.byteorder) for kind in (_MTU, _GSO_SIZE, _GRO_SIZE)]
    kind = _attributes(found.get(_LINKINFO, b"")).get(_INFO_KIND, b"")
    return Link(_text(found.get(_NAME, b"")), index, flags, hardware, max(sizes), _text(kind))


def _attributes(octets: bytes) -> dict[int, bytes]:
    """Values by their type (struct rtattr)."""
    found = {}
    at = 0
    while at + 4 <= len(octets):
        size, kind = struct.unpack_from("=HH", octets, at)
        if size < 4:
            break
        found[kind] = octets[at + 4 : at + size]
        at += size + 3 & ~3
    return found


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode("utf-8", "surrogateescape")
