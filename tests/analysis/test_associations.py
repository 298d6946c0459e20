"""Whose datagram is it: UDP associations that share a relay, move, or are seen through address translation."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.record import Conversation
from tests.traffic import (
    CHOICE,
    CLIENT,
    GREETING,
    SECOND,
    SERVER,
    START,
    Packet,
    analyse,
    batches,
    connection,
    datagram,
)

from .dialogues import DIALOGUES
from .tunnel_samples import PROXY_V2

ONE, OTHER = "10.0.0.1", "10.0.0.2"
PROXY = "10.0.0.9"
RELAY = (PROXY, 3000)
NAMED = b"\3\x14a-name.example.test." + bytes(2)
"""A name as an address, with port 0."""
LOOPBACK = "127.0.0.1"


def address(host: str, port: int) -> bytes:
    """ATYP, address and port."""
    packed = ip_address(host).packed
    return bytes([1 if len(packed) == 4 else 4]) + packed + struct.pack(">H", port)


def associate(
    client: tuple[str, int] = (ONE, 40_000),
    bound: tuple[str, int] = RELAY,
    declared: int = 0,
    begin: int = START,
    closing: bool = True,
    proxy: str = PROXY,
    host: str = "0.0.0.0",
) -> list[Packet]:
    """The TCP connection of an association; its reply is the seventh packet, 6 ms after the first."""
    talk = [
        (CLIENT, GREETING),
        (SERVER, CHOICE),
        (CLIENT, b"\5\3\0" + address(host, declared)),
        (SERVER, b"\5\0\0" + address(*bound)),
    ]
    return connection(talk, client=client, proxy=(proxy, 1080), begin=begin, closing=closing)


Frame = tuple[int, bytes]
REMOTE = ("8.8.8.8", 53)


def exchange(
    client: tuple[str, int], relay: tuple[str, int] = RELAY, remote: tuple[str, int] = REMOTE, begin: int = START
) -> list[Frame]:
    """A datagram of 5 octets out and one of 9 back, just after the reply of an association that began then."""
    header = b"\0\0\0" + address(*remote)
    time = begin + 6_500_000
    return [
        (time, datagram(client, relay, header + b"query")),
        (time + 1000, datagram(relay, client, header + b"an answer")),
    ]


def read(*talks: list[Packet] | list[Frame]) -> list[Conversation]:
    frames = [(item.time, item.frame()) if isinstance(item, Packet) else item for talk in talks for item in talk]
    return analyse(sorted(frames, key=lambda frame: frame[0]))


def amounts(records: list[Conversation]) -> list[tuple[int, int, int, int]]:
    return [record.udp[:4] for record in records if record.udp is not None]


EACH = (1, 1, 5, 9)


def codes(records: list[Conversation]) -> set[str]:
    return {anomaly.code for record in records for anomaly in record.anomalies}


def test_two_clients_at_one_relay_port() -> None:
    """As of proxies that take all datagrams on one port."""
    records = read(
        associate(closing=False),
        associate((OTHER, 40_000), begin=START + 1, closing=False),
        exchange((ONE, 50_000)),
        exchange((OTHER, 50_000)),
    )
    assert amounts(records) == [EACH, EACH]
    assert codes(records) == set()


@pytest.mark.parametrize("declared", [True, False])
def test_one_client_twice_at_one_relay_port(declared: bool) -> None:
    """The port it declared tells, else the first datagram from a port goes to the first association without one."""
    records = read(
        associate(closing=False, declared=50_000 * declared),
        associate((ONE, 40_001), begin=START + 1, closing=False, declared=50_001 * declared),
        exchange((ONE, 50_000)),
        exchange((ONE, 50_001)),
        exchange((ONE, 50_000), begin=START + SECOND),
    )
    assert amounts(records) == [(2, 2, 10, 18), EACH]


@pytest.mark.parametrize(("host", "tells"), [("0.0.0.0", True), (ONE, True), (OTHER, False)])
def test_a_declared_port_tells_also_where_another_association_is_older(host: str, tells: bool) -> None:
    """Unless it is another address' port."""
    records = read(
        associate(closing=False, declared=50_001, host=host),
        associate((ONE, 40_001), begin=START + 1, closing=False, declared=50_000, host=host),
        exchange((ONE, 50_000)),
        exchange((ONE, 50_001)),
        exchange((ONE, 50_000), begin=START + SECOND),
    )
    assert amounts(records) == [EACH, (2, 2, 10, 18)][:: 1 if tells else -1]


