"""The second look delivers what the records counted: each octet once, in order, holes as gaps of known length."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.analysis import Analyser
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.merge import open_captures
from socks5sniff.errors import DamagedInputError, InputError
from socks5sniff.payload import CLIENT, DESTINATION, second_look, survey
from socks5sniff.payload import look as look_module
from socks5sniff.payload import waiting as waiting_module
from socks5sniff.payload.look import _Look
from tests.analysis.test_net import cut as cut_frames
from tests.analysis.test_net import whole
from tests.traffic import ACK, PLAIN, PSH, SERVER, SYN, Packet, connection, cut, six

from .looking import CAPTURES, Looked, written

HANDSHAKE = PLAIN[:4]


def test_the_octets_delivered_are_those_that_records_count() -> None:
    """Of all captures; gaps count, as they do in the record."""
    carrying = 0
    for path in CAPTURES:
        looked = Looked([str(path)])
        for place, tunnel in enumerate(looked.tunnels):
            c = tunnel.conversation
            assert (c.bytes is not None or tunnel.enclosed) == tunnel.carries, path
            streams = [looked.octets(place, direction) for direction in (CLIENT, DESTINATION)]
            if c.bytes is not None:
                carrying += 1
                assert (len(streams[0]), len(streams[1])) == (c.bytes.sent, c.bytes.received) == tunnel.end, path
            assert (looked.gaps(place, CLIENT), looked.gaps(place, DESTINATION)) == tunnel.missing, path
            if c.udp is not None and tunnel.framing is None:
                found = [datagram.direction for datagram in looked.datagrams[place]]
                counted = c.udp.datagrams_sent, c.udp.datagrams_received
                assert (found.count(CLIENT), found.count(DESTINATION)) == counted, path
                assert tunnel.datagram_count == len(found)
                sizes = [0, 0]
                for datagram in looked.datagrams[place]:
                    sizes[datagram.direction] += len(datagram.octets)
                assert sizes == [c.udp.bytes_sent, c.udp.bytes_received], path
            for direction in (CLIENT, DESTINATION):
                at = 0
                for chunk in looked.chunks[place, direction]:
                    assert chunk.offset == at
                    assert chunk.frame <= c.last_frame
                    at += chunk.length
    assert carrying > 90


def test_what_goes_in_readable_tokens_is_unwrapped() -> None:
    by_name = {
        path.stem: Looked([str(path)]) for path in CAPTURES if path.stem in ("gssapi-integrity", "connect-domain")
    }
    plain, enclosed = by_name["connect-domain"], by_name["gssapi-integrity"]
    assert enclosed.tunnels[0].enclosed
    for direction in (CLIENT, DESTINATION):
        assert enclosed.octets(0, direction) == plain.octets(0, direction) != b""


def test_a_chain_gives_each_tunnel_its_own_octets() -> None:
    looked = Looked([next(str(path) for path in CAPTURES if path.stem == "chain-of-three")])
    inner = [place for place, tunnel in enumerate(looked.tunnels) if tunnel.extent.depth == 3]
    assert inner
    for place in inner:
        assert looked.octets(place, CLIENT).startswith(b"GET / HTTP/1.1\r\n")
        outer = looked.tunnels[place].conversation.parent
        around = next(p for p, tunnel in enumerate(looked.tunnels) if tunnel.conversation.id == outer)
        assert looked.octets(around, CLIENT).endswith(looked.octets(place, CLIENT))


@pytest.mark.parametrize("name", ["fwd-udp-split", "udp-over-tcp-split", "udp-over-tcp-announced-split"])
def test_datagrams_inside_tcp_are_delivered_whole(name: str) -> None:
    looked = Looked([next(str(path) for path in CAPTURES if path.stem == name)])
    udp = looked.tunnels[0].conversation.udp
    assert udp is not None
    found = looked.datagrams[0]
    assert len(found) == udp.datagrams_sent + udp.datagrams_received
    assert sum(len(datagram.octets) for datagram in found) == udp.bytes_sent + udp.bytes_received
    assert all(len(datagram.octets) == datagram.length for datagram in found)


def said(rng: random.Random, count: int) -> list[tuple[int, bytes]]:
    """A tunnel's octets as segments that both sides say in turn."""
    return [(rng.randrange(2), rng.randbytes(rng.randrange(1, 300))) for _ in range(count)]


