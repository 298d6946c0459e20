"""IP fragments are put together in any order, within bounds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.packets import PacketReader
from socks5sniff.packets.fragments import FragmentKey, Reassembler

from .samples import RAW, batch_of, ethernet, ipv4, ipv6, pieces_of, read, tcp, udp

SECOND = 1_000_000_000
PAYLOAD = bytes(range(256)) * 9
KEY = FragmentKey("lo", 0, b"\1" * 4, b"\2" * 4, 6, 7)


def fragment(version: int, start: int, octets: bytes, more: bool, protocol: int = 6, identification: int = 9) -> bytes:
    """One IP fragment."""
    if version == 4:
        return ipv4(protocol, octets, fragment=more << 13 | start // 8, identification=identification)
    return ipv6(44, struct.pack(">BBHI", protocol, 0, start | more, identification) + octets)


def fragments(version: int, payload: bytes, cuts: list[int], protocol: int = 6, identification: int = 9) -> list[bytes]:
    """A packet's payload in fragments."""
    pieces = pieces_of(payload, cuts)
    return [fragment(version, start, octets, more, protocol, identification) for start, octets, more in pieces]


@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_order_any_cuts(version: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(1, 286).map(lambda unit: unit * 8), min_size=1, max_size=8, unique=True))
    frames = data.draw(st.permutations(fragments(version, tcp(PAYLOAD), cuts)))
    whole = packet_of(version)
    segments, _, reader = read(batch_of([whole, *frames, whole], RAW))
    # The whole packet bears the number of the fragment that came last.
    assert [found.frame for found in segments] == [1, len(frames) + 1, len(frames) + 2]
    assert [found.payload for found in segments] == [PAYLOAD] * 3
    assert len({found[1:] for found in segments}) == 1
    assert reader.skipped.total == 0


def packet_of(version: int) -> bytes:
    """The packet that the fragments make."""
    return ipv4(6, tcp(PAYLOAD)) if version == 4 else ipv6(6, tcp(PAYLOAD))


def test_across_batches_and_both_protocols() -> None:
    reader = PacketReader()
    tcp_frames = fragments(4, tcp(PAYLOAD), [800, 1600])
    udp_frames = fragments(6, udp(PAYLOAD), [1200], 17)
    frames = [tcp_frames[2], udp_frames[1], tcp_frames[0], udp_frames[0], tcp_frames[1]]
    found = [read(batch_of([frame], RAW, first_number=number), reader) for number, frame in enumerate(frames, 1)]
    assert [(len(segments), len(datagrams)) for segments, datagrams, _ in found] == [(0, 0)] * 3 + [(0, 1), (1, 0)]
    assert found[3][1][0].payload == found[4][0][0].payload == PAYLOAD
    assert (found[3][1][0].frame, found[4][0][0].frame) == (4, 5)


def test_the_last_arriving_fragment_gives_the_time() -> None:
    batch = batch_of(fragments(4, tcp(PAYLOAD), [800])[::-1], RAW, times=[5, 3])
    segments, _ = PacketReader().read(batch)
    assert (segments.time.tolist(), segments.frame.tolist()) == ([3], [2])


@pytest.mark.parametrize("version", [4, 6])
def test_packets_differ_by_what_identifies_them(version: int) -> None:
    first = fragments(version, tcp(b"a" * 80), [40], identification=1)
    second = fragments(version, tcp(b"b" * 80), [40], identification=2)
    segments, _, _ = read(batch_of([first[0], second[1], first[1], second[0]], RAW))
    assert [found.payload for found in segments] == [b"a" * 80, b"b" * 80]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.integers(0, 255)), max_size=12),
    st.integers(1, 13),
)
def test_overlap_keeps_the_first_copy(noise: list[tuple[int, int, int]], total: int) -> None:
    reassembler = Reassembler()
    expected: dict[int, int] = {}
    pieces = [(start, bytes([value]) * 8 * units, True) for start, units, value in noise if start + units <= total]
    pieces += [(unit, b"\xff" * 8, unit < total) for unit in range(total + 1)]
    whole = None
    for unit, octets, more in pieces:
        for place, value in enumerate(octets, unit * 8):
            expected.setdefault(place, value)
        whole = reassembler.add(KEY, 0, unit * 8, octets, not more, 6)
    assert whole is not None
    assert whole.octets == bytes(expected[place] for place in range((total + 1) * 8))
    assert len(reassembler) == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 70000), st.binary(max_size=40), st.booleans(), st.integers(0, 60)),
        max_size=60,
    )
)
def test_any_fragments_stay_within_the_bounds(arrivals: list[tuple[int, int, bytes, bool, int]]) -> None:
    reassembler = Reassembler(packets=2, octets=70000)
    for identification, start, octets, last, second in arrivals:
        key = KEY._replace(identification=identification)
        whole = reassembler.add(key, second * SECOND, start, octets, last, 6)
        assert whole is None or len(whole.octets) <= 65535
        assert len(reassembler) <= 2
        held = sum(len(partial.octets) for partial in reassembler._partial.values())
        assert held == reassembler._held <= 70000