@pytest.mark.parametrize("client", [ONE, OTHER])
def test_one_relay_port_after_the_other(client: str) -> None:
    """The life of the TCP connection tells, also when the next association begins within the slack of clocks."""
    later = START + SECOND // 10
    records = read(
        associate(),
        exchange((ONE, 50_000)),
        associate((client, 40_001), begin=later),
        exchange((client, 50_000), begin=later),
    )
    assert amounts(records) == [EACH, EACH]
    assert codes(records) == set()


def test_a_port_other_than_the_declared_one() -> None:
    """Address translation changes ports; any port of the client's address is the client's."""
    records = read(associate(declared=50_001), exchange((ONE, 50_000)))
    assert amounts(records) == [EACH]
    assert codes(records) == set()


@pytest.mark.parametrize("named", ["192.168.5.5", LOOPBACK])
def test_a_relay_that_names_an_address_of_another_network(named: str) -> None:
    """The proxy is behind address translation and names its inner address; clients use the one they know."""
    assert amounts(read(associate(bound=(named, 3000)), exchange((ONE, 50_000)))) == [EACH]


def test_a_relay_on_another_address() -> None:
    relay = ("10.0.0.77", 3000)
    assert amounts(read(associate(bound=relay), exchange((ONE, 50_000), relay))) == [EACH]


def test_the_record_of_an_association_waits_for_datagrams_after_its_close() -> None:
    """Also where results are wanted as they come: for ten seconds."""
    analyser = Analyser(patience=SECOND)
    talks = [associate(), *(associate((OTHER, 40_000 + after), begin=START + after * SECOND) for after in (4, 12))]
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    frames = sorted(frames + exchange((ONE, 50_000), begin=START + 5 * SECOND))
    found = [record for batch in batches(frames, [1] * len(frames)) for part in analyser.take(batch) for record in part]
    assert [str(record.client) for record in found] == [f"{ONE}:40000"]
    assert amounts(found) == [EACH]
    assert "udp-after-close" in codes(found)


def test_datagrams_to_several_names_are_counted_by_name_and_port() -> None:
    frames = exchange((ONE, 50_000))[:1]
    names = [b"one.example", b"another.example", b"one.example", b"third.example", b"one.example"]
    for number, (name, port) in enumerate(zip(names, (53, 53, 53, 53, 54), strict=True), 1):
        header = b"\0\0\0\3" + bytes([len(name)]) + name + struct.pack(">H", port)
        frames.append((frames[0][0] + number, datagram((ONE, 50_000), RELAY, header + b"query %d" % number)))
    (record,) = read(associate(), frames)
    assert record.udp is not None
    assert [place[:3] for place in record.udp.destinations] == [
        ("8.8.8.8", 53, 1),
        ("one.example", 53, 2),
        ("another.example", 53, 1),
        ("third.example", 53, 1),
        ("one.example", 54, 1),
    ]


@pytest.mark.parametrize("first", [0, 10, 11, 12])
def test_a_relay_that_was_found_is_the_only_one(first: int) -> None:
    """What the client sends to the same port elsewhere is something else."""
    talk = [(packet.time, packet.frame()) for packet in associate(bound=("192.168.5.5", 3000), closing=False)]
    one, other = ("10.0.0.77", 3000), ("10.0.0.78", 3000)
    frames = [*talk, *exchange((ONE, 50_000), one), *exchange((ONE, 50_000), other, begin=START + SECOND)]
    assert amounts(analyse(frames, [first])) == [EACH]


@pytest.mark.parametrize("size", [1, 100])
def test_relays_that_two_associations_lack_are_found_one_after_the_other(size: int) -> None:
    """A datagram shows the relay of one of them: the first that was asked for."""
    relays = [(PROXY, 3000), (PROXY, 3001)]
    talks = [
        associate((ONE, 40_000 + number), ("0.0.0.0", 0), begin=START + number, closing=False) for number in (0, 1)
    ]
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    for number, relay in enumerate(relays):
        frames += exchange((ONE, 50_000 + number), relay, begin=START + 10_000_000 * (number + 1))
    records = analyse(sorted(frames), [size] * 30)
    assert amounts(records) == [EACH, EACH]


