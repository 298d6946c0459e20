"""The flow table against a plain model: one dictionary, one packet at a time."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.packets.columns import Segments, TcpFlag
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable
from socks5sniff.streams.octets import PLAUSIBLE, UNPLACED, Octets
from socks5sniff.streams.spaces import FORGET, LATE_SYN, LINGER, RESET_WINDOW, Route

SYN, ACK, FIN, RST = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.RST


class Packet(NamedTuple):
    source: int
    destination: int
    flags: int = ACK
    sequence: int = 0
    length: int = 0
    time: int = 0
    acknowledgment: int = 0
    network: int = 0
    capture: int = 0


def segments(packets: list[Packet], first_frame: int = 1) -> Segments:
    def column(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(packet, name) for packet in packets], kind)

    n = len(packets)
    return Segments(
        octets=np.empty(0, np.uint8),
        spill=np.empty(0, np.uint8),
        frame=np.arange(first_frame, first_frame + n),
        time=column("time", np.int64),
        capture=column("capture", np.uint16),
        source=column("source", np.uint64),
        destination=column("destination", np.uint64),
        sequence=column("sequence", np.uint32),
        acknowledgment=column("acknowledgment", np.uint32),
        flags=column("flags", np.uint8),
        payload=np.zeros(n, np.int64),
        length=column("length", np.int64),
        captured=np.zeros(n, np.int64),
        network=column("network", np.int32),
    )


class Model:
    """The same facts, kept the slow way: each packet by itself, and a route for each two endpoints that goes on."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.clocks: list[int] = []
        self.routes: dict[tuple[int, int], Route] = {}

    def take(self, p: Packet) -> None:
        self.clocks.append(max([p.time, *self.clocks[-1:]]))
        route = self.routes.setdefault((min(p[:2]), max(p[:2])), Route([]))
        heard = p.acknowledgment if p.flags & ACK else -1
        position, clock = len(self.packets), self.clocks[-1]
        route.take(position, _way(p), p.flags, p.sequence, heard, p.length, clock, p.time, p.network)
        self.packets.append(p)

    def flows(self) -> list[tuple[list[int], dict[str, int]]]:
        """The rows of each flow, and its columns, in the order of their beginning."""
        spaces = [space for route in self.routes.values() for space in route.spaces]
        spaces.sort(key=lambda space: space.rows[0])
        return [
            (space.rows, {"stream": stream, "beside": space.beside, **self._columns(space.rows)})
            for stream, space in enumerate(spaces)
        ]

    def _columns(self, rows: list[int]) -> dict[str, int]:
        packets = [self.packets[row] for row in rows]
        flags = _flags(packets)
        for way in (0, 1):
            _drop_syns(way, packets, flags)
        first = packets[0]
        flow = {
            "low": min(first[:2]), "high": max(first[:2]), "capture": first.capture, "first_way": _way(first),
            "first_time": min(p.time for p in packets), "last_time": max(p.time for p in packets),
            "first_frame": rows[0] + 1, "last_frame": rows[-1] + 1, "packets": len(rows),
        }  # fmt: skip
        for way in (0, 1):
            sent = [(p, bits) for p, bits in zip(packets, flags, strict=True) if _way(p) == way]
            fins = [p for p, bits in sent if bits & FIN]
            flow[f"flags{way}"] = reduce(or_, (bits for _, bits in sent), 0)
            flow[f"next{way}"] = _behind(sent[-1][0]) if sent else -1
            flow[f"network{way}"] = sent[0][0].network if sent else -1
            flow[f"base{way}"] = _begins(sent[0][0]) if sent else -1
            flow[f"fin{way}"] = (fins[0].sequence + fins[0].length + 1) % (1 << 32) if fins else -1
            flow[f"fin_heard{way}"] = fins[0].acknowledgment if fins else -1
        flow["opener"] = UNKNOWN
        syns = [p for p, bits in zip(packets, flags, strict=True) if bits & SYN]
        for name, told in (
            ("syn_time", [p for p in syns if not p.flags & ACK]),
            ("syn_ack_time", [p for p in syns if p.flags & ACK]),
        ):
            flow[name] = told[0].time if told else NO_TIME
        if syns:
            flow["opener"] = _way(syns[0]) ^ bool(syns[0].flags & ACK)
        for p in syns[::-1]:
            flow[f"base{_way(p)}"] = _begins(p)  # the first one, however late in the file
        return flow | self._close(rows, flags)

    def _close(self, rows: list[int], flags: list[int]) -> dict[str, int]:
        """Closed with the first RST, or with the later one of the first FINs."""
        ways = [_way(self.packets[row]) for row in rows]
        places = range(len(rows))
        fins = [[place for place in places if flags[place] & FIN and ways[place] == way][:1] for way in (0, 1)]
        ends = [place for place in places if flags[place] & RST][:1] + ([max(*fins)[0]] if all(fins) else [])
        closing = [place for place in places if flags[place] & (FIN | RST)]
        row = rows[min(ends)] if ends else None
        return {
            "closer": ways[closing[0]] if closing else UNKNOWN,
            "close_time": NO_TIME if row is None else self.packets[row].time,
            "close_clock": NO_TIME if row is None else self.clocks[row],
            "close_frame": 0 if row is None else row + 1,
        }


