"""The TCP connections of chosen conversations, and how they are known again."""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_pton

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record import Endpoint

from .survey import Tunnel

_ODD = np.uint64(0x9E3779B97F4A7C15)


class Connections:
    """One entry for each connection, in the order of their first frames.

    Attributes:
        tunnels: by connection, places of its chosen conversations, the outermost first.
        first_frame, last_frame: int64[n].
        client: uint8[n], the direction of the client's octets as the flow table has it.
        origin: int64[2, n], by direction, the sequence number of position 0; -1 where it never spoke.
        ends: uint64, all endpoints.
    """

    def __init__(self, tunnels: Sequence[Tunnel], book: AddressBook) -> None:
        by_stream: dict[int, list[int]] = {}
        for place, tunnel in enumerate(tunnels):
            by_stream.setdefault(tunnel.extent.stream, []).append(place)
        self.tunnels = sorted(
            (sorted(places, key=lambda place: tunnels[place].extent.depth) for places in by_stream.values()),
            key=lambda places: tunnels[places[0]].extent.first_frame,
        )
        outermost = [tunnels[places[0]] for places in self.tunnels]
        self.first_frame = np.array([tunnel.extent.first_frame for tunnel in outermost], np.int64)
        self.last_frame = np.array([tunnel.extent.last_frame for tunnel in outermost], np.int64)
        ends = [(_number(book, one.conversation.client), _number(book, one.conversation.proxy)) for one in outermost]
        client, proxy = (np.array(column, np.uint64) for column in (zip(*ends, strict=True) if ends else ((), ())))
        self.client = (client > proxy).astype(np.uint8)
        origin = np.array([tunnel.extent.origin for tunnel in outermost], np.int64).reshape(-1, 2).T
        self.origin = np.where(self.client, origin[::-1], origin)
        self.ends = np.concatenate((client, proxy))
        self._pairs = np.unique(_pair(client, proxy))

    def __len__(self) -> int:
        return len(self.tunnels)

    def between(self, source: NDArray[np.uint64], destination: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which packets go between the endpoints of one of the connections (others hardly ever)."""
        if not len(self._pairs):
            return np.zeros(len(source), np.bool_)
        pair = _pair(source, destination)
        at = np.minimum(np.searchsorted(self._pairs, pair), len(self._pairs) - 1)
        found: NDArray[np.bool_] = self._pairs[at] == pair
        return found

    def known_by(self, first_frame: NDArray[np.int64]) -> NDArray[np.intp]:
        """The connections that begin with these frames, -1 for none."""
        if not len(self.first_frame):
            return np.full(len(first_frame), -1, np.intp)
        at = np.minimum(np.searchsorted(self.first_frame, first_frame), len(self.first_frame) - 1)
        return np.where(self.first_frame[at] == first_frame, at, -1)


def _number(book: AddressBook, endpoint: Endpoint) -> int:
    kind = AF_INET6 if ":" in endpoint.address else AF_INET
    return book.make(inet_pton(kind, endpoint.address), endpoint.port)


def _pair(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for two endpoints, whichever is named first."""
    mixed: NDArray[np.uint64] = np.minimum(one, other) * _ODD ^ np.maximum(one, other)
    return mixed
