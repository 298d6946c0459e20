"""Whose packet it is, of several connections between the same endpoints."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.packets.columns import TcpFlag
from socks5sniff.streams.spaces import FORGET, LINGER, MOST, RESET_WINDOW, Route, Space, resets

CLIENT, SERVER = 0, 1


def two_at_once(elsewhere: int = 2) -> Route:
    """Two connections with the same endpoints, whose servers have said nothing yet; one comes from network 1."""
    route = Route([])
    route.take(0, CLIENT, TcpFlag.SYN, 1000, -1, 0, 0, 0, 1)
    route.take(1, CLIENT, TcpFlag.SYN, 900_000_000, -1, 0, 1, 1, elsewhere)
    return route


@pytest.mark.parametrize(("network", "rows"), [(1, [[0, 2], [1]]), (2, [[0], [1, 2]])])
def test_a_direction_not_seen_yet_comes_from_the_network_of_the_other(network: int, rows: list[list[int]]) -> None:
    route = two_at_once()
    route.take(2, SERVER, TcpFlag.PSH, 5000, -1, 10, 2, 2, network)
    assert [space.rows for space in route.spaces] == rows


@pytest.mark.parametrize(("network", "rows"), [(1, [[0, 2, 3], [1]]), (2, [[0], [1, 2, 3]])])
def test_a_direction_that_was_seen_goes_on_in_its_network(network: int, rows: list[list[int]]) -> None:
    route = two_at_once()
    for position, sequence in ((2, 5000), (3, 2_000_000_000)):
        route.take(position, SERVER, TcpFlag.PSH, sequence, -1, 10, position, position, network)
    assert [space.rows for space in route.spaces] == rows


def test_a_direction_not_seen_yet_may_come_from_elsewhere_sooner_than_one_that_was_seen() -> None:
    """Whatever its numbers say."""
    route = two_at_once()
    route.take(2, SERVER, TcpFlag.ACK, 5000, 1001, 0, 2, 2, 1)
    route.take(3, SERVER, TcpFlag.ACK, 5000, 1001, 0, 3, 3, 7)
    assert [space.rows for space in route.spaces] == [[0, 2], [1, 3]]


def test_numbers_tell_where_the_network_does_not() -> None:
    route = two_at_once(elsewhere=1)
    route.take(2, SERVER, TcpFlag.ACK, 5000, 1001, 0, 2, 2, 1)
    route.take(3, SERVER, TcpFlag.ACK, 5000, 900_000_001, 0, 3, 3, 1)
    assert [space.rows for space in route.spaces] == [[0, 2], [1, 3]]


SYN, FIN, RST, ACK = TcpFlag.SYN, TcpFlag.FIN, TcpFlag.RST, TcpFlag.ACK
Packet = tuple[int, int, int, int, int, int]
"""Direction, flags, sequence number, acknowledgment, octets, time."""


def routed(*packets: Packet) -> list[list[int]]:
    """The packets of each connection."""
    route = Route([])
    for position, packet in enumerate(packets):
        route.take(position, *packet, packet[-1], 0)
    return [space.rows for space in route.spaces]


CLOSED: list[Packet] = [(CLIENT, SYN, 99, -1, 0, 0), (CLIENT, FIN, 100, -1, 0, 5), (SERVER, FIN, 7, -1, 0, 10)]
"""It ends at 10."""


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (10 + LINGER, [[0, 1, 2, 3]]),  # one of its last
        (11 + LINGER, [[0, 1, 2]]),  # nobody's
        (10 + FORGET, [[0, 1, 2]]),
        (11 + FORGET, [[0, 1, 2], [3]]),  # another connection's
    ],
)
@pytest.mark.parametrize("flags", [ACK, FIN, RST])
def test_how_long_the_end_of_a_connection_is_waited_for(time: int, expected: list[list[int]], flags: int) -> None:
    assert routed(*CLOSED, (CLIENT, flags, 101, -1, 0, time)) == expected


@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
@pytest.mark.parametrize("time", [11 + LINGER, 10 + FORGET, 11 + FORGET])
def test_a_syn_after_the_end_begins_another_at_once(flags: int, time: int) -> None:
    assert routed(*CLOSED, (CLIENT, flags, 5000, -1, 0, time)) == [[0, 1, 2], [3]]


@pytest.mark.parametrize("sequence", [99, 5000])
def test_a_syn_after_an_end_begins_another_also_while_the_end_is_waited_for(sequence: int) -> None:
    """With another number; with the same one it is sent again, but not once something was said."""
    again: Packet = (CLIENT, SYN, sequence, -1, 0, 11)
    assert routed(*CLOSED, again) == ([[0, 1, 2, 3]] if sequence == 99 else [[0, 1, 2], [3]])


@pytest.mark.parametrize(
    ("said", "time", "same"),
    [(0, 10 * FORGET, True), (1, 5 + FORGET, True), (1, 6 + FORGET, False)],
)
def test_a_syn_is_sent_again_while_nothing_was_said_or_not_for_long(said: int, time: int, same: bool) -> None:
    first: Packet = (CLIENT, SYN, 99, -1, 0, 0)
    talk: Packet = (CLIENT, ACK, 100, -1, said, 5)
    assert routed(first, talk, (CLIENT, SYN, 99, -1, 0, time)) == ([[0, 1, 2]] if same else [[0, 1], [2]])


@pytest.mark.parametrize(
    ("before", "same"), [(0, True), (1, True), ((1 << 20) - 1, True), (1 << 20, False), (-1, False)]
)
@pytest.mark.parametrize("base", [5 << 20, 7])
def test_a_syn_that_comes_behind_the_octets_it_begins(before: int, same: bool, base: int) -> None:
    """It lies a little before the first ones seen; the numbers may begin again between them."""
    syn: Packet = (CLIENT, SYN, (base - before - 1) % (1 << 32), -1, 0, 2)
    assert routed((CLIENT, ACK, base, -1, 1, 1), syn) == ([[0, 1]] if same else [[0], [1]])
    earlier: Packet = (CLIENT, SYN, (base - 1) % (1 << 32), -1, 0, 0)
    if before:
        assert routed(earlier, (CLIENT, ACK, base, -1, 1, 1), syn) == [[0, 1], [2]]  # its SYN has come


def test_of_several_the_nearest_by_both_directions_numbers() -> None:
    """Also where they begin again; of equally near ones the latest."""
    one: list[Packet] = [(CLIENT, SYN, (1 << 32) - 2, -1, 0, 0), (SERVER, SYN | ACK, 1000, (1 << 32) - 1, 0, 0)]
    other: list[Packet] = [(CLIENT, SYN, 500, -1, 0, 0), (SERVER, SYN | ACK, (1 << 31) + 5, 501, 0, 0)]
    cases: list[tuple[Packet, int]] = [
        ((CLIENT, ACK, 3, 1001, 0, 0), 0),
        ((CLIENT, ACK, 400, (1 << 31) + 6, 0, 0), 1),
        ((SERVER, ACK, 1100, 501, 0, 0), 0),
        ((SERVER, ACK, (1 << 31) + 100, 0, 0, 0), 1),
        ((CLIENT, 0, 251, -1, 0, 0), 1),
        ((CLIENT, 0, 249, -1, 0, 0), 0),
        ((CLIENT, 0, 250, -1, 0, 0), 1),
    ]
    for packet, owner in cases:
        assert routed(*one, *other, packet)[owner][-1] == 4, packet


@pytest.mark.parametrize(("apart", "ends"), [(RESET_WINDOW, True), (RESET_WINDOW + 1, False)])
@pytest.mark.parametrize("following", [100, 5 << 20, (1 << 32) - 1])
def test_an_rst_ends_only_what_it_is_near_to(apart: int, ends: bool, following: int) -> None:
    for sequence in (following + apart, following - apart):
        sequence %= 1 << 32
        assert resets(sequence, following) == ends
        opening: list[Packet] = [
            (CLIENT, SYN, (following - 4) % (1 << 32), -1, 3, 0),
            (CLIENT, RST, sequence, -1, 0, 0),
        ]
        late: Packet = (CLIENT, ACK, following, -1, 0, LINGER + 1)
        assert routed(*opening, late) == ([[0, 1]] if ends else [[0, 1, 2]])
    assert resets(7, -1)  # where nothing is known


def test_more_connections_at_once_than_are_told_apart() -> None:
    """The oldest gets no more packets: they go to the nearest of the others."""
    begin: list[Packet] = [(CLIENT, SYN, (1 << 24) * number, -1, 0, 0) for number in range(MOST + 1)]
    found = routed(*begin, (CLIENT, ACK, (1 << 24) + 1, -1, 0, 0), (CLIENT, ACK, 1, -1, 0, 0))
    assert found == [[0], [1, MOST + 1, MOST + 2], *([number] for number in range(2, MOST + 1))]


def test_connections_are_beside_each_other_when_an_older_one_goes_on() -> None:
    route = Route([])
    numbers = [0, 1 << 24, 1 << 25]
    for position, number in enumerate(numbers):
        route.take(position, CLIENT, SYN, number, -1, 0, 0, 0, 0)
    assert [space.beside for space in route.spaces] == [False] * 3
    route.take(3, CLIENT, ACK, (1 << 25) + 1, -1, 0, 0, 0, 0)
    assert [space.beside for space in route.spaces] == [False] * 3
    route.take(4, CLIENT, ACK, (1 << 24) + 1, -1, 0, 0, 0, 0)
    assert [space.beside for space in route.spaces] == [False, True, True]


@pytest.mark.parametrize(("time", "beside"), [(LINGER, True), (LINGER + 1, False)])
def test_one_that_has_ended_is_beside_none(time: int, beside: bool) -> None:
    """Neither with what comes late of it, nor with an older one that goes on once nothing of it is waited for."""
    route = Route([])
    route.take(0, CLIENT, SYN, 0, -1, 0, 0, 0, 0)
    route.take(1, CLIENT, SYN, 1 << 24, -1, 0, 0, 0, 0)
    route.take(2, CLIENT, RST, (1 << 24) + 1, -1, 0, 0, 0, 0)
    route.take(3, CLIENT, ACK, 1, -1, 0, time, time, 0)
    assert [space.beside for space in route.spaces] == [beside] * 2
    route = Route([])
    route.take(0, CLIENT, SYN, 0, -1, 0, 0, 0, 0)
    route.take(1, CLIENT, RST, 1, -1, 0, 0, 0, 0)
    route.take(2, CLIENT, SYN, 1 << 24, -1, 0, 0, 0, 0)
    route.take(3, CLIENT, ACK, 1, -1, 0, time, time, 0)
    assert [space.beside for space in route.spaces] == [False] * 2


NUMBERS = st.sampled_from([0, 1, 2, 3, 1 << 25, (1 << 25) + 2, (1 << 32) - 1])
PAUSES = st.sampled_from([0, 0, 0, 1, LINGER, LINGER + 1, FORGET])
ANY = st.tuples(
    *(st.sampled_from([CLIENT, SERVER]), st.sampled_from([SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST, FIN])),
    *(NUMBERS, NUMBERS, st.integers(0, 2), PAUSES, st.integers(0, 1)),
)


@settings(max_examples=300)
@given(st.lists(ANY, max_size=25))
def test_the_newest_connection_s_next_packet_need_not_be_compared(drawn: list[tuple[int, ...]]) -> None:
    found = []
    for compared in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if compared:
                patch.setattr(Space, "goes_on", lambda *_: False)
            route, time = Route([]), 0
            for position, (way, flags, sequence, heard, length, pause, network) in enumerate(drawn):
                time += pause
                known = heard if flags & ACK else -1
                route.take(position, way, flags, sequence, known, length, time, time, network)
            found.append([(space.rows, space.beside, space.closed, space.last) for space in route.spaces])
    assert found[0] == found[1]
