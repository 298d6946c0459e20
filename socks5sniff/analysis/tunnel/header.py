"""A PROXY protocol header (HAProxy's, version 1 or 2) in front of what a tunnel carries."""

from __future__ import annotations

from typing import NamedTuple

from socks5sniff.codec import (
    PROXY_SIGNATURE,
    PROXY_WORD,
    Decoded,
    Mismatch,
    NeedMore,
    ProxyHeader,
    decode_proxy_header,
)

from .heads import WAIT, Head, Wait

_ADDRESSES = 16 + 2 * 16 + 4
"""Octets of a version 2 header up to the end of its addresses at most."""


class Stated(NamedTuple):
    """What a header says."""

    length: int
    """Octets of the header."""
    text: str
    """`PROXY v1 from 192.0.2.1:5555 to 192.0.2.2:443`, or without addresses where it names none."""


def read(client: Head) -> Stated | Wait | None:
    """The header that the client's octets begin with."""
    first = client.begins(PROXY_WORD, PROXY_SIGNATURE)
    if first is not True:
        return None if first is False else WAIT
    found = decode_proxy_header(client.octets)
    if isinstance(found, NeedMore):
        if not client.whole:
            return WAIT
        if client.octets[0] == PROXY_WORD[0] or len(client.octets) < 16:
            return None
        if len(client.octets) < _ADDRESSES:
            return Stated(found.octets, "PROXY v2")
        # What is behind its addresses does not matter.
        found = decode_proxy_header(client.octets.ljust(found.octets, b"\0"))
    return None if isinstance(found, Mismatch) else _stated(found)


def _stated(found: Decoded[ProxyHeader] | NeedMore) -> Stated | None:
    if isinstance(found, NeedMore):
        return None
    header = found.frame
    ends = "" if header.source is None else f" from {header.source} to {header.destination}"
    return Stated(found.length, f"PROXY v{header.version}{ends}")