def shaken(packets: list[Packet], rng: random.Random, far: int) -> Iterator[Packet]:
    """The packets behind the handshake cut, some of them twice, and each moved by up to `far` places."""
    fixed, rest = packets[:7], packets[7:]
    pieces = list(cut(rest, [rng.randrange(1, 120) for _ in range(200)]))
    places = [(place + rng.randrange(far), packet) for place, packet in enumerate(pieces)]
    places += [(place + rng.randrange(2 * far), packet) for place, packet in enumerate(pieces) if rng.random() < 0.3]
    yield from fixed
    for number, (_, packet) in enumerate(sorted(places, key=lambda entry: entry[0]), 1):
        yield replace(packet, time=fixed[-1].time + number * 1000)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), far=st.integers(1, 60), version=st.sampled_from([4, 6]))
def test_any_order_and_repetition_give_the_same_octets(
    tmp_path_factory: pytest.TempPathFactory, seed: int, far: int, version: int
) -> None:
    rng = random.Random(seed)
    tunnel = said(rng, 12)
    start = rng.choice([1000, (1 << 32) - 700])
    packets = connection([*HANDSHAKE, *tunnel], starts=(start, 5000), closing=False)
    packets = list(shaken(packets, rng, far))
    looked = Looked([written(tmp_path_factory.mktemp("any"), six(packets) if version == 6 else packets)])
    for direction in (CLIENT, DESTINATION):
        assert looked.octets(0, direction) == b"".join(octets for side, octets in tunnel if side == direction)
        assert looked.gaps(0, direction) == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), far=st.integers(1, 30))
def test_what_is_lost_is_missing_where_it_was_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, seed: int, far: int
) -> None:
    """An octet is delivered exactly when a segment with it is in the capture, and a gap never has octets."""
    rng = random.Random(seed)
    tunnel = said(rng, 14)
    packets = list(shaken(connection([*HANDSHAKE, *tunnel], closing=True), rng, far))
    kept = [packet for packet in packets if len(packet.octets) == 0 or packet in packets[:7] or rng.random() < 0.7]
    looked = Looked([written(tmp_path_factory.mktemp("lost"), kept)])
    for direction, handshake in ((CLIENT, 21), (DESTINATION, 12)):
        whole = b"".join(octets for side, octets in tunnel if side == direction)
        base = (1001, 5001)[direction] + handshake
        there = bytearray(len(whole))
        for packet in kept:
            begin = packet.sequence - base
            if packet.side == direction and begin >= 0:
                there[begin : begin + len(packet.octets)] = b"\1" * len(packet.octets)
        missing = {offset + n for offset, length in looked.gaps(0, direction) for n in range(length)}
        assert missing == {place for place, seen in enumerate(there) if not seen}
        expected = bytes(octet if seen else 0 for octet, seen in zip(whole, there, strict=True))
        assert looked.octets(0, direction) == expected


def test_a_hole_is_told_where_it_is_and_before_what_comes_behind_it(tmp_path: Path) -> None:
    tunnel = [(SERVER, b"a" * 100), (SERVER, b"b" * 100), (SERVER, b"c" * 100)]
    packets = connection([*HANDSHAKE, *tunnel])
    del packets[8]
    chunks = Looked([written(tmp_path, packets)]).chunks[0, DESTINATION]
    assert [(chunk.offset, chunk.length, chunk.octets is None) for chunk in chunks] == [
        (0, 100, False),
        (100, 100, True),
        (200, 100, False),
    ]
    assert chunks[1].frame == chunks[2].frame


def test_the_end_is_known_from_a_fin_and_from_what_is_acknowledged(tmp_path: Path) -> None:
    tunnel = [(SERVER, b"a" * 100), (SERVER, b"b" * 50)]
    whole = connection([*HANDSHAKE, *tunnel])
    for name, packets in (
        ("fin", [packet for packet in whole if packet.octets != b"b" * 50]),
        ("ack", [*whole[:8], Packet(CLIENT, ACK, whole[9].sequence, whole[9].acknowledgment, b"", whole[9].time)]),
    ):
        (tmp_path / name).mkdir()
        looked = Looked([written(tmp_path / name, packets)])
        assert looked.gaps(0, DESTINATION) == [(100, 50)], name
        assert looked.tunnels[0].missing == ([], [(100, 50)])


