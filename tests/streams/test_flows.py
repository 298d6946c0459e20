"""The flow table against a plain model: one dictionary, one packet at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.packets.columns import Segments, TcpFlag
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable
from socks5sniff.streams.octets import Octets
from socks5sniff.streams.spaces import FORGET, LINGER

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
        if flow is None:
            flow = {
                "low": low, "high": high, "stream": len(self.flows), "packets": 0, "first_frame": frame,
                "first_time": p.time, "last_time": p.time, "flags": [0, 0], "base": [None, None], "opener": UNKNOWN,
                "syn": [False, False], "closer": UNKNOWN, "close_time": NO_TIME, "syn_time": NO_TIME,
                "syn_ack_time": NO_TIME,
            }  # fmt: skip
            self.flows.append(flow)
            self.by_ends[low, high] = flow
        flow["packets"] += 1
        flow["last_frame"] = frame
        flow["first_time"] = min(flow["first_time"], p.time)
        flow["last_time"] = max(flow["last_time"], p.time)
        flow["flags"][way] |= p.flags
        if flow["base"][way] is None or (p.flags & SYN and not flow["syn"][way]):
            flow["base"][way] = begins  # a SYN that comes late is right
        flow["syn"][way] |= bool(p.flags & SYN)
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
        flags=st.just(ACK),
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
    again = 1 << 24
    packets = [Packet(1, 2, SYN, 100), Packet(1, 2, RST, 101), Packet(1, 2, SYN, again), Packet(1, 2, ACK, again + 1)]
    batch = table.update(segments(packets))
    assert table.stream[batch.slots].tolist() == [0, 1]
    assert table.stream[table.update(segments([Packet(1, 2, ACK, 2 + (1 << 24))])).slots].tolist() == [1]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_two_sequence_spaces_at_once_are_two_connections(size: int):
    far = 1 << 30
    packets = [
        packet
        for step in range(4)
        for packet in (
            Packet(1, 2, SYN if not step else ACK, 100 + step),
            Packet(1, 2, SYN if not step else ACK, far + 100 + step),
        )
    ]
    table = FlowTable()
    streams = []
    for begin in range(0, len(packets), size):
        batch = table.update(segments(packets[begin : begin + size], begin + 1))
        places = np.repeat(table.stream[batch.slots], batch.counts)
        streams += places[np.argsort(batch.order)].tolist()
    assert streams == [0, 1] * 4


@pytest.mark.parametrize("size", [1, 100])
def test_what_comes_long_after_the_end_is_not_the_connections(size: int):
    """A late packet is nobody's; after a minute it is another connection's."""
    second = 1_000_000_000
    closing = [Packet(1, 2, SYN, 100), Packet(1, 2, FIN, 101, time=1), Packet(2, 1, FIN, 7, time=2)]
    late = [Packet(1, 2, ACK, 102, time=second), Packet(1, 2, ACK, 102, time=4 * second)]
    packets = [*closing, *late, Packet(1, 2, ACK, 102, time=90 * second)]
    table = FlowTable()
    for begin in range(0, len(packets), size):
        table.update(segments(packets[begin : begin + size], begin + 1))
    slots = [table.slot_of(0), table.slot_of(1)]
    assert table.packets[slots].tolist() == [4, 1]
    assert table.last_frame[slots].tolist() == [4, 6]


def test_an_rst_far_from_where_its_direction_stands_ends_nothing():
    for sequence, closed in ((101, True), (101 + (1 << 24), False)):
        for size in (1, 100):
            table = FlowTable()
            packets = [Packet(1, 2, SYN, 100), Packet(1, 2, RST, sequence)]
            for begin in range(0, 2, size):
                table.update(segments(packets[begin : begin + size], begin + 1))
            assert (table.close_time[0] != NO_TIME) == closed


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300), st.integers(0, 40)), max_size=60), st.integers(0, 40))
def test_octets_count_once_however_often_they_were_sent(sent: list[tuple[int, int, int]], split: int):
    """The amount is the distance from the edge to the furthest octet seen, whatever came twice or late."""
    base = (1 << 32) - 100
    table, octets = FlowTable(), Octets()
    packets = [Packet(1, 2, SYN, base - 1), Packet(2, 1, SYN | ACK, base - 1)]
    packets += [Packet(*((1, 2) if way == 0 else (2, 1)), ACK, (base + at) % (1 << 32), n) for way, at, n in sent]
    for part in (packets[: 2 + split], packets[2 + split :]):
        batch = table.update(segments(part))
        octets.grow(table.capacity)
        octets.count(table, batch, np.ones(len(batch.slots), np.bool_))
    for way in (0, 1):
        assert octets.reach[way, 0] == max((at + n for w, at, n in sent if w == way and n), default=0)


def test_released_slots_are_used_again_and_their_flows_are_new():
    table = FlowTable(capacity=2)
    first = table.update(segments([Packet(1, 2), Packet(3, 4)]))
    table.release(first.slots)
    assert len(table) == 0
    again = table.update(segments([Packet(1, 2)]))
    assert table.stream[again.slots].tolist() == [2]
    assert table.packets[again.slots].tolist() == [1]
    assert table.capacity == 2


def test_flows_whose_hashes_are_the_same_are_told_apart_and_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can prepare such endpoints, chance can."""
    monkeypatch.setattr(FlowTable, "_hash", lambda self, low, high: np.zeros(len(low), np.uint64))
    table = FlowTable()
    pairs = [Packet(1, 2), Packet(3, 4), Packet(5, 6)]
    first = table.update(segments(pairs))
    assert len({*first.slots.tolist()}) == 3
    later = table.update(segments([Packet(7, 8), *pairs[::-1]]))
    streams = {int(slot): int(table.stream[slot]) for slot in later.slots}
    assert sorted(streams.values()) == [0, 1, 2, 3]
    assert table.packets[first.slots].tolist() == [2, 2, 2]
    table.release(first.slots[1:])
    again = table.update(segments(pairs))
    assert sorted(int(table.stream[slot]) for slot in again.slots) == [0, 4, 5]
    assert sorted(table.packets[again.slots].tolist()) == [1, 1, 3]


