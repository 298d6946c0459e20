"""Plain connections: whatever happens in a tunnel, sequence numbers and acknowledgments fit together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.decap.headers import MAX_PAYLOAD, Packet, Route
from socks5sniff.decap.plain_tcp import Moment, PlainTcp
from socks5sniff.packets import TcpFlag

ROUTE = Route(bytes((192, 0, 2, 1)), bytes((198, 18, 0, 1)), 40_000, 80)
NUMBERS = st.integers(0, 1 << 20)
EVENTS = st.lists(
    st.tuples(st.sampled_from((0, 1)), st.sampled_from((0, 1, 5, 1460, MAX_PAYLOAD + 7)), st.booleans()), max_size=20
)


class Receiver:
    """What arrives at both sides: octets by position, and what each side has acknowledged."""

    def __init__(self) -> None:
        self.first: list[int | None] = [None, None]
        self.octets: list[dict[int, bytes]] = [{}, {}]
        self.ends = [0, 0]
        self.heard = [0, 0]

    def take(self, *packets: Packet) -> None:
        for packet in packets:
            self._take(packet)

    def _take(self, packet: Packet) -> None:
        way = int(packet.route != ROUTE)
        syn, fin = bool(packet.flags & TcpFlag.SYN), bool(packet.flags & TcpFlag.FIN)
        if syn:
            self.first[way] = packet.sequence
        first, other = self.first[way], self.first[1 - way]
        assert first is not None
        at = (packet.sequence - first) % (1 << 32)
        assert at >= self.ends[way], "nothing is sent twice"
        self.octets[way][at] = bytes(packet.payload)
        self.ends[way] = at + syn + fin + max(packet.length, len(packet.payload))
        if packet.flags & TcpFlag.ACK:
            assert other is not None
            heard = (packet.acknowledgment - other) % (1 << 32)
            assert self.heard[way] <= heard <= self.ends[1 - way], "only what was sent is acknowledged"
            self.heard[way] = heard


@given(NUMBERS, st.sampled_from((0, 1)), EVENTS)
def test_octets_arrive_in_their_places(number: int, opener: int, events: list[tuple[int, int, bool]]) -> None:
    plain, receiver = PlainTcp(ROUTE, number, opener), Receiver()
    wanted: list[dict[int, bytes]] = [{}, {}]
    receiver.take(*plain.open(Moment(1, 1)))
    assert receiver.ends == [1, 1]
    for step, (way, size, missing) in enumerate(events, 2):
        octets = bytes([step]) * size
        if missing:
            plain.skip(way, size)
            receiver.ends[way] += size
            continue
        for begin in range(0, size, MAX_PAYLOAD):
            wanted[way][receiver.ends[way] + begin] = octets[begin : begin + MAX_PAYLOAD]
        receiver.take(*plain.send(way, Moment(step, step), octets))
    before = list(receiver.ends)
    for way in (0, 1):
        receiver.take(*plain.end(way, Moment(50, 50)))
    assert [{at: octets for at, octets in sent.items() if octets} for sent in receiver.octets] == wanted
    assert receiver.ends == [end + 1 for end in before]
    assert receiver.heard == receiver.ends[::-1], "in the end all is acknowledged"


def test_who_opens_it_says_syn() -> None:
    for opener, route in enumerate((ROUTE, ROUTE.back())):
        packets = [*PlainTcp(ROUTE, 1, opener).open(Moment(1, 1))]
        assert [packet.route for packet in packets] == [route, route.back(), route]
        assert [packet.flags for packet in packets] == [TcpFlag.SYN, TcpFlag.SYN | TcpFlag.ACK, TcpFlag.ACK]


def test_every_second_packet_is_acknowledged_by_a_silent_receiver() -> None:
    plain = PlainTcp(ROUTE, 1)
    list(plain.open(Moment(1, 1)))
    packets = [packet for step in range(5) for packet in plain.send(0, Moment(step, step), b"x")]
    assert [len(packet.payload) for packet in packets] == [1, 1, 0, 1, 1, 0, 1]


def test_time_does_not_go_back_where_octets_had_to_wait() -> None:
    plain = PlainTcp(ROUTE, 1)
    list(plain.open(Moment(1, 100)))
    packets = [*plain.send(0, Moment(9, 900), b"first"), *plain.send(0, Moment(7, 700), b"second")]
    assert [packet[:2] for packet in packets] == [(9, 900)] * 3


def test_nothing_is_acknowledged_behind_a_reset() -> None:
    plain = PlainTcp(ROUTE, 1)
    list(plain.open(Moment(1, 1)))
    (reset,) = plain.reset(1, Moment(2, 2))
    assert reset.flags == TcpFlag.RST | TcpFlag.ACK
    again = [*plain.reset(0, Moment(3, 3)), *plain.end(0, Moment(3, 3))]
    late = [packet for _ in range(4) for packet in plain.send(0, Moment(4, 4), b"late")]
    assert (again, len(late)) == ([], 4)


def test_what_was_cut_short_takes_its_room() -> None:
    plain = PlainTcp(ROUTE, 1)
    list(plain.open(Moment(1, 1)))
    (cut,) = plain.send(0, Moment(2, 2), b"begin", 1460)
    (behind,) = plain.send(1, Moment(3, 3), b"answer")
    assert (cut.payload, cut.length) == (b"begin", 1460)
    assert behind.acknowledgment == (cut.sequence + 1460) % (1 << 32)
