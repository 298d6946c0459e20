"""What tells two connections with the same endpoints apart, and the processes that a capture names."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pytest

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.capture.batch import Process
from socks5sniff.record import Conversation
from tests.traffic import CLIENT, PLAIN, SECOND, Packet, analyse, batches, connection, six

from .dialogues import DIALOGUES

Frame = tuple[int, bytes]


def tagged(packet: Packet, *vlans: int) -> Frame:
    """A packet's frame with tags behind the MAC addresses, and its time."""
    frame = packet.frame()
    tags = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in vlans)
    return packet.time, frame[:12] + tags + frame[12:]


def told(frames: Iterable[Frame], sizes: Sequence[int] = ()) -> list[tuple[str | None, str | None, int]]:
    return [
        (each.network, each.destination and each.destination.host, each.packets)
        for each in analyse(sorted(frames, key=lambda frame: frame[0]), sizes)
    ]


def in_vlan(host: str, vlan: int | tuple[int, int], start: int, late: int = 0, six_: bool = False) -> list[Frame]:
    """A connection whose directions are in these VLANs; 0 is no tag."""
    request = b"\5\1\0\3" + bytes([len(host)]) + host.encode() + b"\0\x50"
    said = [*PLAIN[:2], (CLIENT, request), *PLAIN[3:]]
    packets = connection(said, starts=(start, start + 100), begin=1_700_000_000 * SECOND + late)
    vlans = vlan if isinstance(vlan, tuple) else (vlan, vlan)
    return [
        tagged(packet, *filter(None, (vlans[packet.side],))) for packet in (six(packets) if six_ else packets)
    ]


@pytest.mark.parametrize("six_", [False, True])
@pytest.mark.parametrize("apart", [3, 40, 100_000_000])
@pytest.mark.parametrize("late", [300, 2_500_000])
@pytest.mark.parametrize("sizes", [[], [1] * 40])
def test_two_vlans_at_once(six_: bool, apart: int, late: int, sizes: list[int]) -> None:
    """However near their sequence numbers are."""
    frames = in_vlan("one.tld", 10, 1000, six_=six_) + in_vlan("two.tld", 20, 1000 + apart, late, six_)
    assert told(frames, sizes) == [("vlan 10", "one.tld", 12), ("vlan 20", "two.tld", 12)]


def test_one_of_them_has_no_tag() -> None:
    frames = in_vlan("one.tld", 0, 1000) + in_vlan("two.tld", 20, 1040, 300)
    assert told(frames) == [(None, "one.tld", 12), ("vlan 20", "two.tld", 12)]


def test_directions_in_vlans_of_their_own() -> None:
    frames = in_vlan("one.tld", (10, 11), 1000) + in_vlan("two.tld", (20, 21), 1040, 300)
    assert told(frames) == [("vlan 10 and vlan 11", "one.tld", 12), ("vlan 20 and vlan 21", "two.tld", 12)]


def test_one_connection_in_two_vlans_is_one() -> None:
    """What passes a router is there twice."""
    frames = in_vlan("one.tld", 10, 1000) + in_vlan("one.tld", 20, 1000, 300)
    assert told(frames) == [(None, "one.tld", 24)]


@pytest.mark.parametrize("late", [SECOND, 100 * SECOND])
def test_one_after_the_other_needs_no_name(late: int) -> None:
    frames = in_vlan("one.tld", 10, 1000) + in_vlan("two.tld", 20, 90_000, late)
    assert told(frames) == [(None, "one.tld", 12), (None, "two.tld", 12)]


@pytest.mark.parametrize("few", [0, 1 << 30])
def test_many(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where dialogues have a form."""
    monkeypatch.setattr(handshakes, "FEW", few)
    frames: list[Frame] = []
    for port in range(40000, 40040):
        for vlan, start in ((10, 1000), (20, 70_000)):
            packets = connection(PLAIN, client=("10.0.0.1", port), starts=(start, start + 7))
            frames += [tagged(packet, vlan) for packet in packets]
    assert [network for network, *_ in told(frames)] == ["vlan 10", "vlan 20"] * 40


# -- processes


def with_processes(
    packets: Sequence[Packet], ends: tuple[str, str], sizes: Iterable[int] = ()
) -> list[Conversation]:
    """Records of packets of which the capture names the process at either end, "" for none."""
    known = [Process(0, ""), Process(7, "curl"), Process(9, "proxyd")]
    number = {process.name: place for place, process in enumerate(known)}
    analyser = Analyser()
    found = []
    done = 0
    for batch in batches([(packet.time, packet.frame()) for packet in packets], sizes):
        mine = packets[done : done + len(batch)]
        done += len(batch)
        sent = [number[ends[packet.side]] or -number[ends[1 - packet.side]] for packet in mine]
        batch.process, batch.processes = np.array(sent, np.int32), known
        found += analyser.take(batch)
    return list(chain.from_iterable([*found, *analyser.finish()]))


CURL, PROXYD = {"pid": 7, "name": "curl"}, {"pid": 9, "name": "proxyd"}


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("dialogue", DIALOGUES)
@pytest.mark.parametrize("sizes", [[], [1] * 40])
def test_the_client_s_process(dialogue: str, few: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FEW", few)
    packets = connection(DIALOGUES[dialogue])
    for ends, expected in ((("curl", "proxyd"), CURL), (("curl", ""), CURL), (("", "proxyd"), None)):
        (record,) = with_processes(packets, ends, sizes)
        assert record.process == expected
    many = [p for port in range(40000, 40030) for p in connection(DIALOGUES[dialogue], client=("10.0.0.1", port))]
    assert all(record.process == CURL for record in with_processes(many, ("curl", "proxyd"), sizes))


def test_a_proxy_that_opens_the_connection() -> None:
    said = [(1 - side, octets) for side, octets in PLAIN]
    packets = connection(said, client=("10.0.0.9", 1080), proxy=("10.0.0.1", 9))
    (record,) = with_processes(packets, ("proxyd", "curl"))
    assert record.reversed
    assert record.process == CURL


def test_inside_a_tunnel_it_is_the_same_client() -> None:
    said = [*PLAIN[:4], *PLAIN]
    assert [record.process for record in with_processes(connection(said), ("curl", ""))] == [CURL, CURL]

