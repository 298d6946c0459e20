"""TCP segments and UDP datagrams as columns: what the header reader hands to the streams.

Endpoints are one unsigned 64-bit number each, so that a flow is a pair of numbers whatever the IP version:

- IPv4: `address << 16 | port`, 48 bits.
- IPv6: `1 << 63 | index << 16 | port`, where `index` is the address's place in an `AddressBook`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IPV6 = 1 << 63


class TcpFlag:
    """Bits of the TCP flags octet (RFC 9293 s3.1)."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10


@dataclass(slots=True, eq=False, repr=False)
class Segments:
    """TCP segments in file order, as parallel columns of length n.

    Attributes:
        octets: uint8: the batch's memory; valid until the next batch.
        spill: uint8: octets of packets that had to be put together (IP fragments, scapy's findings). A `payload` of
            `len(octets) + k` means offset k here.
        frame: int64[n], frame number (of the last fragment, where fragments were put together).
        time: int64[n], nanoseconds since 1970.
        capture: uint16[n], index into the batch's `interfaces`.
        source, destination: uint64[n], endpoints.
        sequence, acknowledgment: uint32[n]; `acknowledgment` is 0 where ACK is not set.
        flags: uint8[n].
        payload: int64[n], where the payload starts in `octets` (or in `spill`, see there).
        length: int64[n], payload octets on the wire, from the IP header (or the frame, where that says 0).
        captured: int64[n], payload octets that are there, 0 ≤ captured ≤ length.
        network: int32[n], the network that the addresses belong to, as far as tags and tunnels tell (VLAN, VNI): a
            number of `PacketReader.networks`; 0 for none.
        process: int32[n], the process at one end: number k of `PacketReader.processes` sent the frame, -k received
            it, 0 is not known. None where the batch names no process.
        clock: int64[n], the latest time of any segment of the capture so far, where these are not all of them.
        weight: int64[n], how many segments each one stands for, where some were left out.
    """

    octets: NDArray[np.uint8]
    spill: NDArray[np.uint8]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]
    capture: NDArray[np.uint16]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    sequence: NDArray[np.uint32]
    acknowledgment: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    payload: NDArray[np.int64]
    length: NDArray[np.int64]
    captured: NDArray[np.int64]
    network: NDArray[np.int32]
    process: NDArray[np.int32] | None = None
    clock: NDArray[np.int64] | None = None
    weight: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(slots=True, eq=False, repr=False)
class Datagrams:
    """UDP datagrams in file order; columns as in `Segments`, without what only TCP has.

    Attributes:
        ident: int32[n], identification of the IPv4 packet, by which copies of it are told; -1 for IPv6.
    """

    octets: NDArray[np.uint8]
    spill: NDArray[np.uint8]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]
    capture: NDArray[np.uint16]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    payload: NDArray[np.int64]
    length: NDArray[np.int64]
    captured: NDArray[np.int64]
    network: NDArray[np.int32]
    ident: NDArray[np.int32]
    process: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.frame)


def payload_octets(columns: Segments | Datagrams, row: int, limit: int | None = None) -> bytes:
    """A copy of the first `limit` captured payload octets of a row (all of them without a limit)."""
    start = int(columns.payload[row])
    count = int(columns.captured[row])
    if limit is not None and limit < count:
        count = limit
    size = len(columns.octets)
    if start >= size:
        start -= size
        return columns.spill[start : start + count].tobytes()
    return columns.octets[start : start + count].tobytes()


def payload_octet(columns: Segments | Datagrams, rows: NDArray[np.intp], position: int) -> NDArray[np.int16]:
    """Payload octet number `position` of each row in `rows`, or -1 where so many were not captured."""
    at = columns.payload[rows] + position
    found = np.full(len(rows), -1, np.int16)
    there = columns.captured[rows] > position
    size = len(columns.octets)
    plain = there & (at < size)
    found[plain] = columns.octets[at[plain]]
    spilled = there & (at >= size)
    if spilled.any():
        found[spilled] = columns.spill[at[spilled] - size]
    return found