def test_a_fin_ends_a_stream_whatever_its_number(tmp_path: Path) -> None:
    """Also behind the last sequence number there is, where the next one is 0."""
    said = [*HANDSHAKE, (CLIENT, b"question"), (SERVER, b"answer")]
    ends = [sum(len(octets) for side, octets in said if side == each) + 2 for each in (CLIENT, SERVER)]
    packets = connection(said, starts=((1 << 32) - ends[CLIENT], (1 << 32) - ends[SERVER]))
    looked = Looked([written(tmp_path, packets)])
    assert (looked.octets(0, CLIENT), looked.octets(0, DESTINATION)) == (b"question", b"answer")
    assert looked.tunnels[0].missing == ([], [])



def test_octets_that_were_not_captured_are_missing_unless_another_copy_has_them(tmp_path: Path) -> None:
    packets = connection([*HANDSHAKE, (SERVER, b"a" * 300)])
    looked = Looked([written(tmp_path, packets, captured=154)])
    assert looked.gaps(0, DESTINATION) == [(100, 200)]
    assert looked.tunnels[0].extent.cut
    again = packets[7]
    pieces = [
        replace(again, sequence=again.sequence + at, octets=again.octets[at : at + 100], time=again.time + at)
        for at in (100, 200)
    ]
    looked = Looked([written(tmp_path, [*packets[:8], *pieces, *packets[8:]], captured=154)])
    assert looked.gaps(0, DESTINATION) == []
    assert looked.octets(0, DESTINATION) == b"a" * 300


def test_two_connections_of_the_same_endpoints_keep_their_own(tmp_path: Path) -> None:
    first = connection([*HANDSHAKE, (SERVER, b"first")])
    second = connection([*HANDSHAKE, (SERVER, b"second")], starts=(900_000, 700_000), begin=first[-1].time + 1_000_000)
    looked = Looked([written(tmp_path, [*first, *second])])
    assert [looked.octets(place, DESTINATION) for place in (0, 1)] == [b"first", b"second"]
    only = Looked([written(tmp_path, [*first, *second])], chosen=looked.tunnels[1:])
    assert only.octets(0, DESTINATION) == b"second"


def test_what_waits_for_its_turn_may_wait_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "IN_MEMORY", 1000)
    parts = [bytes([number]) * 500 for number in range(1, 9)]
    packets = connection([*HANDSHAKE, *((SERVER, part) for part in parts)])
    late = [*packets[:7], *packets[8:15], packets[7], *packets[15:]]
    looked = Looked([written(tmp_path, late)])
    assert looked.octets(0, DESTINATION) == b"".join(parts)
    assert [chunk.frame for chunk in looked.chunks[0, DESTINATION]] == [15, 8, 9, 10, 11, 12, 13, 14]


def test_a_syn_that_comes_late_in_the_file_is_right_about_the_beginning(tmp_path: Path) -> None:
    packets = connection([*HANDSHAKE, (CLIENT, b"question"), (SERVER, b"answer")])
    late = [*packets[1:4], packets[0], *packets[4:]]
    looked = Looked([written(tmp_path, late)])
    assert (looked.octets(0, CLIENT), looked.octets(0, DESTINATION)) == (b"question", b"answer")


def test_addresses_of_others_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "MAX_ADDRESSES", 50)
    mine = connection([*HANDSHAKE, *((SERVER, bytes([number]) * 10) for number in range(40))])
    others = [
        replace(packet, time=mine[-1].time - number)
        for number in range(200)
        for packet in connection([(CLIENT, b"x")], client=(f"10.1.{number}.1", 5), proxy=(f"10.2.{number}.1", 6))[:1]
    ]
    packets = six(sorted([*mine, *others], key=lambda packet: packet.time))
    path = written(tmp_path, packets)
    look = _Look(survey([path]).tunnels)
    octets = b""
    for frames in cut_frames(whole(Path(path)), 16):
        octets += b"".join(bytes(chunk.octets or b"") for chunk in look.take(frames).chunks.each())
        assert len(look._reader.addresses) <= 50 + 32
    assert octets == b"".join(bytes([number]) * 10 for number in range(40))


