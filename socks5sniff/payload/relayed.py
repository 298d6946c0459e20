"""The datagrams of chosen associations, found again by their frame numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.datagrams import Places, UdpRows, headers_of
from socks5sniff.codec import decode_text
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams as UdpDatagrams
from socks5sniff.packets.columns import payload_octets
from socks5sniff.record import Endpoint

from .chunks import CLIENT, DESTINATION, Datagram
from .survey import Tunnel


class Relayed:
    """All of them, as frame numbers.

    Attributes:
        last_frame: the last of the numbers, 0 where there are none.
    """

    def __init__(self, tunnels: Sequence[Tunnel], book: AddressBook) -> None:
        known = [(place, tunnel.extent.datagrams) for place, tunnel in enumerate(tunnels)]
        mine = [(place, numbers) for place, numbers in known if numbers is not None and len(numbers)]
        number = np.concatenate([numbers for _, numbers in mine]) if mine else np.empty(0, np.int64)
        order = np.argsort(number)
        self._number = number[order]
        self._tunnel = np.repeat([place for place, _ in mine], [len(numbers) for _, numbers in mine])[order]
        self._book = book
        self.last_frame = int(number.max(initial=0)) // 2

    def take(self, datagrams: UdpDatagrams, belonging: NDArray[np.bool_], first_frame: int) -> list[Datagram]:
        """Those of a batch, whose frames are marked as belonging."""
        begin, end = np.searchsorted(self._number, [first_frame * 2, (first_frame + len(belonging)) * 2])
        if begin == end or not len(datagrams):
            return []
        number, tunnel = self._number[begin:end], self._tunnel[begin:end]
        rows = np.minimum(np.searchsorted(datagrams.frame, number // 2), len(datagrams) - 1)
        there = datagrams.frame[rows] == number // 2
        rows, number, tunnel = rows[there], number[there], tunnel[there]
        belonging[datagrams.frame[rows] - first_frame] = True
        places = Places(self._book)
        headers = headers_of(UdpRows.of(datagrams, rows), places, self._book)
        found = []
        columns = (rows, tunnel, number % 2, headers.key, headers.fragment, headers.size)
        for row, place, outward, key, fragment, size in zip(*(column.tolist() for column in columns), strict=True):
            host = places.host(key)
            client = int((datagrams.source if outward else datagrams.destination)[row])
            found.append(
                Datagram(
                    place,
                    CLIENT if outward else DESTINATION,
                    host if isinstance(host, str) else decode_text(host),
                    key & 0xFFFF,
                    fragment,
                    int(datagrams.length[row]) - size,
                    payload_octets(datagrams, row)[size:],
                    int(datagrams.frame[row]),
                    int(datagrams.time[row]),
                    Endpoint(self._book.endpoint_address(client), client & 0xFFFF),
                )
            )
        return found
