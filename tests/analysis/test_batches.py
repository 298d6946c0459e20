"""What once depended on where a batch ends: each case in one batch, and in batches of 1 and 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from socks5sniff.analysis import udp
from socks5sniff.analysis.udp import Associations
from socks5sniff.packets.columns import Datagrams
from tests.traffic import (
    ACK,
    CHOICE,
    CLIENT,
    GREETING,
    PLAIN,
    PSH,
    REPLY,
    REQUEST,
    SERVER,
    START,
    SYN,
    Packet,
    analyse,
    connection,
    datagram,
)

from .test_associations import ONE, OTHER, PROXY, REMOTE, Frame, address, associate


def the_same(packets: Sequence[Packet | Frame]) -> list[dict[str, Any]]:
    """The records, which are the same however the packets lie in batches."""
    whole, *others = (
        [record.as_dict() for record in analyse(packets, [size] * len(packets), udp_frames=True)]
        for size in (len(packets), 1, 3)
    )
    for other in others:
        assert other == whole
    return whole


# -- where a connection begins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
@pytest.mark.parametrize("behind", [0, 60, 5000, 1 << 25])
@pytest.mark.parametrize("choice", [CHOICE, b"\5\1"])
def test_a_syn_behind_the_octets_of_its_side(side: int, flags: int, behind: int, choice: bytes) -> None:
    """By its number: it is none of theirs. What they are may have been decided, and an id given."""
    said = [(CLIENT, b"\5\2\0\1"), (SERVER, choice), (CLIENT, REQUEST)]
    packets = connection(said, opening=False, closing=False)
    last = [packet for packet in packets if packet.side == side][-1]
    late = replace(last, flags=flags, sequence=last.sequence + behind, octets=b"", time=START + 1)
    next_ = connection(PLAIN, client=("10.0.0.2", 40_000), begin=START + 2)
    records = the_same([*packets, late, *next_])
    assert (records[0]["first_frame"], records[0]["methods"]) == (1, ["no-authentication", "gssapi"])
    assert records[-1]["id"] == len(records)


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
@pytest.mark.parametrize("behind", [-3, 0, 60, 5000, 1 << 25])
def test_what_a_late_syn_makes_of_an_association(side: int, flags: int, behind: int) -> None:
    """It was taken for one for the sake of its datagrams, and may turn out to be none: then it takes no id away."""
    said = [(CLIENT, b"\5\2\0\1"), (SERVER, CHOICE), (CLIENT, b"\5\3\0\1" + bytes(6)), (SERVER, REPLY)]
    packets = connection(said, opening=False, closing=False)
    last = [packet for packet in packets if packet.side == side][-1]
    late = replace(last, flags=flags, sequence=last.sequence + behind, octets=b"", time=START + 1)
    next_ = connection(PLAIN, client=("10.0.0.2", 40_000), begin=START + 2)
    records = the_same([*packets, late, *next_])
    assert [record["id"] for record in records] == [*range(1, len(records) + 1)]


def test_a_syn_behind_an_acknowledgment_tells_where_its_side_begins() -> None:
    """Nothing was said by then."""
    packets = connection(PLAIN)
    (record,) = the_same([packets[2], packets[0], *packets[3:]])
    assert not record["anomalies"]


def test_where_the_syns_are_missing_a_side_begins_with_its_first_octet() -> None:
    """Not with the first packet: what lies between the two was said before the capture."""
    packets = connection([(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, REQUEST)], closing=False)
    (record,) = the_same([replace(packets[2], flags=ACK | PSH), *packets[4:]])
    assert [frame["type"] for frame in record["frames"]] == ["method-selection", "request"]
    assert [anomaly["code"] for anomaly in record["anomalies"]] == ["midstream"]


@pytest.mark.parametrize("opening", [False, True])
def test_what_is_acknowledged_before_the_first_packet_of_the_other_side(opening: bool) -> None:
    """Two clocks: all that the client sends comes first, and it hears more than there is. That counts only where the
    client says something then."""
    packets = connection(PLAIN[:2], opening=opening, closing=False)
    last = packets[-1]
    heard = last.sequence + len(last.octets) + 9
    packets.append(Packet(CLIENT, ACK, last.acknowledgment, heard, b"", last.time, last.ends))
    sides = [[packet for packet in packets if packet.side == side] for side in (CLIENT, SERVER)]
    (record,) = the_same([packet for side in sides for packet in side])
    assert "handshake-gap" not in {anomaly["code"] for anomaly in record["anomalies"]}


# -- UDP associations -----------------------------------------------------------------------------------------------

MILLISECOND = 1_000_000
HEADER = b"\0\0\0" + address(*REMOTE)


def said(milliseconds: float, source: tuple[str, int], destination: tuple[str, int], octets: bytes = HEADER) -> Frame:
    """A datagram."""
    return START + int(milliseconds * MILLISECOND), datagram(source, destination, octets + b"what is said")


def mixed(*parts: list[Packet] | list[Frame]) -> list[Frame]:
    """All of them in their order."""
    frames = [(item.time, item.frame()) if isinstance(item, Packet) else item for part in parts for item in part]
    return sorted(frames, key=lambda frame: frame[0])


def messages(record: dict[str, Any]) -> dict[str, str]:
    """What its anomalies say."""
    return {anomaly["code"]: anomaly["message"] for anomaly in record["anomalies"]}


CLIENTS = (ONE, 50_000)


@pytest.mark.parametrize("host", [ONE, OTHER])
def test_answers_from_a_port_that_becomes_a_relay_later(host: str) -> None:
    """They came from elsewhere all the same, and from nobody's relay when they came."""
    other = associate((host, 40_001), bound=(PROXY, 3001), begin=START + 20 * MILLISECOND, closing=False)
    talk = [said(7, CLIENTS, (PROXY, 3000)), said(8, (PROXY, 3001), CLIENTS)]
    record, _ = the_same(mixed(associate(closing=False), talk, other))
    assert messages(record)["udp-one-way"].endswith("answers came from another port, 10.0.0.9:3001")