def _way(p: Packet) -> int:
    return int(p.source > p.destination)


def _drop_syns(way: int, packets: list[Packet], flags: list[int]) -> None:
    """A SYN behind the first octets of its direction is none, unless one came before it that is not."""
    sent = [place for place, p in enumerate(packets) if _way(p) == way]
    for place in sent:
        if packets[place].flags & SYN:
            if (_begins(packets[sent[0]]) - _begins(packets[place])) % (1 << 32) < LATE_SYN:
                return
            flags[place] &= ~SYN


def _begins(p: Packet) -> int:
    """The sequence number of its first octet."""
    return (p.sequence + bool(p.flags & SYN)) % (1 << 32)


def _behind(p: Packet) -> int:
    return (_begins(p) + p.length) % (1 << 32)


def _flags(packets: list[Packet]) -> list[int]:
    """The flags that count: not an RST far from the last packet of its direction."""
    following: dict[int, int] = {}
    found = []
    for p in packets:
        apart = (p.sequence - following.get(_way(p), p.sequence)) % (1 << 32)
        strange = RESET_WINDOW < apart < (1 << 32) - RESET_WINDOW
        found.append(p.flags & ~RST if strange else p.flags)
        following[_way(p)] = _behind(p)
    return found


NUMBERS = [0, 5000, 5000 + RESET_WINDOW, 5001 + RESET_WINDOW, 1 << 31, (1 << 32) - 2]
"""Where sequence numbers stand: near, at the limit of what an RST may have, far, and before they begin again."""
PAUSES = [0, 0, 0, 1, -5, LINGER // 2, LINGER, LINGER + 1, FORGET, FORGET + LINGER, FORGET + LINGER + 1]
FLAGS = [SYN, SYN | ACK, ACK, ACK, FIN | ACK, FIN, RST, RST | ACK, 0]


@st.composite
def some_packets(draw: st.DrawFn) -> list[Packet]:
    """Of few connections, so that all of them meet."""
    packets, time = [], 1000
    numbers = st.builds(int.__add__, st.sampled_from(NUMBERS), st.integers(0, 2)).map(lambda number: number % (1 << 32))
    rows = st.tuples(
        st.sampled_from([(1, 5), (5, 1), (1, 5), (5, 1), (5, 2), (3, 5), (7, 8), (9, 1)]),
        st.sampled_from(FLAGS),
        numbers,
        st.sampled_from([0, 1, 3]),
        st.sampled_from(PAUSES),
        numbers,
        st.sampled_from([0, 0, 0, 1]),
    )
    for ends, flags, sequence, length, pause, heard, network in draw(st.lists(rows, max_size=30)):
        time += pause
        heard = heard if flags & ACK else 0
        packets.append(Packet(*ends, flags, sequence, length, time, heard, network, capture=len(packets) % 3))
    return packets


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
        st.sampled_from([0, LINGER // 2, LINGER, LINGER + 1, LINGER + 1, LINGER + 1, FORGET + LINGER]),
        st.sampled_from([5, 5, 5, 5, 6]),
    ),
    max_size=12,
)


def reused(strokes: list[tuple[str, int, int, int]]) -> list[Packet]:
    """Connections between two endpoints one after the other, and packets that come long after the end."""
    packets, clock = [], 0
    for stroke, sequence, pause, server in strokes:
        clock += pause
        for way, flags in STROKES[stroke]:
            ends = (1, server) if way == 0 else (server, 1)
            heard = sequence + 4 if flags & ACK else 0
            packets.append(Packet(*ends, flags, sequence, 3, clock, heard))
    return packets


def seen_twice(packets: list[Packet]) -> list[Packet]:
    """As at two interfaces of one machine."""
    return [packet for packet in packets for _ in range(2)]


def in_disorder(packets: list[Packet]) -> list[Packet]:
    """As two interfaces may put them into a file: each answer before what it answers."""
    return [packet for begin in range(0, len(packets), 2) for packet in packets[begin : begin + 2][::-1]]


MADE = st.sampled_from([list, seen_twice, in_disorder])


@settings(max_examples=400)
@given(
    some_packets() | st.builds(lambda made, strokes: made(reused(strokes)), MADE, REUSED),
    st.lists(st.integers(0, 12), max_size=6),
    st.booleans(),
)
@example(
    [
        Packet(5, 1, ACK, 5000, 0, 1000),
        Packet(5, 1, SYN, 0, 0, 1000),
        Packet(5, 1, ACK, 0, 0, 1000),
        Packet(5, 1, SYN, 0, 0, 1000 + FORGET + LINGER),
    ],
    [],
    False,
)
@example(
    reused([("whole", 0, 0, 5), ("open", 7, LINGER + 1, 5), ("open once more", 1000, 0, 5), ("talk", 1000, 0, 5)]),
    [4],
    False,
)
@example(reused([("whole", 0, 0, 5), ("open once more", 0, LINGER, 5)]), [4], False)
@example(
    reused(
        [
            *(("whole", 1000, 0, 6), ("open", 7, LINGER // 2, 6), ("close", 0, LINGER // 2, 6)),
            *(("whole", 7, LINGER + 1, 6), ("reset", 7, LINGER, 5), ("open", 7, 0, 5)),
        ]
    ),
    [7, 2, 5],
    False,
)
@example(
    in_disorder(
        reused(
            [
                *(("whole", 0, 0, 5), ("open once more", 0, 0, 5), ("whole", 1000, 0, 5)),
                *(("whole", 0, FORGET + LINGER, 5), ("whole", 1000, 0, 5)),
            ]
        )
    ),
    [10],
    False,
)
@example(reused([("open", 0, 0, 5), ("whole", 1000, 0, 5), ("open", 7, LINGER + 1, 5), ("talk", 0, 0, 5)]), [6], False)
def test_every_column_agrees_with_the_model_wherever_batches_end(
    packets: list[Packet], sizes: list[int], collide: bool
) -> None:
    table = FlowTable(capacity=2)
    if collide:  # every flow has one of two hashes
        table._hash = lambda low, high: (low ^ high) & np.uint64(1)  # type: ignore[method-assign]
    model = Model()
    streams: dict[int, int] = {}
    for size in [*sizes, len(packets)]:
        part = packets[len(model.packets) :][:size]
        batch = table.update(segments(part, len(model.packets) + 1))
        rows = batch.order + len(model.packets)
        streams.update(zip(rows.tolist(), np.repeat(table.stream[batch.slots], batch.counts).tolist(), strict=True))
        assert len({*batch.slots.tolist()}) == len(batch.slots)
        for packet in part:
            model.take(packet)
    expected = model.flows()
    assert streams == {row: flow["stream"] for rows, flow in expected for row in rows}
    assert table.live().tolist() == [*range(len(expected))]
    for (_, flow), slot in zip(expected, [*map(table.slot_of, range(len(expected)))], strict=True):
        assert {name: int(getattr(table, name)[slot]) for name in FlowTable.COLUMNS} == flow, flow["stream"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_packets_that_are_seen_twice_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """On a machine with bridges that is every connection."""
    monkeypatch.setattr(FlowTable, "_route_group", None)
    packets = seen_twice(reused([("whole", 0, 0, 5)])[:-1])
    table = FlowTable()
    for begin in range(0, len(packets), size):
        table.update(segments(packets[begin : begin + size], begin + 1))
    assert table.streams == 1


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


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("pause", [1, LINGER + 1, FORGET // 2])
def test_a_port_used_again_whose_syn_was_lost_is_told_by_both_numbers(size: int, pause: int):
    """So are a busy proxy's clients in a capture with losses: their conversation is not the last one's."""
    far, closed = 1 << 28, pause + 2
    closing = [Packet(1, 2, SYN, 100), Packet(1, 2, FIN | ACK, 101, time=1), Packet(2, 1, FIN | ACK, 7, 0, 2, 102)]
    late = [Packet(1, 2, ACK, 102, 0, 3, 8), Packet(1, 2, ACK, 102, 0, 3, far), Packet(1, 2, RST, 102, 0, 3)]
    again = [Packet(1, 2, ACK, far, 3, closed, 2 * far), Packet(2, 1, ACK, 2 * far, 2, closed, far + 3)]
    table = FlowTable()
    packets = [*closing, *late, *again]
    for begin in range(0, len(packets), size):
        table.update(segments(packets[begin : begin + size], begin + 1))
    slots = [table.slot_of(0), table.slot_of(1)]
    assert table.packets[slots].tolist() == [6, 2]
    assert table.base0[slots].tolist() == [101, far]
    assert table.base1[slots].tolist() == [7, 2 * far]


def test_an_rst_far_from_where_its_direction_stands_ends_nothing():
    for sequence, closed in ((101, True), (101 + (1 << 24), False)):
        for size in (1, 100):
            table = FlowTable()
            packets = [Packet(1, 2, SYN, 100), Packet(1, 2, RST, sequence)]
            for begin in range(0, 2, size):
                table.update(segments(packets[begin : begin + size], begin + 1))
            assert (table.close_time[0] != NO_TIME) == closed


class Sent(NamedTuple):
    """A packet of an open connection, in positions: 0 is the first octet of its direction."""

    way: int
    at: int
    length: int
    flags: int
    heard: int


STRAY = PLAUSIBLE + 400
SENT = st.builds(
    Sent,
    way=st.integers(0, 1),
    at=st.one_of(st.integers(0, 300), st.sampled_from([-1, STRAY, -STRAY])),
    length=st.integers(0, 40),
    flags=st.sampled_from([ACK, ACK, ACK, FIN | ACK, RST | ACK, FIN, 0]),
    heard=st.one_of(st.integers(0, 300), st.sampled_from([STRAY, -STRAY])),
)


@given(st.lists(SENT, max_size=40), st.lists(st.integers(0, 15), max_size=3))
def test_octets_count_once_however_often_they_were_sent(sent: list[Sent], sizes: list[int]) -> None:
    """The amount is the distance from the first octet to the furthest seen, whatever came twice, late or from afar."""
    table, octets = FlowTable(), Octets()
    table._route = lambda batch: batch  # type: ignore[method-assign]  # all of them are this connection's
    bases = ((1 << 32) - 100, 7)
    packets = [Packet(1, 2, SYN, bases[0] - 1), Packet(2, 1, SYN | ACK, bases[1] - 1, acknowledgment=bases[0])]
    for one in sent:
        sequence, heard = bases[one.way] + one.at, bases[1 - one.way] + one.heard
        ends = (1, 2) if one.way == 0 else (2, 1)
        acknowledgment = heard % (1 << 32) if one.flags & ACK else 0
        packets.append(Packet(*ends, one.flags, sequence % (1 << 32), one.length, acknowledgment=acknowledgment))
    done, found = 0, []
    for size in [2, *sizes, len(packets)]:
        batch = table.update(segments(packets[done : done + size]))
        octets.grow(table.capacity)
        there = octets.count(table, batch, np.ones(len(batch.slots), np.bool_))
        rows = (there.row + done - 2, there.slot, there.way, there.offset, there.heard)
        found += zip(*(column.tolist() for column in rows), strict=True)
        done += size
    sent = [one._replace(flags=flags) for one, flags in zip(sent, _flags(packets)[2:], strict=True)]
    near = [one for one in sent if abs(one.at) < STRAY]
    heard = [one.heard if one.flags & ACK and abs(one.heard) < STRAY else -1 for one in sent]
    assert found == [
        (row, 0, one.way, one.at, heard[row])
        for row, one in enumerate(sent)
        if one in near and one.length and not one.flags & RST
    ]
    for way in (0, 1):
        ends = [
            one.at + (0 if one.flags & RST else one.length)
            for one in near
            if one.way == way and (one.flags & FIN or (one.length and not one.flags & RST))
        ]
        assert octets.reach[way, 0] == max([0, *ends])
        assert octets.edge[way, 0] == (bases[way] + octets.reach[way, 0]) % (1 << 32)
        assert octets.heard[way, 0] == max([0, *(at for at, one in zip(heard, sent, strict=True) if one.way != way)])


@pytest.mark.parametrize(("apart", "stray"), [(PLAUSIBLE - 1, False), (PLAUSIBLE, True)])
@pytest.mark.parametrize("before", [False, True])
def test_how_far_a_segment_may_be_from_where_its_direction_stands(apart: int, stray: bool, before: bool) -> None:
    number = (100 + (-apart if before else apart)) % (1 << 32)
    table, octets = FlowTable(), Octets()
    octets.grow(table.capacity)
    opening = [Packet(1, 2, SYN, 99), Packet(2, 1, SYN | ACK, 99, acknowledgment=100)]
    batch = table.update(segments([*opening, Packet(1, 2, ACK, number, 1, acknowledgment=number)]))
    there = octets.count(table, batch, np.ones(1, np.bool_))
    at = -apart if before else apart
    assert there.offset.tolist() == ([] if stray else [at])
    assert there.heard.tolist() == ([] if stray else [at])
    assert octets.reach[0, 0] == (0 if stray or before else apart + 1)


def test_only_flows_that_are_asked_for_are_counted() -> None:
    table, octets = FlowTable(), Octets()
    octets.grow(table.capacity)
    batch = table.update(segments([Packet(1, 2, ACK, 5, 3), Packet(3, 4, ACK, 5, 4), Packet(1, 2, ACK, 8, 1)]))
    chosen = table.low[batch.slots] == 3
    there = octets.count(table, batch, chosen)
    assert there.row.tolist() == [1]
    assert octets.reach[0, batch.slots[chosen]].tolist() == [4]
    assert octets.reach[0, batch.slots[~chosen]].tolist() == [0]


def test_where_a_capture_lacks_the_syns_positions_count_from_the_first_octet_in_it() -> None:
    """What is acknowledged of a direction that was not seen yet is kept as a number."""
    table, octets = FlowTable(), Octets()
    octets.grow(table.capacity)
    packets = [Packet(1, 2, ACK, 50, 0, acknowledgment=7), Packet(1, 2, ACK, 53, 3, acknowledgment=7)]
    there = octets.count(table, batch := table.update(segments([*packets, packets[1]])), np.ones(1, np.bool_))
    assert (there.offset.tolist(), there.heard.tolist()) == ([0, 0], [UNPLACED - 7] * 2)
    packets = [Packet(2, 1, ACK, 7, 2, acknowledgment=56), Packet(1, 2, ACK, 56, 1, acknowledgment=9)]
    there = octets.count(table, table.update(segments(packets)), np.ones(1, np.bool_))
    assert (there.offset.tolist(), there.heard.tolist()) == ([0, 3], [3, 2])
    assert octets.origin[:, batch.slots[0]].tolist() == [53, 7]


def test_released_slots_are_used_again_and_their_flows_are_new():
    table = FlowTable(capacity=2)
    first = table.update(segments([Packet(1, 2), Packet(3, 4)]))
    assert table.live().tolist() == sorted(first.slots)
    table.release(first.slots[:1])
    assert table.live().tolist() == first.slots[1:].tolist()
    table.release(first.slots[1:])
    assert (len(table), table.live().tolist()) == (0, [])
    again = table.update(segments([Packet(1, 2)]))
    assert table.stream[again.slots].tolist() == [2]
    assert table.packets[again.slots].tolist() == [1]
    assert table.capacity == 2


def test_an_older_connection_goes_on_when_a_newer_one_of_its_endpoints_is_forgotten() -> None:
    table, far = FlowTable(), 1 << 30
    first = table.update(segments([Packet(1, 2, SYN, 100), Packet(1, 2, SYN, far), Packet(1, 2, ACK, 101)]))
    older, newer = first.slots[table.stream[first.slots].argsort()].tolist()
    table.release(np.array([newer]))
    assert table.update(segments([Packet(1, 2, ACK, 101)])).slots.tolist() == [older]
    table.release(np.array([older]))
    assert not table.shared
    assert table.stream[table.update(segments([Packet(1, 2, ACK, 101)])).slots].tolist() == [2]


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
