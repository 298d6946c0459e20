"""Frames to TCP segments and UDP datagrams, as columns."""

from __future__ import annotations

from .addresses import AddressBook, address_text
from .columns import IPV6, Datagrams, Segments, TcpFlag, payload_octet, payload_octets
from .reader import PacketReader
from .rows import Skipped

__all__ = [
    "IPV6",
    "AddressBook",
    "Datagrams",
    "PacketReader",
    "Segments",
    "Skipped",
    "TcpFlag",
    "address_text",
    "payload_octet",
    "payload_octets",
]