def test_frames_of_chosen_conversations_are_told(tmp_path: Path) -> None:
    one = connection([*HANDSHAKE, (SERVER, b"one")])
    other = connection([*HANDSHAKE, (SERVER, b"other")], client=("10.0.0.2", 40001))
    packets = sorted([*one, *other], key=lambda packet: packet.time)
    path = written(tmp_path, packets)
    chosen = survey([path]).tunnels[:1]
    belonging = [bool(mine) for delivered in second_look([path], chosen, whole=True) for mine in delivered.belonging]
    assert belonging == [packet.ends == one[0].ends for packet in packets]


def test_a_capture_that_ends_too_early_gives_what_there_is(tmp_path: Path) -> None:
    path = Path(written(tmp_path, connection([*HANDSHAKE, (SERVER, b"a" * 100), (SERVER, b"b" * 100)])))
    path.write_bytes(path.read_bytes()[:-230])
    looked = Looked([str(path)])
    assert isinstance(looked.survey.fault, DamagedInputError)
    assert looked.octets(0, DESTINATION) == b"a" * 100


def test_a_capture_that_changes_between_the_looks_is_an_error(tmp_path: Path) -> None:
    packets = connection([*HANDSHAKE, (SERVER, b"a" * 100), (SERVER, b"b" * 100), (SERVER, b"c")])
    path = written(tmp_path, packets)
    tunnels = survey([path]).tunnels
    written(tmp_path, [*packets[:8], *packets[9:]])
    with pytest.raises(InputError, match="changed while it was read"):
        list(second_look([path], tunnels))


def test_memory_does_not_grow_with_a_hole(tmp_path: Path) -> None:
    """Nothing waits behind octets that are nowhere in the capture."""
    parts = [(SERVER, b"x" * 1000)] * 300
    packets = connection([*HANDSHAKE, *parts])
    del packets[8]
    path = written(tmp_path, packets)
    found = survey([path])
    look = _Look(found.tunnels)
    for frames in open_captures([path]):
        look.take(frames)
    assert look._assembly._waiting.keys == []


def test_flags_alone_deliver_nothing(tmp_path: Path) -> None:
    packets = connection([*HANDSHAKE])
    extra = [Packet(SERVER, SYN | ACK, 5000, 1001, b"", packets[-1].time + 1), Packet(SERVER, PSH | ACK, 5013, 1022)]
    looked = Looked([written(tmp_path, [*packets, *extra])])
    assert looked.order == []


def extents(batches: Iterable[FrameBatch], put_away: bool) -> list[dict[str, object]]:
    """Where tunnels lie, as the analyser says of these batches."""
    analyser = Analyser(extents=True)
    found = []
    for batch in batches:
        found += analyser.take(batch)
        if put_away:
            analyser = pickle.loads(pickle.dumps(analyser))
    found += analyser.finish()
    assert analyser.connections.extents is not None
    streams = sorted({record.tcp_stream for part in found for record in part})
    taken = [analyser.connections.extents.take(stream, depth) for stream in streams for depth in (1, 2, 3)]
    return [asdict(extent) for extent in taken if extent is not None]


SMALL = [path for path in CAPTURES if path.stem.startswith(("tcp-", "gssapi-", "chain"))]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_where_tunnels_lie_does_not_depend_on_where_batches_end(path: Path) -> None:
    frames = whole(path)
    expected = extents(frames, False)
    assert extents(cut_frames(frames, 1), False) == expected
    assert extents(cut_frames(frames, 7), True) == expected


def test_holes_are_where_they_are_also_where_later_octets_come_first(tmp_path: Path) -> None:
    """And the connection's beginning in another batch than those."""
    said = [(CLIENT, b"a" * 100), (CLIENT, b"b" * 50), (SERVER, b"c" * 70), (SERVER, b"d" * 30)]
    packets = connection([*HANDSHAKE, *said])
    request, reply = packets[5:7]
    path = written(tmp_path, [request, reply, *packets[:5], packets[8], *packets[10:]])
    assert survey([path]).tunnels[0].missing == ([(0, 100)], [(0, 70)])
    frames = whole(Path(path))
    assert extents(cut_frames(frames, 1), False) == extents(frames, False)
