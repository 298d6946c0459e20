"""scapy's dissector, for the link types whose headers are not read column-wise: IEEE 802.11, PPI and the like.

It costs about 100 µs a frame and 0.2 s to import, so it is imported when the first frame needs it, and sees only
frames that may hold an IP packet. It only has to find where that packet starts: the rest is read as everywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_SEARCHED = 512
# An ethertype or PPP protocol number of IP, followed by an octet with which such a packet begins.
_MAY_HOLD_IP = re.compile(rb"(?:\x08\x00|\x21)[\x45-\x4f]|(?:\x86\xdd|\x57)[\x60-\x6f]", re.DOTALL)


class Dissector:
    """Finds IP packets in frames."""

    def __init__(self) -> None:
        self._link_layers: Any = None
        self._ip_layers: tuple[Any, ...] = ()

    @staticmethod
    def may_hold_ip(frame: bytes) -> bool:
        """False where the frame evidently holds no IP packet, as most management frames of a radio network."""
        return _MAY_HOLD_IP.search(frame, 0, _SEARCHED) is not None

    def ip_packets(self, frames: Iterable[tuple[int, bytes]]) -> list[bytes | None]:
        """For each frame (link type, octets) its outermost IP packet, up to the frame's end, or None."""
        from scapy.config import conf

        with _quiet():
            if self._link_layers is None:
                self._load(conf)
            return [self._ip_packet(link_type, frame) for link_type, frame in frames]

    def _load(self, conf: Any) -> None:
        for module in ("dot11", "l2", "ppi", "ppp"):  # each adds its link types to conf.l2types
            import_module(f"scapy.layers.{module}")
        self._ip_layers = import_module("scapy.layers.inet").IP, import_module("scapy.layers.inet6").IPv6
        self._link_layers = conf.l2types

    def _ip_packet(self, link_type: int, frame: bytes) -> bytes | None:
        try:
            layer: Any = self._link_layers[link_type](frame, stop_dissection_after=self._ip_layers)
            while layer:
                if isinstance(layer, self._ip_layers):
                    octets: bytes = layer.original
                    return octets
                layer = layer.payload
        except Exception:
            # scapy raises whatever its layers meet in odd octets, and no kind of it says more than another.
            return None
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines and no warnings of scapy's: odd octets are counted, not announced."""
    import logging
    import warnings

    logger = logging.getLogger("scapy")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
