"""The flow table against a plain model: one dictionary, one packet at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.packets.columns import Segments, TcpFlag
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable

SYN, ACK, FIN, RST = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.RST


class Packet(NamedTuple):
    source: int
    destination: int
    flags: int = ACK
    sequence: int = 0
    length: int = 0
    time: int = 0


def segments(packets: list[Packet], first_frame: int = 1) -> Segments:
    def column(values: list[int], kind: type) -> np.ndarray:
        return np.array(values, kind)

    n = len(packets)
    return Segments(
        octets=np.empty(0, np.uint8),
        spill=np.empty(0, np.uint8),
        frame=np.arange(first_frame, first_frame + n),
        time=column([p.time for p in packets], np.int64),
        capture=np.zeros(n, np.uint16),
        source=column([p.source for p in packets], np.uint64),
        destination=column([p.destination for p in packets], np.uint64),
        sequence=column([p.sequence for p in packets], np.uint32),
        acknowledgment=np.zeros(n, np.uint32),
        flags=column([p.flags for p in packets], np.uint8),
        payload=np.zeros(n, np.int64),
        length=column([p.length for p in packets], np.int64),
        captured=np.zeros(n, np.int64),
        network=np.zeros(n, np.int32),
    )


class Model:
    """The same facts, kept the slow way."""

    def __init__(self) -> None:
        self.flows: list[dict] = []
        self.by_ends: dict[tuple[int, int], dict] = {}

    def take(self, p: Packet, frame: int) -> int:
        low, high = sorted((p.source, p.destination))
        way = int(p.source > p.destination)
        flow = self.by_ends.get((low, high))
        begins = (p.sequence + bool(p.flags & SYN)) % (1 << 32)
        opens = p.flags & (SYN | ACK) == SYN
        if flow is None or (opens and flow["base"][way] is not None and flow["base"][way] != begins):
            flow = {
                "low": low, "high": high, "stream": len(self.flows), "packets": 0, "first_frame": frame,
                "first_time": p.time, "last_time": p.time, "flags": [0, 0], "base": [None, None], "opener": UNKNOWN,
                "closer": UNKNOWN, "close_time": NO_TIME, "syn_time": NO_TIME, "syn_ack_time": NO_TIME,
            }  # fmt: skip
            self.flows.append(flow)
            self.by_ends[low, high] = flow
        flow["packets"] += 1
        flow["last_frame"] = frame
        flow["first_time"] = min(flow["first_time"], p.time)
        flow["last_time"] = max(flow["last_time"], p.time)
        flow["flags"][way] |= p.flags
        if flow["base"][way] is None:
            flow["base"][way] = begins
        return flow["stream"]


def check(table: FlowTable, model: Model) -> None:
    slot_of = {int(table.stream[slot]): slot for slot in table.live()}
    assert sorted(slot_of) == list(range(len(model.flows)))
    for flow in model.flows:
        slot = slot_of[flow["stream"]]
        for name in ("low", "high", "packets", "first_frame", "last_frame", "first_time", "last_time"):
            assert getattr(table, name)[slot] == flow[name], (name, flow)
        assert [table.flags0[slot], table.flags1[slot]] == flow["flags"]
        assert [table.base0[slot], table.base1[slot]] == [-1 if b is None else b for b in flow["base"]]


def packets_of(sources: range, destinations: range) -> st.SearchStrategy[Packet]:
    return st.builds(
        Packet,
        source=st.sampled_from(sources),
        destination=st.sampled_from(destinations),
        flags=st.sampled_from([ACK, ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST]),
        sequence=st.sampled_from([0, 7, (1 << 32) - 1]),
        length=st.integers(0, 3),
        time=st.integers(0, 100),
    )


PACKETS = packets_of(range(1, 5), range(5, 9)) | packets_of(range(5, 9), range(1, 5))


@settings(deadline=None)
@given(st.lists(st.lists(PACKETS, max_size=40), max_size=5), st.booleans())
def test_the_table_agrees_with_the_model(batches: list[list[Packet]], collide: bool):
    table = FlowTable(capacity=2)
    if collide:  # every flow has one of two hashes
        table._hash = lambda low, high: (low ^ high) & np.uint64(1)  # type: ignore[method-assign]
    model = Model()
    frame = 1
    for packets in batches:
        batch = table.update(segments(packets, frame))
        streams = np.repeat(table.stream[batch.slots], batch.counts)
        expected = [model.take(p, frame + i) for i, p in enumerate(packets)]
        assert streams[np.argsort(batch.order)].tolist() == expected
        assert len(set(batch.slots.tolist())) == len(batch.slots)
        frame += len(packets)
    check(table, model)


def opened(packets: list[Packet]) -> tuple[FlowTable, int]:
    table = FlowTable()
    batch = table.update(segments(packets))
    assert len(batch.slots) == 1
    return table, int(batch.slots[0])


def test_times_of_the_handshake_and_who_opened():
    table, slot = opened(
        [Packet(9, 3, SYN, 5, time=10), Packet(9, 3, SYN, 5, time=11), Packet(3, 9, SYN | ACK, 8, time=14)]
    )
    assert table.syn_time[slot] == 10
    assert table.syn_ack_time[slot] == 14
    assert table.opener[slot] == 1


def test_a_syn_ack_alone_tells_who_opened():
    table, slot = opened([Packet(3, 9, SYN | ACK, 8, time=14)])
    assert table.opener[slot] == 1


@pytest.mark.parametrize(
    ("packets", "closer", "close_time"),
    [
        ([Packet(3, 9, time=1)], UNKNOWN, NO_TIME),
        ([Packet(3, 9, FIN, time=1)], 0, NO_TIME),
        ([Packet(9, 3, FIN, time=1), Packet(3, 9, FIN, time=2)], 1, 2),
        ([Packet(3, 9, RST, time=3)], 0, 3),
    ],
)
def test_who_closed_and_when(packets: list[Packet], closer: int, close_time: int):
    table, slot = opened(packets)
    assert table.closer[slot] == closer
    assert table.close_time[slot] == close_time


def test_port_reuse_is_a_new_connection_also_inside_one_batch():
    table = FlowTable()
    packets = [Packet(1, 2, SYN, 100), Packet(1, 2, ACK, 101), Packet(1, 2, SYN, 900), Packet(1, 2, ACK, 901)]
    batch = table.update(segments(packets))
    assert table.stream[batch.slots].tolist() == [0, 1]
    assert batch.replaced == []
    assert table.update(segments([Packet(1, 2, SYN, 5)])).replaced == [int(batch.slots[1])]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300), st.integers(0, 40)), max_size=60), st.integers(0, 40))
def test_octets_count_once_however_often_they_were_sent(sent: list[tuple[int, int, int]], split: int):
    """The amount is the distance from the edge to the furthest octet seen, whatever came twice or late."""
    base = (1 << 32) - 100
    table = FlowTable()
    start = table.update(segments([Packet(1, 2, SYN, base - 1), Packet(2, 1, SYN | ACK, base - 1)]))
    slot = int(start.slots[0])
    table.edge0[slot] = table.edge1[slot] = base
    packets = [Packet(*((1, 2) if way == 0 else (2, 1)), ACK, (base + at) % (1 << 32), n) for way, at, n in sent]
    for part in (packets[:split], packets[split:]):
        whole = segments(part)
        batch = table.update(whole)
        table.count_octets(batch, np.ones(len(batch.slots), np.bool_), batch.starts)
    for way, passed in ((0, table.passed0), (1, table.passed1)):
        assert passed[slot] == max((at + n for w, at, n in sent if w == way and n), default=0)


def test_released_slots_are_used_again_and_their_flows_are_new():
    table = FlowTable(capacity=2)
    first = table.update(segments([Packet(1, 2), Packet(3, 4)]))
    table.release(first.slots)
    assert len(table) == 0
    again = table.update(segments([Packet(1, 2)]))
    assert table.stream[again.slots].tolist() == [2]
    assert table.packets[again.slots].tolist() == [1]
    assert table.capacity == 2
