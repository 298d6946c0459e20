"""Community ID, version 1 with seed 0, written after its specification."""

from __future__ import annotations

import base64
import hashlib
import struct
from ipaddress import ip_address

from socks5sniff.record import Endpoint


def community_id(one: Endpoint, other: Endpoint) -> str:
    ends = sorted((ip_address(end.address).packed, end.port) for end in (one, other))
    flow = struct.pack(">H", 0) + ends[0][0] + ends[1][0] + struct.pack(">BBHH", 6, 0, ends[0][1], ends[1][1])
    return "1:" + base64.b64encode(hashlib.sha1(flow, usedforsecurity=False).digest()).decode()
