"""QUIC's first packets, whose keys follow from octets in themselves: anybody reads the server's name in them."""

from __future__ import annotations

_LONG = 0xC0
_INITIAL = {0x00000001: 0x00, 0x6B3343CF: 0x10}
"""The type of Initial packets by version (RFC 9000 s17.2.2, RFC 9369 s3.2)."""
_DRAFTS = 0xFF000000


def sealed(octets: bytes) -> int | None:
    """Where the protected octets of a datagram that begins with an Initial packet begin; None for any other."""
    if len(octets) < 8 or octets[0] & _LONG != _LONG:
        return None
    version = int.from_bytes(octets[1:5], "big")
    kind = 0 if version & 0xFFFFFF00 == _DRAFTS else _INITIAL.get(version)
    if kind is None or octets[0] & 0x30 != kind:
        return None
    source = 6 + octets[5]
    if octets[5] > 20 or source >= len(octets) or octets[source] > 20:
        return None
    return min(source + 1 + octets[source], len(octets))
