"""Connections that programs of this machine open, under Linux: their SYNs, as soon as they are sent.

A socket of its own, with a filter in the kernel, gives nothing else: a client that is gone again before the capture's
frames are taken can still be asked after.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ..bpf import Program, attach, compile_filter
from ..links import find, links
from .namespaces import Key

ANY = "any"
"""The pseudo-interface of all interfaces."""

_ETH_P_ALL = 3
_RAW = 101
"""LINKTYPE_RAW: the filter sees frames from their IP header on."""
_HEADERS = 128
"""Octets of a frame to look at: room for the longest IPv4 header and the ports."""
_BUFFER = 1 << 16
"""Octets that wait to be taken, a hundred SYNs or so: what is older is not worth asking after."""
_AT_ONCE = 256
_OPENS = "tcp[13] & 0x17 = 2 or (ip6[6] = 6 and ip6[53] & 0x17 = 2)"
"""SYN without ACK, RST and FIN."""
_SENT: Program = [(0x20, 0, 0, 0xFFFFF004), (0x15, 1, 0, 4), (6, 0, 0, 0)]
"""Nothing but PACKET_OUTGOING passes (SKF_AD_PKTTYPE in linux/filter.h): on the loopback interface each frame once."""


class Syns:
    """Watches the SYNs of interfaces.

    Attributes:
        away: interfaces that are down or gone at the moment.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Opens it.

        Raises:
            OSError: no right to capture (CAP_NET_RAW), or no such interface.
            MissingError: there is nothing to compile the filter with.
        """
        opens = compile_filter(_OPENS, _RAW, _HEADERS)
        kinds = {link.name: link.kind for link in links()}
        self.away: set[str] = set()
        self._sockets: dict[str, socket.socket] = {}
        try:
            for name in [ANY] if ANY in names else names:
                protocol = socket.htons(_ETH_P_ALL) if name == ANY else 0
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, protocol)
                self._sockets[name] = opened
                # What containers send comes in where it passes from one namespace to another.
                attach(opened, opens if name == ANY or kinds.get(name) else _SENT + opens)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                opened.setblocking(False)
                if name == ANY:
                    with suppress(BlockingIOError):
                        while opened.recv(1):  # came before the filter was there
                            pass
                else:
                    opened.bind((name, _ETH_P_ALL))
        except OSError:
            self.close()
            raise

    def descriptors(self) -> list[int]:
        """For poll: readable when there is something to take."""
        return [opened.fileno() for opened in self._sockets.values()]

    def take(self) -> Iterator[Key]:
        """The connections that were opened since the last call, those of each interface in their order."""
        seen = set()  # one may pass several interfaces
        for name, opened in self._sockets.items():
            for _ in range(_AT_ONCE):
                try:
                    key = _key(opened.recv(_HEADERS))
                except BlockingIOError:
                    break
                except OSError:  # the interface is gone or down, which is told once
                    self.away.add(name)
                    break
                if key not in seen:
                    seen.add(key)
                    yield key

    def mend(self) -> None:
        """See whether interfaces that were away are there again."""
        for name in [*self.away]:
            link = find(name)
            if link is not None and link.up:
                with suppress(OSError):
                    self._sockets[name].bind((name, _ETH_P_ALL))
                    self.away.discard(name)

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()


def _key(packet: bytes) -> Key:
    if packet[0] >> 4 == 4:
        ports = packet[0] % 16 * 4
        return packet[12:20] + packet[ports : ports + 4]
    return packet[8:44]
