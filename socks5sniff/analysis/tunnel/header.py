"""A PROXY protocol header (HAProxy's, version 1 or 2) in front of what a tunnel carries."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from .heads import WAIT, Head, Wait

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST = 107
"""Octets of a version 1 header at most, its end of line included."""
_ADDRESS_SIZES = {1: 4, 2: 16}
"""Octets of an address, by the upper half of the family octet: IPv4 and IPv6."""


class Stated(NamedTuple):
    """What a header says."""

    length: int
    """Octets of the header."""
    text: str
    """`PROXY v1 from 192.0.2.1:5555 to 192.0.2.2:443`, or without addresses where it names none."""


def read(client: Head) -> Stated | Wait | None:
    """The header that the client's octets begin with."""
    first = client.begins(b"PROXY ", _SIGNATURE)
    if first is not True:
        return None if first is False else WAIT
    return _text(client) if client.octets[0] == 0x50 else _binary(client)


def _text(client: Head) -> Stated | Wait | None:
    line, end, _ = client.octets[:_LONGEST].partition(b"\r\n")
    if not end:
        return None if client.has(_LONGEST) else WAIT
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Stated(len(line) + 2, "PROXY v1")
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        return None
    try:
        source, destination = (str(ip_address(word)) for word in words[2:4])
        ports = [int(word) for word in words[4:]]
    except ValueError:
        return None
    return Stated(len(line) + 2, _said(1, source, ports[0], destination, ports[1]))


def _binary(client: Head) -> Stated | Wait | None:
    octets = client.octets
    if len(octets) < 16:
        return None if client.whole else WAIT
    if octets[12] not in (0x20, 0x21):
        return None
    length = 16 + (octets[14] << 8 | octets[15])
    if not client.has(length):
        return WAIT
    size = _ADDRESS_SIZES.get(octets[13] >> 4, 0)
    if octets[12] == 0x20 or not size or len(octets) < 16 + 2 * size + 4 or length < 16 + 2 * size + 4:
        return Stated(length, "PROXY v2")
    at = 16 + 2 * size
    ports = octets[at] << 8 | octets[at + 1], octets[at + 2] << 8 | octets[at + 3]
    source, destination = (str(ip_address(octets[start : start + size])) for start in (16, 16 + size))
    return Stated(length, _said(2, source, ports[0], destination, ports[1]))


def _said(version: int, source: str, source_port: int, destination: str, port: int) -> str:
    ends = [
        f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        for host, number in [(source, source_port), (destination, port)]
    ]
    return f"PROXY v{version} from {' to '.join(ends)}"
