"""From tables of flows and packets to the octets of a pcap file, with numpy.

Every packet is an Ethernet frame with an IPv4 header without options and a TCP header without options, or a UDP
header. Sequence and acknowledgment numbers follow from the order of the packets in their flow. IPv4 checksums are
right; TCP and UDP checksums are zero, as on a loopback interface with offload.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

TCP = 6
UDP = 17

FIN = 0x01
SYN = 0x02
PSH = 0x08
ACK = 0x10

CLIENT = 0
SERVER = 1

FLOW = np.dtype(
    [("protocol", "u1"), ("address", "u4", 2), ("port", "u2", 2), ("initial_sequence", "u4", 2)],
)
"""One flow; the pairs are indexed by side, CLIENT or SERVER."""

PACKET = np.dtype(
    [("flow", "u4"), ("side", "u1"), ("flags", "u1"), ("length", "u2"), ("payload", "i8"), ("time", "i8")],
)
"""One packet: its sender, its payload as a place in the capture's payload octets, its time in nanoseconds."""

FILE_HEADER = np.array([0xA1B2C3D4, 2 | 4 << 16, 0, 0, 262144, 1], "<u4").tobytes()

_HEADERS = np.dtype(
    [
        ("seconds", "<u4"),
        ("microseconds", "<u4"),
        ("captured", "<u4"),
        ("original", "<u4"),
        ("ethernet", "u1", 12),
        ("ethertype", ">u2"),
        ("version", "u1"),
        ("service", "u1"),
        ("total", ">u2"),
        ("identification", ">u2"),
        ("fragment", ">u2"),
        ("ttl", "u1"),
        ("protocol", "u1"),
        ("checksum", ">u2"),
        ("source", ">u4"),
        ("destination", ">u4"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("sequence", ">u4"),
        ("acknowledgment", ">u4"),
        ("offset", "u1"),
        ("flags", "u1"),
        ("window", ">u2"),
        ("tcp_checksum", ">u2"),
        ("urgent", ">u2"),
    ]
)
_RECORD_HEADER = 16
_TCP_HEADERS = 14 + 20 + 20
_UDP_HEADERS = 14 + 20 + 8
_BATCH = 8192
_MAC = np.array([[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]], np.uint8)


def sequence_numbers(flows: NDArray[np.void], packets: NDArray[np.void]) -> tuple[NDArray[np.uint32], ...]:
    """Sequence and acknowledgment number of each packet; `packets` is ordered by flow, then by time."""
    flow = packets["flow"]
    consumed = packets["length"].astype(np.int64) + ((packets["flags"] & SYN) != 0) + ((packets["flags"] & FIN) != 0)
    first = np.searchsorted(flow, np.arange(len(flows)))
    sent = []
    for side in (CLIENT, SERVER):
        own = np.where(packets["side"] == side, consumed, 0)
        before = np.cumsum(own) - own
        sent.append(before - before[np.minimum(first, len(before) - 1)][flow] + flows["initial_sequence"][flow, side])
    from_client = packets["side"] == CLIENT
    sequence = np.where(from_client, sent[CLIENT], sent[SERVER])
    acknowledgment = np.where(from_client, sent[SERVER], sent[CLIENT])
    acknowledgment[(packets["flags"] & ACK) == 0] = 0
    return sequence.astype(np.uint32), acknowledgment.astype(np.uint32)


def render(
    flows: NDArray[np.void], packets: NDArray[np.void], payloads: NDArray[np.uint8]
) -> Iterator[NDArray[np.uint8]]:
    """The packets as pcap records, in order of time, a batch of them at a time.

    `packets` is ordered by flow, and in each flow by time. UDP payloads have at least 12 octets.
    """
    sequence, acknowledgment = sequence_numbers(flows, packets)
    in_time = np.argsort(packets["time"], kind="stable")
    for start in range(0, len(in_time), _BATCH):
        rows = in_time[start : start + _BATCH]
        yield _records(flows, packets[rows], sequence[rows], acknowledgment[rows], payloads, start)


def records(
    octets: NDArray[np.uint8],
    begin: NDArray[np.int64],
    captured: NDArray[np.int64],
    length: NDArray[np.int64],
    time: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Frames that lie in `octets` as pcap records.

    Args:
        begin, captured: where each frame starts, and how many octets of it there are.
        length: octets of each on the wire.
        time: nanoseconds since 1970.
    """
    headers = np.stack([time // 1_000_000_000, time // 1000 % 1_000_000, captured, length], axis=1).astype("<u4")
    size = captured + _RECORD_HEADER
    at = np.cumsum(size) - size
    made = np.empty(int(size.sum()), np.uint8)
    made[at[:, None] + np.arange(_RECORD_HEADER)] = headers.view(np.uint8)
    within = np.arange(int(captured.sum())) - np.repeat(np.cumsum(captured) - captured, captured)
    made[np.repeat(at + _RECORD_HEADER, captured) + within] = octets[np.repeat(begin, captured) + within]
    return made


def _records(
    flows: NDArray[np.void],
    packets: NDArray[np.void],
    sequence: NDArray[np.uint32],
    acknowledgment: NDArray[np.uint32],
    payloads: NDArray[np.uint8],
    number: int,
) -> NDArray[np.uint8]:
    count = len(packets)
    flow = flows[packets["flow"]]
    side = packets["side"].astype(np.intp)
    row = np.arange(count)
    length = packets["length"].astype(np.int64)
    udp = flow["protocol"] == UDP
    frame = length + np.where(udp, _UDP_HEADERS, _TCP_HEADERS)

    headers = np.zeros(count, _HEADERS)
    headers["seconds"] = packets["time"] // 1_000_000_000
    headers["microseconds"] = packets["time"] // 1000 % 1_000_000
    headers["captured"] = headers["original"] = frame
    headers["ethernet"] = _MAC[side]
    headers["ethertype"] = 0x0800
    headers["version"] = 0x45
    headers["total"] = frame - 14
    headers["identification"] = (number + row) & 0xFFFF
    headers["fragment"] = 0x4000
    headers["ttl"] = 64
    headers["protocol"] = flow["protocol"]
    headers["source"] = flow["address"][row, side]
    headers["destination"] = flow["address"][row, 1 - side]
    words = headers.view(np.uint8).reshape(count, -1)[:, 30:50].copy().view(">u2").sum(1, np.int64)
    words = (words & 0xFFFF) + (words >> 16)
    headers["checksum"] = 0xFFFF - ((words & 0xFFFF) + (words >> 16))
    headers["source_port"] = flow["port"][row, side]
    headers["destination_port"] = flow["port"][row, 1 - side]
    # UDP has its length (and a checksum of zero) where TCP has its sequence number; its payload then covers the rest.
    headers["sequence"] = np.where(udp, (length + 8) << 16, sequence)
    headers["acknowledgment"] = acknowledgment
    headers["offset"] = 5 << 4
    headers["flags"] = packets["flags"]
    headers["window"] = 0xFFFF

    size = frame + _RECORD_HEADER
    at = np.cumsum(size) - size
    octets = np.empty(int(size.sum()), np.uint8)
    octets[at[:, None] + np.arange(_HEADERS.itemsize)] = headers.view(np.uint8).reshape(count, -1)
    within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    octets[np.repeat(at + size - length, length) + within] = payloads[np.repeat(packets["payload"], length) + within]
    return octets
