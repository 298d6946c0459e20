"""What becomes of a capture: which packets are made, and which frames stay."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from socks5sniff.decap import Decapped, decap
from socks5sniff.payload import survey
from tests.capture.samples import Frame, Row, pcap, read
from tests.payload.looking import written
from tests.traffic import (
    ACK,
    ANSWER,
    CHOICE,
    CLIENT,
    GREETING,
    HTTP,
    PLAIN,
    REPLY,
    REQUEST,
    SERVER,
    START,
    Packet,
    connection,
    datagram,
    six,
)
from tests.wireshark.run import tshark

from .readers import fields, streams, warnings

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
OPENING = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, REQUEST), (SERVER, REPLY)]


def converted(names: Sequence[str | Path], path: Path, others: bool = False) -> Decapped:
    given = [str(name) for name in names]
    with path.open("wb") as file:
        return decap(given, survey(given).tunnels, file, others=others)


def frames_of(path: Path) -> list[Row]:
    rows, error = read(path)
    assert error is None
    return rows


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return tmp_path / "after.pcapng"


def both(path: Path, number: int = 0) -> list[bytes]:
    return [side.octets for side in streams(path, [number])[number]]


class TestTunnels:
    def test_times_and_sizes_are_those_of_the_segments(self, tmp_path: Path, after: Path) -> None:
        packets = connection([*OPENING, (CLIENT, HTTP), (SERVER, ANSWER), (SERVER, b"more"), (CLIENT, HTTP)])
        converted([written(tmp_path, packets)], after)
        rows = fields(after, "frame.time_epoch", "tcp.len", "tcp.flags.str", "tcp.seq", "tcp.ack")
        ms = {packet.time: number for number, packet in enumerate(packets)}
        shown = [(ms[round(float(time) * 1e6) * 1000], int(size), flags.strip("·")) for time, size, flags, *_ in rows]
        begin, first = len(OPENING) + 2, len(OPENING) + 3
        assert shown == [
            *[(begin, 0, "S"), (begin, 0, "A··S"), (begin, 0, "A")],
            *[(first, len(HTTP), "AP"), (first + 1, len(ANSWER), "AP"), (first + 2, 4, "AP"), (first + 2, 0, "A")],
            (first + 3, len(HTTP), "AP"),
            *[(first + 4, 0, "A···F"), (first + 4, 0, "A"), (first + 5, 0, "A···F"), (first + 5, 0, "A")],
        ]

    def test_octets_that_came_before_the_reply_open_it(self, tmp_path: Path, after: Path) -> None:
        said = [
            (CLIENT, GREETING),
            (SERVER, CHOICE),
            (CLIENT, REQUEST),
            (CLIENT, b"early"),
            (SERVER, REPLY),
            (SERVER, b"x"),
        ]
        converted([written(tmp_path, connection(said))], after)
        assert both(after) == [b"early", b"x"]
        assert [row[0] for row in fields(after, "tcp.len")][:5] == ["0", "0", "0", "5", "1"]
        assert warnings(after) == []

    def test_retransmissions_and_disorder_leave_no_trace(self, tmp_path: Path, after: Path) -> None:
        said = [(way, bytes([number]) * 50) for number, way in enumerate([CLIENT, SERVER] * 10)]
        packets = connection([*OPENING, *said])
        chance = random.Random(5)
        data = [packet for packet in packets[7:-3] for _ in range(chance.choice((1, 1, 2)))]
        chance.shuffle(data)
        shuffled = [*packets[:7], *data, *packets[-3:]]
        times = sorted(packet.time for packet in shuffled)
        packets = [replace(packet, time=time) for packet, time in zip(shuffled, times, strict=True)]
        done = converted([written(tmp_path, packets)], after)
        assert both(after) == [b"".join(octets for way, octets in said if way == side) for side in (CLIENT, SERVER)]
        assert done.gaps == 0
        assert warnings(after) == []
        times = [row.time for row in frames_of(after)]
        assert times == sorted(times)

    def test_what_is_missing_is_missing_in_the_sequence_numbers(self, tmp_path: Path, after: Path) -> None:
        packets = connection([*OPENING, (CLIENT, b"a" * 10), (CLIENT, b"b" * 20), (CLIENT, b"c" * 30)])
        packets = [packet for packet in packets if packet.octets != b"b" * 20]
        done = converted([written(tmp_path, packets)], after)
        assert done.gaps == 1
        sent = [row for row in fields(after, "tcp.seq", "tcp.len") if row[1] != "0"]
        assert sent == [["1", "10"], ["31", "30"]]

    def test_what_was_cut_short_is_cut_short(self, tmp_path: Path, after: Path) -> None:
        """Headers take 54 octets; of the segments 46 are there."""
        packets = connection(
            [*OPENING, (CLIENT, b"a" * 100), (SERVER, b"b" * 1400), (SERVER, b"c" * 30), (CLIENT, b"d")]
        )
        converted([written(tmp_path, packets, 100)], after)
        assert [row for row in fields(after, "tcp.seq", "tcp.len", "frame.cap_len") if row[1] != "0"] == [
            ["1", "100", "86"], ["1", "1400", "86"], ["1401", "30", "70"], ["101", "1", "41"],
        ]  # fmt: skip
        assert warnings(after) == []

    def test_larger_segments_than_ip_holds_are_divided(self, tmp_path: Path, after: Path) -> None:
        """As a card or loopback makes them: the IP length is 0 then, and the frame's counts."""
        big = random.Random(1).randbytes(70_000)
        packets = connection([*OPENING, (SERVER, big), (CLIENT, b"thanks")])
        frames = [packet.frame() for packet in packets if packet.octets != big]
        at = next(place for place, packet in enumerate(packets) if packet.octets == big)
        head = bytearray(replace(packets[at], octets=b"").frame())
        head[16:18] = b"\0\0"
        frames.insert(at, bytes(head) + big)
        times = [packet.time for packet in packets]
        before = tmp_path / "big.pcap"
        before.write_bytes(pcap([Frame(*pair) for pair in zip(times, frames, strict=True)]))
        converted([before], after)
        assert both(after) == [b"thanks", big]
        assert warnings(after) == []

    def test_an_open_tunnel_stays_open(self, tmp_path: Path, after: Path) -> None:
        converted([written(tmp_path, connection(PLAIN, closing=False))], after)
        assert not any(set("FR") & set(row[0]) for row in fields(after, "tcp.flags.str"))

    def test_one_side_may_end_long_before_the_other(self, tmp_path: Path, after: Path) -> None:
        packets = connection([*OPENING, (CLIENT, b"ask")], closing=False)
        there, here = packets[-1].sequence + 3, packets[-1].acknowledgment
        packets.append(Packet(CLIENT, ACK | 1, there, here, time=START + 10**9))
        packets.append(Packet(SERVER, ACK, here, there + 1, b"late", START + 2 * 10**9))
        packets.append(Packet(SERVER, ACK | 1, here + 4, there + 1, time=START + 3 * 10**9))
        converted([written(tmp_path, packets)], after)
        assert both(after) == [b"ask", b"late"]
        assert warnings(after) == []

    def test_the_same_port_through_two_proxies(self, tmp_path: Path, after: Path) -> None:
        """At the same time, so that the two would be one connection."""
        one = connection([*OPENING, (CLIENT, b"one"), (SERVER, b"eins")])
        other = connection([*OPENING, (CLIENT, b"other"), (SERVER, b"zwei")], proxy=("10.0.0.8", 1080))
        packets = sorted([*one, *other], key=lambda packet: packet.time)
        converted([written(tmp_path, packets)], after)
        assert sorted(both(after, 0) + both(after, 1)) == [b"eins", b"one", b"other", b"zwei"]
        assert warnings(after) == []

    def test_ports_that_are_used_again_stay(self, tmp_path: Path, after: Path) -> None:
        packets = [*connection(PLAIN), *connection(PLAIN, starts=(70_000, 90_000), begin=START + 60 * 10**9)]
        converted([written(tmp_path, packets)], after)
        assert both(after, 0) == both(after, 1) == [HTTP, ANSWER]
        assert {row[0] for row in fields(after, "tcp.port")} == {"40000|443", "443|40000"}

    def test_gssapi_is_opened_as_far_as_it_can_be(self, after: Path) -> None:
        done = converted([CAPTURES / "gssapi-integrity.pcapng"], after)
        assert (done.connections, done.unread) == (1, 0)
        assert [row[0] for row in fields(after, "http.host", only="http.request")] == ["www.example.test"]

    def test_behind_a_lost_token_nothing_can_be_read(self, tmp_path: Path, after: Path) -> None:
        rows = frames_of(CAPTURES / "gssapi-integrity.pcapng")
        request = next(place for place, row in enumerate(rows) if b"GET / HTTP" in row.octets)
        before = tmp_path / "lost.pcap"
        kept = [Frame(row.time, row.octets, row.length) for row in rows if row is not rows[request]]
        before.write_bytes(pcap(kept, nano=True))
        done = converted([before], after)
        assert (done.connections, done.unread) == (1, 1)
        assert both(after)[0] == b""

    def test_the_peer_of_a_bind_connects_to_the_client(self, after: Path) -> None:
        converted([CAPTURES / "bind.pcapng"], after)
        (syn,) = fields(after, "ip.src", "tcp.srcport", "ip.dst", only="tcp.flags.syn == 1 && tcp.flags.ack == 0")
        assert syn == ["198.51.100.21", "2121", "198.18.0.16"]


