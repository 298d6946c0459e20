"""Community ID, version 1 with seed 0, of a TCP connection (https://github.com/corelight/community-id-spec).

It takes a third of a page's data, and its endpoints tell it: what `assets/community.js` finds out is left out.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from functools import lru_cache
from ipaddress import ip_address

from socks5sniff.record import Endpoint

_HEAD, _MIDDLE = b"\0\0", b"\6\0"
_packed = lru_cache(maxsize=4096)(lambda text: ip_address(text).packed)


def community_id(one: Endpoint, other: Endpoint) -> str | None:
    """The ID, None where the endpoints are no IP addresses of one version."""
    try:
        ends = sorted((_packed(end.address), end.port) for end in (one, other))
    except ValueError:
        return None
    (low, low_port), (high, high_port) = ends
    if len(low) != len(high):
        return None
    flow = b"".join([_HEAD, low, high, _MIDDLE, struct.pack(">HH", low_port & 0xFFFF, high_port & 0xFFFF)])
    digest = hashlib.sha1(flow, usedforsecurity=False).digest()
    return "1:" + binascii.b2a_base64(digest, newline=False).decode("ascii")
