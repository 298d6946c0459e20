"""Names that a client resolved itself: DNS answers it was given before it asks a proxy for one of their addresses."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.analysis import names as names_module
from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.analysis.names import read_answer
from socks5sniff.record import Conversation
from tests.traffic import (
    ANSWER,
    CHOICE,
    CLIENT,
    GREETING,
    HTTP,
    REPLY,
    SECOND,
    SERVER,
    START,
    Packet,
    analyse,
    batches,
    connection,
    cut,
    datagram,
)

from .test_associations import PROXY, REMOTE, address, associate, exchange

NAME = "www.example.test"
FOUR, SIX = "198.51.100.80", "2001:db8::80"
ONE, OTHER = "10.0.0.1", "10.0.0.2"
BEFORE, AFTER = START - SECOND, START + 4_500_000
"""Before a conversation that begins at START, and between its method selection and its request."""

Frame = tuple[int, bytes]
DNS = dpkt.dns


def packed(host: str) -> bytes:
    return ip_address(host).packed


def response(name: str, *addresses: str, aliases: tuple[str, ...] = ()) -> bytes:
    """An answer made by dpkt, which compresses names: aliases one after the other, then their addresses."""
    owners = [name, *aliases]
    records = [
        DNS.DNS.RR(name=owner, type=DNS.DNS_CNAME, cname=alias) for owner, alias in zip(owners, aliases, strict=False)
    ]
    for host in addresses:
        if ":" in host:
            records.append(DNS.DNS.RR(name=owners[-1], type=DNS.DNS_AAAA, ip6=packed(host)))
        else:
            records.append(DNS.DNS.RR(name=owners[-1], type=DNS.DNS_A, ip=packed(host)))
    return bytes(DNS.DNS(id=7, op=0x8180, qd=[DNS.DNS.Q(name=name)], an=records))


def told(octets: bytes, client: str = ONE, time: int = BEFORE) -> Frame:
    """A DNS server's datagram to a client."""
    return time, datagram(("192.0.2.53", 53), (client, 51_515), octets)


def asking(host: str, port: int = 80, **how: int) -> list[Packet]:
    """A conversation whose client asks for this address."""
    return connection(
        [
            (CLIENT, GREETING),
            (SERVER, CHOICE),
            (CLIENT, b"\5\1\0" + address(host, port)),
            (SERVER, REPLY),
            (CLIENT, HTTP),
            (SERVER, ANSWER),
        ],
        **how,  # type: ignore[arg-type]
    )


def frames_of(*parts: list[Packet] | Frame) -> list[Frame]:
    """All of it in time order."""
    frames: list[Frame] = []
    for part in parts:
        frames += [part] if isinstance(part, tuple) else [(packet.time, packet.frame()) for packet in part]
    return sorted(frames, key=lambda frame: frame[0])


def read(*parts: list[Packet] | Frame) -> Conversation:
    """The one conversation in it."""
    (record,) = analyse(frames_of(*parts))
    return record


def leaks(record: Conversation) -> list[tuple[int, str]]:
    """Frames, and messages without the answer's frame and age."""
    found = [anomaly for anomaly in record.anomalies if anomaly.code == "local-dns"]
    return [(anomaly.frame, anomaly.message.partition(" (frame")[0]) for anomaly in found]