def test_answers_to_a_port_that_the_client_uses_for_another_association_later() -> None:
    """They are told of the one that it had used the port for when they came."""
    other = associate((ONE, 40_001), bound=(PROXY, 3001), closing=False)
    talk = [said(8, CLIENTS, (PROXY, 3000)), said(9, (PROXY, 3002), CLIENTS), said(10, CLIENTS, (PROXY, 3001))]
    told = [messages(record)["udp-one-way"] for record in the_same(mixed(associate(closing=False), other, talk))]
    assert ["another port" in message for message in told] == [True, False]


def test_a_relay_that_the_clients_datagrams_show_before_another_association_has_it() -> None:
    """They are the first one's: nobody else is known there when they pass."""
    seeking = associate(bound=(PROXY, 0), closing=False)
    other = associate((OTHER, 40_001), begin=START + 20 * MILLISECOND, closing=False)
    records = the_same(mixed(seeking, [said(7, CLIENTS, (PROXY, 3000))], other))
    assert [record["udp"]["datagrams_sent"] for record in records] == [1, 0]


def test_what_a_relay_sent_before_the_client_showed_it_is_the_clients_only_before_the_reply() -> None:
    """What came before the reply in the file is looked through once the relay is known; later it is known from then on.
    """
    for begin, received in ((9, 1), (0, 0)):
        seeking = associate(bound=(PROXY, 0), begin=START + begin * MILLISECOND, closing=False)
        talk = [said(7, (PROXY, 3000), CLIENTS), said(8, CLIENTS, (PROXY, 3000))]
        (record,) = the_same(mixed(seeking, talk))
        assert (record["udp"]["datagrams_sent"], record["udp"]["datagrams_received"]) == (1, received)


