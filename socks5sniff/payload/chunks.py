"""What a second look delivers: octets of tunnels, and datagrams, as columns or one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.record import Endpoint

CLIENT, DESTINATION = 0, 1
"""Directions: the client's octets, and those of the destination."""

UNKNOWN_LENGTH = -1
"""Length of a gap in a tunnel inside GSSAPI tokens: nothing can be read behind it."""

Octets = bytes | memoryview


class Chunk(NamedTuple):
    """Octets of a tunnel that came in one segment, or a gap."""

    tunnel: int
    """Place in the list of tunnels that was asked for."""
    direction: int
    offset: int
    """Of the first octet in the tunnel, each direction by itself."""
    length: int
    octets: Octets | None
    """None where they are not in the capture."""
    frame: int
    """Number of the packet; of a gap, of the packet with what comes behind it, else the connection's last."""
    time: int
    """The packet's, ns."""


@dataclass(slots=True)
class Chunks:
    """Chunks as columns, in the order of delivery; see `Chunk`. Memoryviews are valid until the next batch."""

    tunnel: NDArray[np.int64]
    direction: NDArray[np.uint8]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    octets: list[Octets | None]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.octets)

    def each(self) -> Iterator[Chunk]:
        """One by one."""
        numbers = (self.tunnel, self.direction, self.offset, self.length)
        return map(
            Chunk, *(column.tolist() for column in numbers), self.octets, self.frame.tolist(), self.time.tolist()
        )

    @staticmethod
    def of(chunks: list[Chunk]) -> Chunks:
        """As columns."""
        tunnel, direction, offset, length, octets, frame, time = zip(*chunks, strict=True) if chunks else [()] * 7
        return Chunks(
            np.array(tunnel, np.int64),
            np.array(direction, np.uint8),
            np.array(offset, np.int64),
            np.array(length, np.int64),
            list(octets),
            np.array(frame, np.int64),
            np.array(time, np.int64),
        )


class Datagram(NamedTuple):
    """A datagram that a proxy relayed: of an association, or on the stream of a tunnel."""

    tunnel: int
    direction: int
    host: str
    """Where it went, or came from, as its header says: an address, or a name as it was sent."""
    port: int
    fragment: int
    """FRAG of RFC 1928 s7; 0 for a whole datagram."""
    length: int
    """Octets of DATA."""
    octets: Octets
    """DATA, as far as it was captured."""
    frame: int
    """Number of the packet that completed it."""
    time: int
    client: Endpoint | None
    """The client's end of the datagram; None on the stream of a tunnel."""


class Closing(NamedTuple):
    """A packet by which a side ends a connection. A FIN may come again, and an RST where all is over."""

    tunnel: int
    direction: int
    frame: int
    time: int
    reset: bool
    """It is an RST, no FIN."""


@dataclass(slots=True)
class Datagrams:
    """Datagrams as columns, in the capture's order; see `Datagram`. Memoryviews are valid until the next batch."""

    tunnel: NDArray[np.int64]
    direction: NDArray[np.uint8]
    host: list[str]
    port: NDArray[np.int64]
    fragment: NDArray[np.uint8]
    length: NDArray[np.int64]
    octets: list[Octets]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]
    client: list[Endpoint | None]

    def __len__(self) -> int:
        return len(self.octets)

    def each(self) -> Iterator[Datagram]:
        """One by one."""
        return map(
            Datagram,
            self.tunnel.tolist(),
            self.direction.tolist(),
            self.host,
            self.port.tolist(),
            self.fragment.tolist(),
            self.length.tolist(),
            self.octets,
            self.frame.tolist(),
            self.time.tolist(),
            self.client,
        )

    @staticmethod
    def of(datagrams: list[Datagram]) -> Datagrams:
        """As columns, by frame."""
        datagrams = sorted(datagrams, key=lambda datagram: datagram.frame)
        tunnel, direction, host, port, fragment, length, octets, frame, time, client = (
            zip(*datagrams, strict=True) if datagrams else [()] * 10
        )
        return Datagrams(
            np.array(tunnel, np.int64),
            np.array(direction, np.uint8),
            list(host),
            np.array(port, np.int64),
            np.array(fragment, np.uint8),
            np.array(length, np.int64),
            list(octets),
            np.array(frame, np.int64),
            np.array(time, np.int64),
            list(client),
        )
