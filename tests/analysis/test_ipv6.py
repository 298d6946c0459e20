"""Over IPv6 everything is read as over IPv4, and what is remembered of IPv6 addresses is bounded."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from socks5sniff.analysis import Analyser, bounds
from socks5sniff.record import Conversation
from tests.traffic import SECOND, START, SYN, Packet, analyse, batches, connection, cut, six, six_of

from .test_analysis import DIALOGUES, facts
from .test_associations import EACH, amounts, associate, exchange, read


def moved(record: Conversation) -> dict[str, Any]:
    """The facts of an IPv4 record as they are over IPv6: the ends differ, and so does the Community ID."""
    plain = facts(record)
    for end in ("client", "proxy"):
        plain[end]["address"] = six_of(plain[end]["address"])
    del plain["community_id"]
    return plain


def over_six(record: Conversation) -> dict[str, Any]:
    plain = facts(record)
    del plain["community_id"]
    return plain


@pytest.mark.parametrize("name", DIALOGUES)
@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_every_dialogue_is_the_same(name: str, pieces: int) -> None:
    packets = connection(DIALOGUES[name])
    if pieces:
        packets = list(cut(packets, [pieces] * 1000))
    (four,), (six_,) = analyse(packets), analyse(packets, version=6)
    assert over_six(six_) == moved(four)
    assert six_.community_id != four.community_id


def test_both_versions_side_by_side_are_told_apart() -> None:
    packets = connection(DIALOGUES["plain"])
    both = sorted([*packets, *six(connection(DIALOGUES["password"]))], key=lambda packet: packet.time)
    four, other = analyse(both)
    assert (four.method, other.method) == ("no-authentication", "username-password")
    assert (four.client.address, other.client.address) == ("10.0.0.1", six_of("10.0.0.1"))


def test_an_association_and_its_datagrams() -> None:
    client, proxy, relay, remote = "2001:db8::1", "2001:db8::9", ("2001:db8::9", 3000), ("2001:db8::53", 53)
    talk = associate((client, 40_000), bound=relay, proxy=proxy)
    records = read(talk, exchange((client, 5000), relay, remote))
    assert amounts(records) == [EACH]
    assert records[0].udp is not None
    assert [(each.host, each.port) for each in records[0].udp.destinations] == [remote]


def test_a_scan_from_many_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that no flow has any more are forgotten; a conversation in the middle of it all is read."""
    monkeypatch.setattr(bounds, "MAX_ADDRESSES", 200)
    monkeypatch.setattr(bounds, "MAX_FLOWS", 400)
    scan = [
        Packet(0, SYN, number, time=START + number * SECOND, ends=((f"2001:db8::{number:x}", 4000), ("::9", 80)))
        for number in range(1, 5001)
    ]
    talk = six(connection(DIALOGUES["plain"], begin=START + 2500 * SECOND))
    frames = [(packet.time, packet.frame()) for packet in sorted([*scan, *talk], key=lambda packet: packet.time)]
    reading = Analyser()
    largest, records = 0, []
    for batch in batches(frames, [100] * (len(frames) // 100)):
        records += chain.from_iterable(reading.take(batch))
        largest = max(largest, len(reading.reader.addresses))
    records += chain.from_iterable(reading.finish())
    assert [record.outcome for record in records] == ["succeeded"]
    assert largest < 2000
