"""TCP and UDP headers read column-wise (RFC 9293 s3.1, RFC 768)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import TcpFlag
from .rows import Column, Rows, Skipped, Structured, gather, layout, pick, present

_TCP = layout(
    20,
    source=(">u2", 0),
    destination=(">u2", 2),
    sequence=(">u4", 4),
    acknowledgment=(">u4", 8),
    offset=("u1", 12),
    flags=("u1", 13),
)
_UDP = layout(8, source=(">u2", 0), destination=(">u2", 2), length=(">u2", 4))


class TcpColumns(NamedTuple):
    """TCP segments of one memory; `payload` counts from the memory's start."""

    row: Column
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    payload: Column
    length: Column
    captured: Column
    sequence: NDArray[np.uint32]
    acknowledgment: NDArray[np.uint32]
    flags: NDArray[np.uint8]


class UdpColumns(NamedTuple):
    """UDP datagrams of one memory; `payload` counts from the memory's start."""

    row: Column
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    payload: Column
    length: Column
    captured: Column


def merged(groups: Sequence[Rows]) -> Rows:
    """All rows of the groups, in file order."""
    if len(groups) == 1:
        return groups[0]
    if not groups:
        none = np.empty(0, np.int64)
        return Rows(none, none, none, none, none.view(np.uint64), none.view(np.uint64))
    rows = Rows(*map(np.concatenate, zip(*groups, strict=True)))
    return rows.take(np.argsort(rows.row, kind="stable"))


def read_tcp(memory: NDArray[np.uint8], rows: Rows, skipped: Skipped) -> TcpColumns:
    """Segments of rows whose TCP header starts at `at`. Its fixed 20 octets must be there; options may be cut."""
    rows = present(rows, skipped, 20)
    header = gather(memory, rows.at, _TCP)
    rows = rows._replace(at=rows.at + (header["offset"] >> 4).astype(np.int64) * 4)
    rows, header, lost = pick((header["offset"] >= 0x50) & (rows.at <= rows.wire), rows, header)
    skipped.malformed += lost
    flags = header["flags"].copy()
    acknowledgment = header["acknowledgment"].astype(np.uint32)
    unset = flags & TcpFlag.ACK == 0
    if unset.any():
        acknowledgment[unset] = 0
    return TcpColumns(
        rows.row,
        _endpoints(rows.source, header["source"]),
        _endpoints(rows.destination, header["destination"]),
        rows.at,
        rows.wire - rows.at,
        np.maximum(rows.end - rows.at, 0),
        header["sequence"].astype(np.uint32),
        acknowledgment,
        flags,
    )


def read_udp(memory: NDArray[np.uint8], rows: Rows, skipped: Skipped) -> UdpColumns:
    """Datagrams of rows whose UDP header starts at `at`.

    A length of 0 (jumbogram, RFC 2675) means what the IP header says; one beyond the IP packet is cut down to it.
    """
    rows = present(rows, skipped, 8)
    header = gather(memory, rows.at, _UDP)
    said = header["length"].astype(np.int64)
    rows, header, lost = pick((said >= 8) | (said == 0), rows, header)
    skipped.malformed += lost
    said = header["length"].astype(np.int64) - 8
    length = rows.wire - rows.at - 8
    length = np.where(said < 0, length, np.minimum(said, length))
    payload = rows.at + 8
    return UdpColumns(
        rows.row,
        _endpoints(rows.source, header["source"]),
        _endpoints(rows.destination, header["destination"]),
        payload,
        length,
        np.minimum(rows.end - payload, length),
    )


def _endpoints(addresses: NDArray[np.uint64], ports: Structured) -> NDArray[np.uint64]:
    return addresses | ports.astype(np.uint64)