def test_an_association_that_is_asked_for_with_another_rsv_is_known_while_its_datagrams_pass() -> None:
    """As any other: only then a datagram without a header is found."""
    packets = [
        replace(packet, octets=b"\5\3\7" + packet.octets[3:]) if packet.octets[:3] == b"\5\3\0" else packet
        for packet in associate(closing=False)
    ]
    talk = [said(7, CLIENTS, (PROXY, 3000)), said(8, CLIENTS, (PROXY, 3000), b"no header at all")]
    (record,) = the_same(mixed(packets, talk))
    assert {"reserved-nonzero", "udp-no-header"} <= messages(record).keys()


def test_what_is_no_socks_datagram_names_no_destination() -> None:
    """RSV and FRAG are both something else: who is named there is a stranger when it sends to the relay."""
    talk = [
        said(7, CLIENTS, (PROXY, 3000)),
        said(8, CLIENTS, (PROXY, 3000), b"\0\7\1" + address(OTHER, 53)),
        said(9, (OTHER, 53), (PROXY, 3000)),
    ]
    (record,) = the_same(mixed(associate(closing=False), talk))
    assert messages(record)["udp-unassociated"].startswith("10.0.0.2:53 ")


BOUND = [(PROXY, 0), ("0.0.0.0", 0), (PROXY, 3000), ("10.0.0.8", 3000), (PROXY, 3001)]
PARTIES = [(ONE, 50_000), (ONE, 50_001), (OTHER, 50_000)]


@settings(max_examples=80, derandomize=True)
@given(data=st.data())
def test_relays_that_are_sought_and_answers_from_elsewhere(data: st.DataObject) -> None:
    """Clients that use one port for several associations; ports that are a relay of none yet, of one, or of another."""
    parts: list[Any] = []
    for number in range(data.draw(st.integers(1, 4))):
        begin = START + data.draw(st.integers(0, 30)) * 1_000_100
        bound, host = data.draw(st.sampled_from(BOUND)), data.draw(st.sampled_from([ONE, OTHER]))
        closing = data.draw(st.booleans())
        parts.append(associate((host, 41_000 + number), bound=bound, begin=begin, closing=closing))
    for number in range(data.draw(st.integers(1, 12))):
        party = data.draw(st.sampled_from(PARTIES))
        relay = data.draw(st.sampled_from([PROXY, PROXY, "10.0.0.8"])), data.draw(st.sampled_from([3000, 3001, 3002]))
        remote = data.draw(st.sampled_from([REMOTE, (ONE, 53), (ONE, 50_001)]))
        ends = (party, relay) if data.draw(st.booleans()) else (relay, party)
        time = data.draw(st.integers(0, 40)) * 1.0001 + number / 1e6
        parts.append([said(time, *ends, b"\0\0\0" + address(*remote))])
    the_same(mixed(*parts))


def test_a_flood_of_relays_that_are_sought_is_not_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn costs as much as a batch."""
    frames: list[Frame] = []
    for number in range(40):
        begin = START + number * MILLISECOND
        talk = associate((ONE, 20_000 + number), bound=("0.0.0.0", 0), begin=begin, closing=False)
        frames += [(packet.time, packet.frame()) for packet in talk]
        frames.append((talk[-1].time + 1, datagram((ONE, 50_000 + number), (PROXY, 3000), HEADER)))
    turns: list[int] = []
    take = Associations._take

    def counted(self: Associations, datagrams: Datagrams, rows: NDArray[np.intp]) -> None:
        turns.append(len(rows))
        take(self, datagrams, rows)

    monkeypatch.setattr(Associations, "_take", counted)
    for most in (5, 1000):
        monkeypatch.setattr(udp, "MAX_TURNS", most)
        turns.clear()
        assert len(analyse(sorted(frames, key=lambda frame: frame[0]))) == 40
        assert sum(turns) == 40
        assert (len(turns) <= 6) is (most == 5)