class TestWhatCounts:
    @pytest.mark.parametrize("host", [FOUR, SIX])
    def test_an_answer_before_the_request(self, host: str) -> None:
        """The anomaly is the request's, which is the seventh frame here."""
        record = read(told(response(NAME, host)), asking(host))
        assert record.name_resolution == "local"
        assert [tuple(anomaly) for anomaly in record.anomalies] == [
            (
                "local-dns",
                "warning",
                7,
                f"a DNS answer gave {host} for {NAME} (frame 1, 1.005 s before the request)",
            )
        ]
        assert [frame.frame for frame in record.frames if frame.type == "request"] == [7]

    def test_an_answer_while_the_conversation_runs(self) -> None:
        assert leaks(read(told(response(NAME, FOUR), time=AFTER), asking(FOUR)))

    def test_one_of_several_addresses(self) -> None:
        assert leaks(read(told(response(NAME, SIX, "198.51.100.81", FOUR)), asking(FOUR)))

    def test_through_aliases(self) -> None:
        """The name that was asked for counts, not the last alias."""
        octets = response(NAME, FOUR, aliases=("edge.example.net", "a.edge.example.net"))
        assert leaks(read(told(octets), asking(FOUR))) == [(7, f"a DNS answer gave {FOUR} for {NAME}")]

    def test_the_first_of_two_names(self) -> None:
        others = told(response(NAME, FOUR)), told(response("late.example.test", FOUR), time=BEFORE + 1)
        assert leaks(read(*others, asking(FOUR))) == [(8, f"a DNS answer gave {FOUR} for {NAME}")]

    def test_a_name_of_hostile_octets(self) -> None:
        """It is decoded as any text from the wire; escaping is for those who print it."""
        octets = response("ab", FOUR).replace(b"\2ab\0", b"\2\x1b\xff\0")
        assert leaks(read(told(octets), asking(FOUR))) == [(7, f"a DNS answer gave {FOUR} for \x1b\\xff")]

    @pytest.mark.parametrize("command", [1, 2])
    def test_socks4(self, command: int) -> None:
        request = bytes([4, command]) + b"\0\x50" + packed(FOUR) + b"me\0"
        said = [(CLIENT, request), (SERVER, b"\0\x5a\0\x50" + packed(FOUR))]
        record = read(told(response(NAME, FOUR)), connection(said))
        assert (record.protocol, record.name_resolution) == ("socks4", "local")
        assert leaks(record) == [(5, f"a DNS answer gave {FOUR} for {NAME}")]

    def test_in_a_tunnel_to_another_proxy(self) -> None:
        """The client asks the second proxy for it; that it asks the first one by name changes nothing."""
        first = b"\5\1\0\3\5proxy\4\x38"
        said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, first), (SERVER, REPLY)]
        said += [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\1\0" + address(FOUR, 80)), (SERVER, REPLY)]
        outer, inner = analyse(frames_of(told(response(NAME, FOUR)), connection([*said, (CLIENT, HTTP)])))
        assert (outer.name_resolution, leaks(outer), inner.parent) == ("remote", [], outer.id)
        assert (inner.name_resolution, leaks(inner)) == ("local", [(11, f"a DNS answer gave {FOUR} for {NAME}")])

    def test_between_ipv6_addresses(self) -> None:
        frames = frames_of(told(response(NAME, FOUR)), asking(FOUR))
        (record,) = analyse([(time, over_ipv6(frame)) for time, frame in frames])
        assert record.client.address == "2001:db8::a00:1"
        assert leaks(record)

    def test_a_request_that_is_rejected(self) -> None:
        """Anomalies are in the order of their frames, also with one that only the end of the capture tells."""
        said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\1\0" + address(FOUR, 80))]
        refused = connection([*said, (SERVER, b"\5\5\0" + address("0.0.0.0", 0))], closing=False)
        late = told(b"", time=START + 60 * SECOND)
        record = read(told(response(NAME, FOUR)), refused, late)
        assert [anomaly.code for anomaly in record.anomalies] == ["local-dns", "late-close"]


def over_ipv6(frame: bytes) -> bytes:
    """An Ethernet frame with IPv4 as one with IPv6, the addresses put behind 2001:db8::."""
    prefix = packed("2001:db8::")[:12]
    header = struct.pack(">IHBB", 6 << 28, len(frame) - 34, frame[23], 64)
    return frame[:12] + b"\x86\xdd" + header + prefix + frame[26:30] + prefix + frame[30:34] + frame[34:]


class TestWhatDoesNotCount:
    def test_no_answer(self) -> None:
        record = read(asking(FOUR))
        assert (record.name_resolution, record.anomalies) == ("address", [])

    @pytest.mark.parametrize(
        "frame",
        [
            pytest.param(told(response(NAME, FOUR), OTHER), id="another client's"),
            pytest.param(told(response(NAME, FOUR), time=START + 5_500_000), id="after the request"),
            pytest.param(told(response(NAME, "198.51.100.81")), id="another address"),
            pytest.param(told(response(NAME)), id="no address"),
            pytest.param((BEFORE, datagram((ONE, 53), (REMOTE[0], 53), response(NAME, FOUR))), id="by the client"),
            pytest.param((BEFORE, datagram((PROXY, 5353), (ONE, 53), response(NAME, FOUR))), id="from another port"),
        ],
    )
    def test_an_answer_that_is_not_this_requests(self, frame: Frame) -> None:
        record = read(frame, asking(FOUR))
        assert (record.name_resolution, record.anomalies) == ("address", [])

    @pytest.mark.parametrize("name", [NAME, FOUR])
    def test_a_request_by_name(self, name: str) -> None:
        """Also one whose name looks like an address."""
        request = b"\5\1\0\3" + bytes([len(name)]) + name.encode() + b"\0\x50"
        said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, request), (SERVER, REPLY), (CLIENT, HTTP)]
        record = read(told(response(NAME, FOUR)), connection(said))
        assert record.name_resolution == "remote"
        assert leaks(record) == []

    def test_socks4a(self) -> None:
        said = [(CLIENT, b"\4\1\0\x50\0\0\0\1\0" + NAME.encode() + b"\0"), (SERVER, b"\0\x5a" + bytes(6))]
        record = read(told(response(NAME, "0.0.0.1", FOUR)), connection(said))
        assert (record.protocol, record.name_resolution, leaks(record)) == ("socks4a", "remote", [])

    @pytest.mark.parametrize("declared", ["0.0.0.0", "::", ONE])
    def test_the_address_of_an_association(self, declared: str) -> None:
        """It is where the client sends from."""
        said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\3\0" + address(declared, 0))]
        talk = connection([*said, (SERVER, b"\5\0\0" + address(PROXY, 3000))])
        record = read(told(response(NAME, declared)), talk)
        assert (record.command, record.name_resolution, leaks(record)) == ("udp-associate", "address", [])

    @pytest.mark.parametrize(("command", "resolution"), [(1, "local"), (2, "address"), (5, "address")])
    def test_an_unspecified_address_unless_it_is_to_be_connected_to(self, command: int, resolution: str) -> None:
        """Filters answer with it."""
        said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, bytes([5, command, 0]) + address("0.0.0.0", 80))]
        record = read(told(response(NAME, "0.0.0.0")), connection([*said, (SERVER, REPLY)]))
        assert (record.name_resolution, len(leaks(record))) == (resolution, resolution == "local")

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_an_answer_that_went_through_an_association(self, size: int) -> None:
        """Client and proxy on one machine: the answer to the relay is to the client's address, and not to the client.

        And one whose relay is at port 53, with a FRAG that makes it look like an answer.
        """
        machine = "127.0.0.1"
        octets = response(NAME, FOUR)
        for relay, source, destination, sent in (
            ((machine, 3000), REMOTE, (machine, 3000), octets),
            ((machine, 53), (machine, 53), (machine, 50_000), b"\0\0\x81\1" + octets[4:]),
        ):
            frames = frames_of(
                associate((machine, 40_000), relay, proxy=machine, closing=False),
                *exchange((machine, 50_000), relay),
                (START + SECOND, datagram(source, destination, sent)),
                asking(FOUR, client=(machine, 40_001), proxy=(machine, 1080), begin=START + 2 * SECOND),
            )
            records = analyse(frames, [size] * (len(frames) // size))
            assert [record.command for record in records] == ["udp-associate", "connect"]
            assert [leaks(record) for record in records] == [[], []]


class TestHoweverItIsRead:
    SAID = (
        told(response(NAME, FOUR)),
        told(response("late.example.test", FOUR), time=AFTER),
        told(response("other.example.test", SIX), time=AFTER),
        asking(FOUR),
        asking(SIX, client=(ONE, 40_001), begin=START + 1),
        asking(SIX, client=(OTHER, 40_002), begin=START + 2),
        asking(FOUR, client=(ONE, 40_003), begin=START + 9 * SECOND),
    )

    @given(sizes=st.lists(st.integers(1, 20), max_size=20))
    def test_any_batches_give_the_same(self, sizes: list[int]) -> None:
        frames = frames_of(*self.SAID)
        assert analyse(frames, sizes) == analyse(frames)
        assert [record.name_resolution for record in analyse(frames, sizes)] == ["local", "local", "address", "local"]

    @given(pieces=st.lists(st.integers(1, 12), max_size=40))
    def test_any_segments_give_the_same(self, pieces: list[int]) -> None:
        """But for the request's frame number, of course."""
        record = read(told(response(NAME, FOUR)), list(cut(asking(FOUR), pieces)))
        request = next(frame for frame in record.frames if frame.type == "request")
        assert record.name_resolution == "local"
        assert leaks(record) == [(request.frame, f"a DNS answer gave {FOUR} for {NAME}")]

    def test_dialogues_of_a_form_are_no_exception(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those that have a form, and those that a session reads."""
        frames = frames_of(*self.SAID)
        monkeypatch.setattr(handshakes, "FEW", 0)
        fast = [record.as_dict() for record in analyse(frames)]
        monkeypatch.setattr(handshakes, "FEW", 1 << 30)
        slow = [record.as_dict() for record in analyse(frames)]
        assert fast == slow

    def test_news_of_an_open_conversation(self) -> None:
        live = LiveAnalyser()
        (batch,) = batches(frames_of(told(response(NAME, FOUR)), asking(FOUR, closing=False)))
        assert live.take(batch) == []
        (record,) = live.news()
        assert (record.name_resolution, len(leaks(record))) == ("local", 1)

    def test_endpoints_taken_over_in_the_batch_of_the_answer(self) -> None:
        """The record is made in that batch, and has what was learned before."""
        first, again = asking(FOUR, closing=False), asking(FOUR, starts=(70_000, 90_000), begin=START + SECOND)
        records = analyse(frames_of(told(response(NAME, FOUR), time=AFTER), first, again), [2])
        assert [record.name_resolution for record in records] == ["local", "local"]


class TestBounds:
    def test_what_no_answer_has_given_for_longest_is_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names_module, "MAX_LEARNED", 3)
        hosts = [f"198.51.100.{number}" for number in range(5)]
        order = [0, 1, 2, 0, 3]  # 0 is given again, so 1 has to go
        answers = [told(response(f"n{number}.test", hosts[number]), time=BEFORE + i) for i, number in enumerate(order)]
        talks = [asking(host, client=(ONE, 40_000 + number)) for number, host in enumerate(hosts)]
        found = [record.name_resolution for record in analyse(frames_of(*answers, *talks))]
        assert found == ["local", "address", "local", "local", "address"]

    def test_no_more_is_kept_however_many_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names_module, "MAX_LEARNED", 100)
        reading = Analyser()
        hosts = [f"198.18.{number >> 8}.{number & 255}" for number in range(1, 3000)]
        frames = [told(response(NAME, *hosts[i : i + 10])) for i in range(0, len(hosts), 10)]
        for batch in batches(frames, [50] * 6):
            reading.take(batch)
        assert len(reading.records.names) == 100

    def test_only_the_first_octets_of_an_answer_are_read(self) -> None:
        long = response(NAME, *(f"198.18.{number >> 8}.{number & 255}" for number in range(1, 300)), FOUR)
        assert len(long) > names_module.MAX_ANSWER
        assert read(told(long), asking(FOUR)).name_resolution == "address"
        assert read(told(long), asking("198.18.0.9")).name_resolution == "local"


HOSTS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
DOMAINS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
RESPONSES = st.builds(
    lambda name, hosts, aliases: response(name, *hosts, aliases=tuple(aliases)),
    DOMAINS,
    st.lists(HOSTS, max_size=8),
    st.lists(DOMAINS, max_size=3),
)
QUESTION = b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + b"\1a\0\0\1\0\1"
"""An answer as far as its question, for the name `a`; one record should follow."""
RECORD = b"\0\1\0\1\0\0\0\0\0\4" + packed(FOUR)
"""An A record without its owner."""


class TestOneAnswer:
    @given(DOMAINS, st.lists(HOSTS, max_size=8), st.lists(DOMAINS, max_size=3))
    def test_what_another_program_wrote_is_read(self, name: str, hosts: list[str], aliases: list[str]) -> None:
        octets = response(name, *hosts, aliases=tuple(aliases))
        assert read_answer(octets) == (name.encode(), [packed(host) for host in hosts])

    @given(st.binary(max_size=200))
    @example(b"\0\0\x80\0" + b"\xff" * 8)
    @example(b"\0\0\x80\0" + b"\xff" * 8 + bytes(500))
    def test_any_octets_do(self, octets: bytes) -> None:
        name, addresses = read_answer(octets)
        assert len(name) < 255
        assert all(len(host) in (4, 16) for host in addresses)

    @given(RESPONSES, st.data())
    def test_any_damage_does(self, octets: bytes, data: st.DataObject) -> None:
        damaged = bytearray(octets)
        for place in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=6)):
            damaged[place] = data.draw(st.integers(0, 255))
        for host in read_answer(bytes(damaged))[1]:
            assert host in bytes(damaged)

    @given(RESPONSES, st.data())
    def test_of_a_cut_answer_what_is_whole_counts(self, octets: bytes, data: st.DataObject) -> None:
        size = data.draw(st.integers(0, len(octets)))
        name, whole = read_answer(octets)
        begun, found = read_answer(octets[:size])
        assert found == whole[: len(found)]
        assert begun in (name, b"")
        assert size < len(octets) or found == whole

    @pytest.mark.parametrize(
        ("octets", "found"),
        [
            pytest.param(QUESTION + b"\xc0\x0c" + RECORD, [packed(FOUR)], id="owner is the question's name"),
            pytest.param(QUESTION + b"\xc0\x13" + RECORD, [packed(FOUR)], id="owner points to itself"),
            pytest.param(QUESTION + b"\1b\xc0\x13" + RECORD, [packed(FOUR)], id="owner runs in a circle"),
            pytest.param(QUESTION + b"\xff\xff" + RECORD, [packed(FOUR)], id="owner points behind the end"),
            pytest.param(QUESTION + b"\x40" + RECORD, [], id="a label of no known kind"),
            pytest.param(QUESTION + b"\0\0\1\0\3" + RECORD[4:], [], id="another class"),
            pytest.param(QUESTION + b"\0\0\x1c" + RECORD[2:], [], id="AAAA with 4 octets"),
            pytest.param(QUESTION + b"\0" + RECORD[:-1], [], id="cut"),
            pytest.param(QUESTION[:2] + b"\1" + QUESTION[3:] + b"\0" + RECORD, [], id="a query"),
            pytest.param(QUESTION[:5] + b"\0" + QUESTION[6:12] + b"\0" + RECORD, [], id="no question"),
            pytest.param(QUESTION[:12] + b"\xc0\x0c\0\1\0\1\0" + RECORD, [], id="question points to itself"),
            pytest.param(
                QUESTION[:6] + b"\0\0\0\0\0\1" + QUESTION[12:] + b"\0" + RECORD, [packed(FOUR)], id="additional"
            ),
            pytest.param(QUESTION[:6] + b"\xff\xff" * 3 + QUESTION[12:] + b"\0" + RECORD, [packed(FOUR)], id="fewer"),
        ],
    )
    def test_by_hand(self, octets: bytes, found: list[bytes]) -> None:
        assert read_answer(octets)[1] == found

    def test_a_question_for_the_root(self) -> None:
        assert read_answer(QUESTION[:12] + QUESTION[14:] + b"\0" + RECORD) == (b".", [packed(FOUR)])

    def test_a_name_has_at_most_255_octets(self) -> None:
        for labels, name in (([63, 63, 63, 61], True), ([63, 63, 63, 62], False)):
            octets = b"".join(bytes([size]) + b"x" * size for size in labels) + b"\0\0\1\0\1\0"
            assert bool(read_answer(QUESTION[:12] + octets + RECORD)[1]) is name