class TestNames:
    def names(self, after: Path, field: str) -> set[str]:
        rows = tshark(after, "-N", "n", "-T", "fields", "-e", field, lua=False).splitlines()
        return {row for row in rows if row}

    def test_wireshark_shows_them(self, tmp_path: Path, after: Path) -> None:
        for version in (4, 6):
            packets = connection(PLAIN)
            converted([written(tmp_path, six(packets) if version == 6 else packets)], after)
            field = "ip.dst_host" if version == 4 else "ipv6.dst_host"
            assert "example.com" in self.names(after, field)

    def test_hostile_ones_are_escaped(self, tmp_path: Path, after: Path) -> None:
        """Of a name with an escape sequence in it nothing reaches a terminal."""
        name = b"\x1b[31mred\x00\n.example"
        request = b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x01\xbb"
        packets = connection([(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, request), *PLAIN[3:]])
        converted([written(tmp_path, packets)], after)
        assert rb"\x1b[31mred\x00\n.example" in after.read_bytes()
        assert b"\x1b" not in after.read_bytes().replace(b"\\x1b", b"")

    def test_a_name_that_is_an_address_is_that_address(self, after: Path) -> None:
        converted([CAPTURES / "domain-ip-literal.pcapng"], after)
        assert "198.51.100.80" in {row[0] for row in fields(after, "ip.dst")}


