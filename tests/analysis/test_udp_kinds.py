"""What real relays and clients do with datagrams, and what is said of it."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence

import pytest

from socks5sniff.analysis import Analyser
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

from .test_associations import OTHER, PROXY, RELAY, REMOTE, Frame, address, amounts, associate, codes, exchange, read

ONE = ("10.0.0.1", 50_000)
HEADER = b"\0\0\0" + address(*REMOTE)
NOW = START + 6_500_000
"""Just after the reply of an association that began at START, and before its end."""


def sent(octets: bytes, after: int = 0, relay: tuple[str, int] = RELAY, client: tuple[str, int] = ONE) -> Frame:
    return NOW + after, datagram(client, relay, octets)


def back(octets: bytes, after: int = 0, relay: tuple[str, int] = RELAY, client: tuple[str, int] = ONE) -> Frame:
    return NOW + after, datagram(relay, client, octets)


def message(records: Sequence[Conversation], code: str) -> str:
    (found,) = [a.message for record in records for a in record.anomalies if a.code == code]
    return found


def numbered(frame: Frame, ident: int, after: int = 0) -> Frame:
    """The frame with an identification of its IP packet."""
    time, octets = frame
    return time + after, octets[:18] + struct.pack(">H", ident) + octets[20:]


def alive(**options: object) -> list[Packet]:
    return associate(closing=False, **options)  # type: ignore[arg-type]


class TestCopies:
    @pytest.mark.parametrize("ident", [0, 1, 77, 65535])
    @pytest.mark.parametrize("delay", [0, 2_000, 60_000])
    def test_count_once(self, ident: int, delay: int) -> None:
        out, answer = sent(HEADER + b"query"), back(HEADER + b"an answer", 1_000_000)
        frames = [numbered(each, ident, late) for each in (out, answer) for late in (0, delay)]
        assert amounts(read(alive(), sorted(frames))) == [(1, 1, 5, 9)]

    def test_across_batches(self) -> None:
        frames = [(p.time, p.frame()) for p in alive()]
        frames += [numbered(sent(HEADER + b"query"), 7, late) for late in (0, 3_000)]
        assert amounts(analyse(frames, [1] * len(frames))) == [(1, 0, 5, 0)]

    def test_what_differs_is_another(self) -> None:
        out = sent(HEADER + b"query")
        frames = [
            numbered(out, 7),
            numbered(out, 8, 1000),
            numbered(sent(HEADER + b"quest"), 7, 2000),
            numbered(sent(HEADER + b"query", client=("10.0.0.1", 50_001)), 7, 3000),
            numbered(out, 7, 5_000_000),
        ]
        assert amounts(read(alive(), frames)) == [(5, 0, 25, 0)]

    def test_in_a_vlan(self) -> None:
        time, octets = numbered(sent(HEADER + b"query"), 7)
        tagged = octets[:12] + b"\x81\0\0\x0a" + octets[12:]
        assert amounts(read(alive(), [(time, octets), (time + 10, tagged)])) == [(1, 0, 5, 0)]


class TestWhereTheRelayIs:
    """BND does not always name it."""

    NAME = b"\5\0\0\3\x12relay.example.test" + struct.pack(">H", 3000)

    def opened(self, reply: bytes) -> list[Packet]:
        talk = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\3\0" + address("0.0.0.0", 0)), (SERVER, reply)]
        return connection(talk, client=("10.0.0.1", 40_000), proxy=(PROXY, 1080), closing=False)

    @pytest.mark.parametrize("relay", [RELAY, ("10.0.0.77", 3000), ("203.0.113.9", 3000)])
    def test_a_name(self, relay: tuple[str, int]) -> None:
        records = read(self.opened(self.NAME), exchange(ONE, relay))
        assert amounts(records) == [(1, 1, 5, 9)]
        assert codes(records) == set()

    def test_a_name_and_another_port(self) -> None:
        assert amounts(read(self.opened(self.NAME), exchange(ONE, ("10.0.0.77", 3001)))) == [(0, 0, 0, 0)]

    @pytest.mark.parametrize("host", [PROXY, "0.0.0.0"])
    def test_port_0(self, host: str) -> None:
        records = read(self.opened(b"\5\0\0" + address(host, 0)), exchange(ONE, (PROXY, 4321)))
        assert amounts(records) == [(1, 1, 5, 9)]
        assert "its port is 0" in message(records, "unreachable-bound")

    @pytest.mark.parametrize(
        ("bound", "flagged"),
        [
            ("127.0.0.1", True),
            ("127.9.9.9", True),
            ("::1", True),
            ("10.0.0.9", False),
            ("10.7.7.7", False),
            ("8.8.8.8", False),
        ],
    )
    def test_what_a_client_in_a_private_network_can_reach(self, bound: str, flagged: bool) -> None:
        assert ("unreachable-bound" in codes(read(alive(bound=(bound, 3000))))) == flagged

    @pytest.mark.parametrize(
        ("bound", "flagged"),
        [("10.7.7.7", True), ("192.168.1.1", True), ("172.31.0.1", True), ("172.32.0.1", False), ("fd00::1", True)],
    )
    def test_what_a_client_in_a_public_network_can_reach(self, bound: str, flagged: bool) -> None:
        records = read(associate(("8.8.4.4", 40_000), (bound, 3000), proxy="9.9.9.9", closing=False))
        assert ("unreachable-bound" in codes(records)) == flagged

    def test_on_one_machine_loopback_is_reached(self) -> None:
        relay = ("127.0.0.1", 3000)
        records = read(
            associate(("127.0.0.1", 40_000), relay, proxy="127.0.0.1", closing=False),
            exchange(("127.0.0.1", 50_000), relay),
        )
        assert (codes(records), amounts(records)) == (set(), [(1, 1, 5, 9)])

    def test_a_client_that_believes_a_loopback_address(self) -> None:
        """Captured on its own machine, where nobody listens there."""
        frames = [sent(HEADER + b"query", relay=("127.0.0.1", 3000), client=("127.0.0.1", 50_000))]
        records = read(alive(bound=("127.0.0.1", 3000)), frames)
        assert codes(records) == {"unreachable-bound", "udp-one-way"}
        assert amounts(records) == [(1, 0, 5, 0)]

    def test_a_reply_of_which_only_a_part_was_captured(self) -> None:
        frames: list[Frame] = [(p.time, p.frame()) for p in self.opened(b"\5\0\0" + address(*RELAY))]
        analyser = Analyser()
        for batch in [*batches(frames, captured=60), *batches(exchange(ONE))]:
            analyser.take(batch)
        records = [record for part in analyser.finish() for record in part]
        assert (records[0].bound, records[0].outcome) == (None, "succeeded")
        assert amounts(records) == [(1, 1, 5, 9)]


class TestAnswers:
    def test_none(self) -> None:
        records = read(alive(), [sent(HEADER + b"query", late) for late in (0, 1_000_000)])
        assert message(records, "udp-one-way") == "2 datagrams went to the relay and none came back"

    @pytest.mark.parametrize(
        ("sender", "said"),
        [((PROXY, 3333), "another port, 10.0.0.9:3333"), (("10.0.0.77", 3000), "another address, 10.0.0.77:3000")],
    )
    def test_from_elsewhere(self, sender: tuple[str, int], said: str) -> None:
        records = read(alive(), [sent(HEADER + b"query"), back(HEADER + b"an answer", 1_000_000, sender)])
        assert said in message(records, "udp-one-way")

    def test_to_a_port_that_did_not_ask(self) -> None:
        frames = [sent(HEADER + b"query"), back(HEADER + b"an answer", 1_000_000, client=("10.0.0.1", 50_001))]
        assert "another port of the client: 50001" in message(read(alive(), frames), "udp-one-way")

    def test_nothing_of_the_client_captured_is_not_one_way(self) -> None:
        assert codes(read(alive(), [back(HEADER + b"an answer")])) == set()

    @pytest.mark.parametrize("octets", [b"an answer without", bytes.fromhex("1234 8180 0001 0001 0000 0000"), b"x"])
    def test_without_a_header(self, octets: bytes) -> None:
        records = read(alive(), [sent(HEADER + b"query"), back(octets, 1_000_000)])
        assert message(records, "udp-no-header") == f"{len(octets)} octets of the relay have no SOCKS header"
        assert "udp-one-way" not in codes(records)

    @pytest.mark.parametrize(
        "octets",
        [b"a question without", bytes.fromhex("1234 0100 0001 0000 0000 0000"), b"\0\0\0\1\x7f", b"\0\0\0\3\x09short"],
    )
    def test_a_question_without_a_header(self, octets: bytes) -> None:
        records = read(alive(), [sent(octets)])
        assert message(records, "udp-no-header") == f"{len(octets)} octets of the client have no SOCKS header"
        assert amounts(records) == [(0, 0, 0, 0)]

    @pytest.mark.parametrize("named", [ONE, ("10.0.0.1", 40_000), ("10.0.0.1", 9)])
    def test_that_name_the_client(self, named: tuple[str, int]) -> None:
        frames = [sent(HEADER + b"query"), back(b"\0\0\0" + address(*named) + b"an answer", 1_000_000)]
        assert f"{named[0]}:{named[1]}" in message(read(alive(), frames), "udp-names-client")

    @pytest.mark.parametrize("sizes", [(), (1,) * 30])
    def test_that_name_the_client_are_counted_all(self, sizes: tuple[int, ...]) -> None:
        """And so are the datagrams that they answer: the client has not sent to itself."""
        frames = [(p.time, p.frame()) for p in alive()]
        for after in range(0, 5_000_000, 1_000_000):
            frames += [sent(HEADER + b"query", after), back(b"\0\0\0" + address(*ONE) + b"an answer", after + 1)]
        assert amounts(analyse(frames, sizes)) == [(5, 5, 25, 45)]

    def test_of_a_destination_on_the_client_s_machine(self) -> None:
        header = b"\0\0\0" + address("10.0.0.1", 53)
        records = read(alive(), [sent(header + b"query"), back(header + b"an answer", 1_000_000)])
        assert codes(records) == set()


class TestAfterTheEnd:
    @pytest.mark.parametrize("late", [100_000_000, 3 * SECOND, 9 * SECOND])
    @pytest.mark.parametrize("sizes", [(), (1,) * 30])
    def test_datagrams(self, late: int, sizes: tuple[int, ...]) -> None:
        frames = [(p.time, p.frame()) for p in associate()]
        frames += [*exchange(ONE), sent(HEADER + b"query", late)]
        frames += [(p.time, p.frame()) for p in connection([], client=(OTHER, 1), begin=START + 30 * SECOND)]
        records = analyse(sorted(frames), sizes)
        assert codes(records) == {"udp-after-close"}
        assert amounts(records) == [(2, 1, 10, 9)]

    def test_long_after_is_another_s(self) -> None:
        records = read(associate(), exchange(ONE), [sent(HEADER + b"query", 60 * SECOND)])
        assert (codes(records), amounts(records)) == (set(), [(1, 1, 5, 9)])


class TestFragments:
    def fragments(self, *numbers: int, gap: int = 200_000) -> list[Frame]:
        return [
            sent(b"\0\0" + bytes([number]) + HEADER[3:] + b"12345", place * gap) for place, number in enumerate(numbers)
        ]

    @pytest.mark.parametrize("numbers", [(1, 2, 0x83), (0x81,), (1, 0x82, 1, 0x82)])
    def test_each_is_a_datagram(self, numbers: tuple[int, ...]) -> None:
        records = read(alive(), self.fragments(*numbers), [back(HEADER + b"ok", 2_000_000)])
        assert records[0].udp is not None
        assert (records[0].udp.datagrams_sent, records[0].udp.bytes_sent) == (len(numbers), 5 * len(numbers))
        assert records[0].udp.fragments == len(numbers)
        assert codes(records) == {"udp-fragmented"}

    @pytest.mark.parametrize(
        ("numbers", "came"),
        [((1, 2), 2), ((1,), 1), ((2, 0x83), 1), ((1, 2, 1, 0x82), 2), ((1, 3, 0x84), 1), ((0x82,), 1)],
    )
    def test_incomplete(self, numbers: tuple[int, ...], came: int) -> None:
        records = read(alive(), self.fragments(*numbers), [back(HEADER + b"ok", 1_000_000)])
        assert codes(records) == {"udp-fragmented", "udp-fragments-incomplete"}
        expected = "1 fragment of" if came == 1 else f"{came} fragments of"
        assert message(records, "udp-fragments-incomplete").startswith(expected)

    def test_too_slow(self) -> None:
        records = read(alive(), self.fragments(1, 0x82, gap=6 * SECOND), [back(HEADER + b"ok", 7 * SECOND)])
        assert "udp-fragments-incomplete" in codes(records)


@pytest.mark.parametrize("ahead", [-37 * SECOND, -100_000_000, -1_000_000, 1_000_000, 100_000_000, 37 * SECOND])
@pytest.mark.parametrize("closing", [False, True])
def test_whichever_side_s_clock_is_ahead(ahead: int, closing: bool) -> None:
    """What the proxy sends is stamped by another clock, and the file is in the order of time."""
    frames = [(p.time + (ahead if p.side == SERVER else 0), p.frame()) for p in associate(closing=closing)]
    out, answer = exchange(ONE)
    frames += [out, (answer[0] + ahead, answer[1])]
    records = read(sorted(frames))
    assert amounts(records) == [(1, 1, 5, 9)]
    assert codes(records) == set()


def test_state_is_values() -> None:
    frames = [(p.time, p.frame()) for p in alive()] + exchange(ONE) + [sent(HEADER + b"query", 1_000_000)]
    analyser = Analyser()
    for batch in batches(frames, [1] * len(frames)):
        analyser.take(batch)
        analyser = pickle.loads(pickle.dumps(analyser))
    assert amounts([record for part in analyser.finish() for record in part]) == [(2, 1, 10, 9)]
