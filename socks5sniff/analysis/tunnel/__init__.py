"""What a tunnel carries, named from the first octets of its two directions, or from a UDP association's datagrams."""

from __future__ import annotations

from .datagrams import DATAGRAM_LIMIT, identify_datagrams
from .heads import HEAD_LIMIT
from .rules import identify

__all__ = ["DATAGRAM_LIMIT", "HEAD_LIMIT", "identify", "identify_datagrams"]