def test_as_many_packets_and_octets_as_the_bounds_say_are_kept() -> None:
    """One more, and the oldest is given up."""
    for bounds, size in (({"packets": 3}, 8), ({"octets": 72}, 24)):
        for begun, kept in ((3, True), (4, False)):
            reassembler = Reassembler(**bounds)
            keys = [KEY._replace(identification=number) for number in range(begun)]
            for key in keys:
                assert reassembler.add(key, 0, 0, b"x" * size, False, 6) is None
            assert (len(reassembler), reassembler.dropped) == (3, begun - 3)
            assert (reassembler.add(keys[0], 0, size, b"y" * 8, True, 6) is not None) == kept
            assert reassembler.add(keys[-1], 0, size, b"y" * 8, True, 6) is not None


def test_many_holes_are_bounded() -> None:
    reassembler = Reassembler()
    for place in range(0, 65000, 16):
        reassembler.add(KEY, 0, place, b"x" * 8, False, 6)
    (partial,) = reassembler._partial.values()
    assert len(partial.holes) < 1000
    assert reassembler.dropped > 3000


def test_a_packet_that_takes_too_long_is_given_up() -> None:
    frames = fragments(4, tcp(PAYLOAD), [800, 1600])
    late = batch_of(frames, RAW, times=[0, 1, 31 * SECOND])
    in_time = batch_of(frames, RAW, times=[0, 1, 30 * SECOND])
    assert len(read(in_time)[0]) == 1
    segments, _, reader = read(late)
    assert segments == []
    assert reader.skipped.fragments == 2


def test_contradicting_ends_are_dropped() -> None:
    reassembler = Reassembler()
    assert reassembler.add(KEY, 0, 16, b"x" * 8, True, 6) is None
    assert reassembler.add(KEY, 0, 32, b"x" * 8, True, 6) is None
    assert reassembler.add(KEY, 0, 24, b"x" * 8, False, 6) is None
    assert reassembler.dropped == 2
    whole = reassembler.add(KEY, 0, 0, b"y" * 16, False, 6)
    assert whole is not None
    assert whole.octets == b"y" * 16 + b"x" * 8


def test_a_copy_of_the_last_fragment_may_say_that_more_follows() -> None:
    reassembler = Reassembler()
    assert reassembler.add(KEY, 0, 16, b"x" * 8, True, 6) is None
    assert reassembler.add(KEY, 0, 16, b"z" * 8, False, 6) is None
    whole = reassembler.add(KEY, 0, 0, b"y" * 16, False, 6)
    assert (reassembler.dropped, whole and whole.octets) == (0, b"y" * 16 + b"x" * 8)


def test_fragments_in_tunnels_and_tunnels_in_fragments() -> None:
    inner = fragments(4, tcp(PAYLOAD), [1024])
    outer = [part for packet in inner for part in fragments(6, packet, [512], 4, len(packet))]
    segments, _, _ = read(batch_of([ethernet(0x86DD, part) for part in outer]))
    assert [(found.frame, found.source, found.payload) for found in segments] == [(4, ("192.0.2.1", 40000), PAYLOAD)]


def test_fragments_within_fragments_end_somewhere() -> None:
    packet = tcp(b"x" * 64)
    frames = fragments(4, packet, [40])
    for level in range(8):
        frames = [part for frame in frames for part in fragments(4, frame, [24], 4, 1000 * level + len(frame))]
    segments, _, reader = read(batch_of(frames, RAW))
    assert segments == []
    assert reader.skipped.malformed > 0


def test_a_cut_first_fragment_gives_what_it_holds() -> None:
    first, second = fragments(4, tcp(PAYLOAD), [1200])
    segments, _, reader = read(batch_of([first[:100], second[:100]], RAW, lengths=[len(first), len(second)]))
    assert [(found.length, found.payload) for found in segments] == [(1180, PAYLOAD[:60])]
    assert reader.skipped.cut == 1


def test_a_cut_first_fragment_of_ipv6_gives_what_it_holds() -> None:
    first, second = fragments(6, tcp(PAYLOAD), [1200])
    segments, _, reader = read(batch_of([first[:128], second[:128]], RAW, lengths=[len(first), len(second)]))
    assert [(found.length, found.payload) for found in segments] == [(1180, PAYLOAD[:60])]
    assert reader.skipped.cut == 1