class TestDatagrams:
    def test_they_go_where_their_headers_say(self, after: Path) -> None:
        import socks5sniff

        names = [CAPTURES / f"udp-{name}.pcapng" for name in ("destinations", "name", "ipv6", "two", "over-tcp")]
        done = converted(names, after)
        wanted: Counter[tuple[str, int]] = Counter()
        for record in socks5sniff.read(names):
            assert record.udp is not None
            for place in record.udp.destinations:
                wanted[place.host, place.port] += place.datagrams_sent + place.datagrams_received
        columns = ("ip.src_host", "ip.dst_host", "ipv6.src_host", "ipv6.dst_host", "udp.srcport", "udp.dstport")
        orders = [part for name in columns for part in ("-e", name)]
        found: Counter[tuple[str, int]] = Counter()
        for line in tshark(after, "-N", "n", "-T", "fields", *orders, lua=False).splitlines():
            *hosts, source, destination = line.split("\t")
            ends = list(zip([host for host in hosts if host], map(int, (source, destination)), strict=True))
            found.update(end for end in ends if end in wanted)
        assert done.datagrams == sum(wanted.values()) == sum(found.values())
        assert found == wanted

    def test_fragments_are_put_together_or_counted(self, after: Path) -> None:
        whole = converted([CAPTURES / "udp-fragments.pcapng"], after)
        assert (whole.datagrams, whole.lost) == (2, 0)
        (asked,), (echoed,) = fields(after, "udp.payload")
        assert (asked, len(asked)) == (echoed, 2 * 300)
        assert converted([CAPTURES / "udp-fragments-unfinished.pcapng"], after).lost == 2


class TestOthers:
    def test_all_else_is_copied_as_it_is(self, tmp_path: Path, after: Path) -> None:
        """Two conversations, one of which was refused, and traffic that has nothing to do with them."""
        refused = connection([*OPENING[:3], (SERVER, b"\x05\x05\x00\x01" + bytes(6))], client=("10.0.0.2", 40_000))
        carried = connection(PLAIN, begin=START + 500)
        other = [
            (START + number * 777_777, datagram(("10.0.0.3", 9), ("10.0.0.4", 9), b"x" * number))
            for number in range(20)
        ]
        mine = [(packet.time, packet.frame()) for packet in (*refused, *carried)]
        before = tmp_path / "before.pcap"
        before.write_bytes(pcap([Frame(*frame) for frame in sorted(mine + other)], nano=True))
        done = converted([before], after, others=True)
        rows = frames_of(after)
        kept = sorted([(packet.time, packet.frame()) for packet in refused] + other)
        assert [(row.time, row.octets) for row in rows if (row.time, row.octets) in set(kept)] == kept
        assert (done.others, done.connections, done.mixed) == (len(kept), 1, False)
        assert {row.link_type for row in rows} == {1}
        assert [row.time for row in rows] == sorted(row.time for row in rows)
        mine_now = [row for row in rows if (row.time, row.octets) not in set(kept)]
        assert len(mine_now) == 3 + 2 + 4
        converted([before], after)
        assert [row.octets for row in frames_of(after)] == [row.octets[14:] for row in mine_now]

    def test_link_types_that_packets_cannot_be_given(self, tmp_path: Path, after: Path) -> None:
        before = tmp_path / "ppp.pcap"
        frames = [Frame(packet.time, b"\xff\x03\x00\x21" + packet.frame()[14:]) for packet in connection(PLAIN)]
        frames.append(Frame(START + 10**9, b"\xff\x03\xc0\x21" + bytes(8)))
        before.write_bytes(pcap(frames, nano=True, link=9))
        done = converted([before], after, others=True)
        assert (done.connections, done.others, done.mixed) == (1, 1, True)
        assert sorted({row.link_type for row in frames_of(after)}) == [9, 101]

    def test_a_capture_without_tunnels_is_copied(self, tmp_path: Path, after: Path) -> None:
        frames = [Frame(START + number, datagram(("10.0.0.3", 9), ("10.0.0.4", 9), b"x")) for number in range(5)]
        before = tmp_path / "before.pcap"
        before.write_bytes(pcap(frames, nano=True))
        assert converted([before], after, others=True).others == 5
        assert [(row.time, row.octets) for row in frames_of(after)] == [(one.time, one.octets) for one in frames]
