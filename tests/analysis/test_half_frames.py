"""Who closed in the middle of which frame, and after how many octets."""

from __future__ import annotations

import pytest

from socks5sniff.record import Conversation
from tests.traffic import (
    ACK,
    CHOICE,
    CLIENT,
    FIN,
    GREETING,
    PLAIN,
    REPLY,
    REQUEST,
    RST,
    SERVER,
    Packet,
    analyse,
    connection,
)

Said = list[tuple[int, bytes]]


def ended(said: Said, closer: int, flags: int, port: int = 1080) -> list[Packet]:
    """A dialogue that one side ends."""
    packets = connection(said, proxy=("10.0.0.9", port), closing=False)
    last = {side: next(p for p in reversed(packets) if p.side == side) for side in (CLIENT, SERVER)}
    behind = {side: p.sequence + len(p.octets) + bool(p.flags & 2) for side, p in last.items()}
    end = Packet(closer, flags, behind[closer], behind[1 - closer], b"", packets[-1].time + 1_000_000, packets[-1].ends)
    return [*packets, end]


def told(records: list[Conversation]) -> list[tuple[int, str]]:
    return [(a.frame, a.message) for record in records for a in record.anomalies if a.code == "half-frame"]


ASKED: Said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, REQUEST)]


@pytest.mark.parametrize("flags", [FIN | ACK, RST, RST | ACK])
@pytest.mark.parametrize(("closer", "who", "whose"), [(SERVER, "proxy", "its"), (CLIENT, "client", "the proxy's")])
@pytest.mark.parametrize("have", [1, 4, 9])
def test_a_reply_in_part(have: int, closer: int, who: str, whose: str, flags: int) -> None:
    records = analyse(ended([*ASKED, (SERVER, REPLY[:have])], closer, flags))
    octets = "1 octet" if have == 1 else f"{have} octets"
    assert told(records) == [(7, f"the {who} closed after {octets} of {whose} reply")]
    assert records[0].outcome == "incomplete"


@pytest.mark.parametrize("port", [1080, 7777])
def test_a_request_in_part(port: int) -> None:
    records = analyse(ended([*ASKED[:2], (CLIENT, REQUEST[:3]), (CLIENT, REQUEST[3:6])], SERVER, FIN | ACK, port))
    assert told(records) == [(7, "the proxy closed after 6 octets of the client's request")]


def test_a_refusal_without_its_address_is_half_a_reply_and_a_verdict() -> None:
    records = analyse(ended([*ASKED, (SERVER, b"\5\5")], SERVER, FIN | ACK))
    assert (told(records), records[0].outcome) == ([(7, "the proxy closed after 2 octets of its reply")], "rejected")


def test_inside_a_tunnel() -> None:
    records = analyse(ended([*PLAIN[:4], *ASKED, (SERVER, REPLY[:4])], SERVER, FIN | ACK))
    assert [(record.id, record.outcome) for record in records] == [(1, "succeeded"), (2, "incomplete")]
    assert told(records) == [(11, "the proxy closed after 4 octets of its reply")]


def test_nobody_closed() -> None:
    assert told(analyse(ended([*ASKED, (SERVER, REPLY[:4])], SERVER, FIN | ACK)[:-1])) == []


@pytest.mark.parametrize("end", range(1, len(ASKED) + 2))
def test_not_between_frames(end: int) -> None:
    said = [*ASKED, (SERVER, REPLY)][:end]
    for closer in (CLIENT, SERVER):
        assert told(analyse(ended(said, closer, FIN | ACK))) == []


def test_not_where_the_capture_lacks_the_rest() -> None:
    packets = ended([*ASKED, (SERVER, REPLY[:4]), (SERVER, REPLY[4:])], SERVER, FIN | ACK)
    assert told(analyse([packet for packet in packets if packet.octets != REPLY[4:]])) == []