def test_a_relay_whose_ipv4_address_is_written_as_ipv6() -> None:
    assert amounts(read(associate(bound=(f"::ffff:{PROXY}", 3000)), exchange((ONE, 50_000)))) == [EACH]


def test_a_stranger_is_named_and_not_counted() -> None:
    records = read(associate(), exchange((ONE, 50_000)), exchange(("10.0.0.66", 50_000))[:1])
    assert amounts(records) == [EACH]
    assert codes(records) == {"udp-unassociated"}


@pytest.mark.parametrize("first", range(13))
def test_datagrams_that_lie_before_the_reply_in_the_file(first: int) -> None:
    """Their times say when they were sent: another interface's packets may come first, in the same batch or not."""
    talk = [(packet.time, packet.frame()) for packet in associate(closing=False)]
    assert amounts(analyse([*exchange((ONE, 50_000)), *talk], [first])) == [EACH]


@pytest.mark.parametrize("first", range(20))
def test_a_stranger_before_all_associations_disturbs_the_first(first: int) -> None:
    talks = associate(closing=False), associate((OTHER, 40_000), begin=START + SECOND // 50, closing=False)
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    time, octets = exchange(("10.0.0.66", 50_000))[0]
    frames.append((time - 2_000_000, octets))
    records = analyse(sorted(frames, key=lambda frame: frame[0]), [first])
    assert [sorted(codes([record])) for record in records] == [["udp-unassociated"], []]


@pytest.mark.parametrize("first", range(22))
def test_a_stranger_between_requests_and_replies_disturbs_the_one_whose_reply_comes_first(first: int) -> None:
    """Though the other one's request came later: that it opens anything is known from its reply on alone."""
    talks = associate(closing=False), associate((OTHER, 40_000), begin=START + 500_000, closing=False)
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    time, octets = exchange(("10.0.0.66", 50_000))[0]
    frames.append((time - 900_000, octets))  # both requests are there, and no reply
    records = analyse(sorted(frames, key=lambda frame: frame[0]), [first])
    assert [sorted(codes([record])) for record in records] == [["udp-unassociated"], []]


@pytest.mark.parametrize("first", range(14))
def test_a_client_whose_datagrams_go_over_the_other_ip_version(first: int) -> None:
    """It is known by its first datagram; what the relay sent there before is nobody's, in the same batch or not."""
    relay, party = ("192.0.2.9", 3000), ("192.0.2.1", 50_000)
    talk = associate(("2001:db8::1", 40_000), bound=relay, proxy="2001:db8::9", closing=False)
    both = [*exchange(party, relay), *exchange(party, relay, begin=START + SECOND)]
    before = both[0][0] - 1000, exchange(party, relay, ("8.8.4.4", 53))[1][1]
    frames = [(packet.time, packet.frame()) for packet in talk] + [before, *both]
    assert amounts(analyse(sorted(frames, key=lambda frame: frame[0]), [first])) == [(2, 2, 10, 18)]


@pytest.mark.parametrize("first", range(13))
def test_what_the_relay_sends_to_a_port_that_the_client_has_not_used_yet(first: int) -> None:
    """Nobody knows then that it is the client's: that it lacks a header says nothing, in the same batch or not."""
    talk = [(packet.time, packet.frame()) for packet in associate(closing=False)]
    sent = exchange((ONE, 50_000))[0]
    before = sent[0] - 1000, datagram(RELAY, (ONE, 50_000), b"no header at all")
    records = analyse([*talk, before, sent], [first])
    assert amounts(records) == [(1, 0, 5, 0)]
    assert codes(records) == {"udp-one-way"}


@pytest.mark.parametrize("first", range(13))
def test_of_two_parties_of_the_other_ip_version_the_first_that_speaks_socks_is_the_client(first: int) -> None:
    """Though the other one had sent before, something else."""
    relay = ("192.0.2.9", 3000)
    talk = associate(("2001:db8::1", 40_000), bound=relay, proxy="2001:db8::9", closing=False)
    other, one = ("192.0.2.7", 50_000), ("192.0.2.1", 50_000)
    times = [exchange(one, relay)[0][0] + number for number in range(3)]
    sent = [datagram(other, relay, b"hello"), *(exchange(party, relay)[0][1] for party in (one, other))]
    frames = [(packet.time, packet.frame()) for packet in talk] + [*zip(times, sent, strict=True)]
    (record,) = analyse(frames, [first], udp_frames=True)
    assert record.frames[-1].frame == len(talk) + 2
    assert [entry.message[:9] for entry in record.anomalies if entry.code == "udp-unassociated"] == ["192.0.2.7"]


@pytest.mark.parametrize("first", range(24))
def test_a_datagram_before_the_reply_disturbs_nobody_else_at_that_relay(first: int) -> None:
    """Until the reply it looks like a stranger's; then it is the client's."""
    talks = associate(closing=False), associate((OTHER, 40_000), begin=START + SECOND, closing=False)
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    early = exchange((OTHER, 50_000), begin=START + SECOND - 2_000_000)[:1]
    frames += [*exchange((ONE, 50_000)), *early, *exchange((OTHER, 50_000), begin=START + SECOND)]
    records = analyse(sorted(frames, key=lambda frame: frame[0]), [first])
    assert amounts(records) == [EACH, (2, 1, 10, 9)]
    assert codes(records) == set()


@pytest.mark.parametrize("first", range(13))
def test_an_answer_from_where_the_client_sends_to_only_later_names_the_client(first: int) -> None:
    """A destination on the client's own machine: what comes from it before is no answer, in the same batch or not."""
    talk = [(packet.time, packet.frame()) for packet in associate(closing=False)]
    out, back = exchange((ONE, 50_000), remote=(ONE, 53))
    named = datagram(RELAY, (ONE, 50_000), b"\0\0\0" + address(ONE, 53) + b"too early")
    frames = [*talk, exchange((ONE, 50_000))[0], (out[0] + 1, named), (out[0] + 2, out[1]), back]
    (record,) = analyse(frames, [first])
    assert [entry.frame for entry in record.anomalies] == [len(talk) + 2]
    assert codes([record]) == {"udp-names-client"}


@pytest.mark.parametrize("fragment", [0, 1, 0x7F, 0x82])
def test_the_list_of_datagrams_says_which_are_fragments(fragment: int) -> None:
    (sent, datagram_), _ = exchange((ONE, 50_000))
    octets = datagram_.replace(b"\0\0\0" + address(*REMOTE), bytes([0, 0, fragment]) + address(*REMOTE))
    (record,) = analyse([*associate(closing=False), (sent, octets)], udp_frames=True)
    suffix = f", fragment {fragment:#04x}" if fragment else ""
    assert record.frames[-1].summary == f"UDP to 8.8.8.8:53, 5 octets{suffix}"


@pytest.mark.parametrize("first", range(28))
def test_a_stranger_disturbs_each_association_that_lives_when_it_sends(first: int) -> None:
    """One after the other at one relay, whether it sends to both in one batch or not."""
    talks = associate(), associate((OTHER, 40_000), begin=START + SECOND)
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    for begin in (START, START + SECOND):
        frames += exchange(("10.0.0.66", 50_000), begin=begin)[:1]
    records = analyse(sorted(frames, key=lambda frame: frame[0]), [first])
    assert [sorted(codes([record])) for record in records] == [["udp-unassociated"], ["udp-unassociated"]]


@pytest.mark.parametrize("first", [0, *range(7, 26)])
def test_a_stranger_disturbs_the_association_that_lives_when_it_sends(first: int) -> None:
    """However packets fall into batches: the next association at that relay is not open yet."""
    talks = associate(closing=False), associate((OTHER, 40_000), begin=START + SECOND, closing=False)
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    frames += exchange((ONE, 50_000)) + exchange(("10.0.0.66", 50_000), begin=START + SECOND // 2)[:1]
    records = analyse(sorted(frames, key=lambda frame: frame[0]), [first])
    assert [sorted(codes([record])) for record in records] == [["udp-unassociated"], []]


def test_client_proxy_and_destination_on_one_machine() -> None:
    """What goes between relay and destination carries no header and is nobody's datagram."""
    relay, destination = (LOOPBACK, 3000), (LOOPBACK, 53)
    time = START + 6_500_200
    legs = [(time, datagram(relay, destination, b"query")), (time + 1, datagram(destination, relay, b"an answer"))]
    records = read(
        associate((LOOPBACK, 40_000), relay, proxy=LOOPBACK),
        exchange((LOOPBACK, 50_000), relay, destination),
        legs,
    )
    assert amounts(records) == [EACH]
    assert codes(records) == set()


def test_a_destination_by_name_on_the_same_machine() -> None:
    """Which port the name stands for is not known: its answers are not mistaken for damaged datagrams."""
    relay = (LOOPBACK, 3000)
    time = START + 6_500_000
    named = datagram((LOOPBACK, 50_000), relay, b"\0\0\0\3\x09localhost\0\x35query")
    answer = datagram((LOOPBACK, 53), relay, b"an answer")
    records = read(associate((LOOPBACK, 40_000), relay, proxy=LOOPBACK), [(time, named), (time + 1, answer)])
    assert amounts(records) == [(1, 0, 5, 0)]
    assert codes(records) == {"udp-one-way"}


@pytest.mark.parametrize("first", range(18))
def test_an_association_whose_endpoints_are_taken_over_without_a_close(first: int) -> None:
    """Its datagrams are its own, however packets fall into batches."""
    again = connection([(CLIENT, GREETING)], client=(ONE, 40_000), begin=START + 5 * SECOND, starts=(99_999, 77_777))
    talks = associate(closing=False), again
    frames = [(packet.time, packet.frame()) for talk in talks for packet in talk]
    frames = sorted(frames + exchange((ONE, 50_000)), key=lambda frame: frame[0])
    assert amounts(analyse(frames, [first])) == [EACH]


@pytest.mark.parametrize("greeting", [GREETING, b"\5\3\0\1\2", b"\5\3\5\3\0"])
@pytest.mark.parametrize("place", [address("0.0.0.0", 0), NAMED], ids=["zeros", "name"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_association_is_known_while_its_datagrams_pass(
    greeting: bytes, place: bytes, size: int, every: bool, swapped: bool
) -> None:
    """However its request is cut, or comes in disorder: only then a datagram without a header is found.

    It is cut in `every` place that is a multiple of a size, or at the first one.
    """
    request = b"\5\3\0" + place
    pieces = [request[begin : begin + size] for begin in range(0, len(request), size)]
    asked = [(CLIENT, piece) for piece in (pieces if every else [request[:size], request[size:]]) if piece]
    talk = [(CLIENT, greeting), (SERVER, CHOICE), *asked, (SERVER, b"\5\0\0" + address(*RELAY))]
    packets = connection(talk, closing=False)
    if swapped and len(asked) > 1:
        packets[5], packets[6] = packets[6], packets[5]
    frames = [(packet.time, packet.frame()) for packet in packets]
    time = frames[-1][0] + 1000
    frames += [(time, exchange((ONE, 50_000))[0][1]), (time + 1, datagram((ONE, 50_000), RELAY, b"no header at all"))]
    (record,) = analyse(frames, [len(packets), 1])
    assert "udp-no-header" in codes([record])


@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 10.0.0.1 10.0.0.9 1 2\r\n", PROXY_V2])
def test_an_association_is_known_whose_request_came_with_the_greeting(header: bytes) -> None:
    """And with a header of a load balancer, all in one segment."""
    said = header + GREETING + b"\5\3\0" + address("0.0.0.0", 0)
    packets = connection([(CLIENT, said), (SERVER, CHOICE), (SERVER, b"\5\0\0" + address(*RELAY))], closing=False)
    frames = [(packet.time, packet.frame()) for packet in packets]
    time = frames[-1][0] + 1000
    frames += [(time, exchange((ONE, 50_000))[0][1]), (time + 1, datagram((ONE, 50_000), RELAY, b"no header at all"))]
    (record,) = analyse(frames, [len(packets), 1])
    assert "udp-no-header" in codes([record])


def test_no_association_is_looked_for_once_the_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look judges the dialogue again. Here a CONNECT has the octets of the other request in its address."""
    looks: list[int] = []
    asked = handshakes.Handshakes.asked

    def note(self: handshakes.Handshakes, decided: handshakes.Decided) -> None:
        looks.append(len(decided.dialogues))
        asked(self, decided)

    monkeypatch.setattr(handshakes.Handshakes, "asked", note)
    request = [(CLIENT, bytes([octet])) for octet in b"\5\1\0" + address("5.3.0.1", 80)]
    talk = [(CLIENT, GREETING), (SERVER, CHOICE), *request, (SERVER, b"\5\0\0" + address(*RELAY))]
    packets = connection([*talk, *[(CLIENT, b"\5\3\0 and so on"), (SERVER, b"what is said")] * 20])
    analyse(packets, [1] * len(packets))
    answered = 3 + len(talk)
    assert sum(looks[:answered]) > 0
    assert sum(looks[answered:]) == 0


@pytest.mark.parametrize(
    "talk",
    [
        *DIALOGUES.values(),
        [(CLIENT, b"\5\1\2"), (SERVER, b"\5\2"), (CLIENT, b"\1\2me\2ab"), (SERVER, b"\1\0"), *DIALOGUES["plain"][2:]],
        [(CLIENT, b"\5\1\2\1\2me\2ab"), (SERVER, b"\5\2\1\0"), *DIALOGUES["plain"][2:]],
        [(CLIENT, GREETING + DIALOGUES["plain"][2][1]), (SERVER, CHOICE), *DIALOGUES["plain"][3:]],
        [(CLIENT, b"PROXY TCP4 10.0.0.1 10.0.0.9 1 2\r\n" + GREETING), *DIALOGUES["plain"][1:]],
        [(CLIENT, b"GET / HTTP/1.1\r\n\r\n"), (SERVER, b"HTTP/1.1 200 OK\r\n\r\n")],
    ],
)
def test_none_is_looked_for_where_none_is_asked_for(
    talk: list[tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a segment's first octets tells, of any frame by itself and of several in one segment."""
    looks: list[int] = []
    associating = handshakes.Handshakes.associating

    def note(self: handshakes.Handshakes) -> NDArray[np.intp]:
        used = self._flows.used
        looks.append(int((self._marks.associates[:used] == handshakes._ASKS).sum()))
        return associating(self)

    monkeypatch.setattr(handshakes.Handshakes, "associating", note)
    packets = connection(talk)
    analyse(packets, [1] * len(packets))
    assert looks
    assert not any(looks)


DECLARED = [("0.0.0.0", 0), ("0.0.0.0", 40_100), ("::", 0), (ONE, 40_100), (OTHER, 40_100), ("8.8.8.8", 53)]
BOUND = [RELAY, ("0.0.0.0", 3000), ("::", 3000), (LOOPBACK, 3000), (PROXY, 0), ("2001:db8::9", 3000)]


@settings(max_examples=60)
@given(data=st.data())
def test_associations_with_a_form_are_those_of_dialogues_judged_by_themselves(data: st.DataObject) -> None:
    """Whatever the request declares, the reply binds, and datagrams say; several at one relay at the same time."""
    kinds = data.draw(st.lists(st.tuples(st.sampled_from(DECLARED), st.sampled_from(BOUND)), min_size=1, max_size=3))
    remotes = st.sampled_from([REMOTE, (ONE, 40_100), ("2001:db8::8", 53)])
    packets: list[Packet] = []
    sent: list[Frame] = []
    for number, (declared, bound) in enumerate(kinds * 3):
        begin = START + number * data.draw(st.sampled_from([1_000_000, 20_000_000]))
        host = data.draw(st.sampled_from([ONE, OTHER]))
        status = data.draw(st.sampled_from([0, 0, 0, 1]))
        talk = [
            *((CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\3\0" + address(*declared))),
            (SERVER, bytes([5, status, 0]) + address(*bound)),
        ]
        closing = data.draw(st.booleans())
        packets += connection(talk, client=(host, 41_000 + number), proxy=(PROXY, 1080), begin=begin, closing=closing)
        port = data.draw(st.sampled_from([40_100, 40_200 + number]))
        both = exchange((host, port), remote=data.draw(remotes), begin=begin)
        sent += both[: data.draw(st.integers(0, 2))]
    frames = sorted([*((packet.time, packet.frame()) for packet in packets), *sent], key=lambda frame: frame[0])
    sizes = data.draw(st.lists(st.integers(1, 60), max_size=10))
    udp_frames = data.draw(st.booleans())

    def found(few: int) -> list[dict[str, object]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handshakes, "FEW", few)
            return [record.as_dict() for record in analyse(frames, sizes, udp_frames=udp_frames)]

    assert found(0) == found(1 << 30)


PARTIES = [(ONE, 50_000), (ONE, 50_001), (OTHER, 50_000), (LOOPBACK, 50_000), REMOTE, (ONE, 53)]
SIX_PARTIES = [("2001:db8::1", 50_000), ("2001:db8::2", 50_001)]


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_stranger_just_before_a_reply_disturbs_the_one_that_is_open(size: int) -> None:
    """What it does is decided when it sends, also where both have the same time."""
    talks = associate(closing=False), associate((OTHER, 40_000), begin=START + SECOND // 50, closing=False)
    stranger = talks[1][6].time, exchange(("10.0.0.66", 50_000))[0][1]
    frames = [stranger, *((packet.time, packet.frame()) for talk in talks for packet in talk)]
    records = analyse(sorted(frames, key=lambda frame: frame[0]), [size] * len(frames))
    assert [[entry.frame for entry in record.anomalies] for record in records] == [[14], []]


BEGINNINGS = [b"\0\0\0", b"\0\0\0", b"\0\0\0", b"\0\0\1", b"\0\0\x82", b"\0\7\0", b""]


@settings(max_examples=25, derandomize=True)
@given(data=st.data())
def test_whose_datagrams_are_does_not_depend_on_batches(data: st.DataObject) -> None:
    """Clients and strangers of both IP versions at relays of their own or shared, before replies and after closes."""
    frames: list[Frame] = []
    for number in range(data.draw(st.integers(1, 4))):
        six = data.draw(st.booleans())
        host = "2001:db8::1" if six else data.draw(st.sampled_from([ONE, OTHER]))
        talk = associate(
            (host, 41_000 + number),
            bound=data.draw(st.sampled_from([RELAY, ("0.0.0.0", 3000)])),
            declared=data.draw(st.sampled_from([0, 0, 50_000, 50_001])),
            begin=START + data.draw(st.integers(0, 30)) * 1_000_100,
            closing=data.draw(st.booleans()),
            proxy="2001:db8::9" if six else PROXY,
        )
        frames += [(packet.time, packet.frame()) for packet in talk]
    for number in range(data.draw(st.integers(1, 12))):
        six = data.draw(st.sampled_from([False, False, True]))
        party = data.draw(st.sampled_from(SIX_PARTIES if six else PARTIES))
        ends = party, ("2001:db8::9" if six else PROXY, 3000)
        remote = data.draw(st.sampled_from([REMOTE, (ONE, 53)]))
        octets = data.draw(st.sampled_from(BEGINNINGS)) + address(*remote) + b"what is said"
        time = START + data.draw(st.integers(0, 40)) * 1_000_100 + number
        frames.append((time, datagram(*(ends if data.draw(st.booleans()) else ends[::-1]), octets)))
    frames.sort(key=lambda frame: frame[0])
    expected = [record.as_dict() for record in analyse(frames, udp_frames=True)]
    for sizes in ([1] * len(frames), data.draw(st.lists(st.integers(1, 20), max_size=10))):
        assert [record.as_dict() for record in analyse(frames, sizes, udp_frames=True)] == expected


def test_what_zeros_mean_is_told_of_each_association(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that are alike but for their addresses."""
    monkeypatch.setattr(handshakes, "FEW", 0)
    bounds = [RELAY, ("0.0.0.0", 3000), RELAY, ("::", 3000), RELAY]
    talks = [associate((ONE, 41_000 + number), bound) for number, bound in enumerate(bounds * 2)]
    zeros = [[each.code for each in record.anomalies] == ["bound-unspecified"] for record in read(*talks)]
    assert zeros == [False, True, False, True, False] * 2