STROKES = {
    "whole": [(0, SYN), (1, SYN | ACK), (0, FIN | ACK), (1, FIN | ACK)],
    "open": [(0, SYN), (1, SYN | ACK)],
    "open once more": [(0, SYN)],
    "talk": [(0, ACK), (1, ACK)],
    "close": [(0, FIN | ACK), (1, FIN | ACK)],
    "half close": [(1, FIN | ACK)],
    "reset": [(1, RST)],
}
REUSED = st.lists(
    st.tuples(
        st.sampled_from(["whole", "whole", *STROKES]),
        st.sampled_from([0, 7, 1000]),
        st.sampled_from([0, LINGER // 2, LINGER + 1, LINGER + 1, LINGER + 1, FORGET + LINGER]),
        st.sampled_from([5, 5, 5, 5, 6]),
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(REUSED, st.lists(st.integers(1, 15), max_size=4))
@example([("whole", 0, 0, 5), ("open", 7, LINGER + 1, 5), ("open once more", 1000, 0, 5), ("talk", 1000, 0, 5)], [4])
@example([("open", 0, 0, 5), ("whole", 1000, 0, 5), ("open", 7, LINGER + 1, 5), ("talk", 0, 0, 5)], [6])
def test_ports_used_again_are_told_apart_in_columns_as_one_by_one(
    drawn: list[tuple[str, int, int, int]], sizes: list[int]
) -> None:
    """Connections between two endpoints one after the other, and packets that come long after the end."""
    packets, clock = [], 0
    for stroke, sequence, pause, server in drawn:
        clock += pause
        for way, flags in STROKES[stroke]:
            ends = (1, server) if way == 0 else (server, 1)
            packets.append(Packet(*ends, flags=flags, sequence=sequence, length=3, time=clock))
    in_columns, one_by_one = FlowTable(), FlowTable()
    one_by_one._begin_again = lambda batch, groups: np.zeros(len(groups), np.bool_)  # type: ignore[method-assign]
    done = 0
    for size in [*sizes, len(packets)]:
        part = packets[done : done + size]
        found = []
        for table in (in_columns, one_by_one):
            batch = table.update(segments(part, done + 1))
            rows = batch.order + 1
            streams = np.repeat(table.stream[batch.slots], batch.counts)
            found.append(sorted(zip(rows.tolist(), streams.tolist(), strict=True)))
        assert found[0] == found[1]
        done += size
    for name in FlowTable.COLUMNS:
        columns = [
            sorted(zip(table.stream[: table.used], getattr(table, name)[: table.used], strict=True))
            for table in (in_columns, one_by_one)
        ]
        assert columns[0] == columns[1], name
