"""What goes past the proxies is the same whatever a capture is cut into, and wherever."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import merge
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from socks5sniff.analysis import Analyser, Past, bypass, unproxied
from socks5sniff.analysis.unproxied import Exchange
from socks5sniff.capture.batch import FrameBatch
from tests.analysis.test_names import response
from tests.analysis.test_net import CAPTURES, REPORTED, cut, whole
from tests.analysis.test_relayed_dns import ASSOCIATE, RELAY, header
from tests.traffic import ANSWER, CLIENT, HTTP, PLAIN, SECOND, SERVER, START, batches, connection, datagram

from .test_seams import records, traffic

Rows = tuple[list[dict[str, Any]], list[Exchange], int, set[str]]


def found(past: Past) -> Rows:
    """What is told, and all that it is chosen from."""
    return [row.as_dict() for row in past.rows()], past._rows, past.left_out, past.clients


def one(frames: Iterable[FrameBatch], *asked: Any) -> Rows:
    """What one reading finds."""
    past = Past(*asked)
    analyser = Analyser(udp_frames=True, consumers=[past.exchanges])
    past.follow(analyser)
    for batch in frames:
        for part in analyser.take(batch):
            past.learn(part)
    for part in analyser.finish():
        past.learn(part)
    past.finish()
    return found(past)


def several(stretches: Sequence[Sequence[FrameBatch]], *asked: Any) -> Rows:
    """What is found of a capture that is cut into these stretches."""
    past = Past(*asked)
    for part in records(stretches, past):
        past.learn(part)
    past.finish()
    return found(past)


@pytest.mark.parametrize("path", CAPTURES[1::4] + REPORTED[1::3], ids=lambda path: path.name)
def test_cut_at_every_kth_packet(path: Path) -> None:
    """Everything that all hosts send; whole captures with every packet alone are left to `tests.archive.soak`."""
    frames = whole(path)
    count = sum(map(len, frames))
    hosts = everyone(frames)
    expected = one(frames, hosts, True)
    sizes = [size for size, most in ((1, 12), (2, 30), (7, 200)) if count <= most] or [max(count // 12, 7)]
    for size in sizes:
        assert several([[batch] for batch in cut(frames, size)], hosts, True) == expected, f"every {size} packets"


def everyone(frames: Iterable[FrameBatch]) -> tuple[str, ...]:
    """All addresses."""
    analyser = Analyser()
    hosts: set[str] = set()
    for batch in frames:
        for columns in analyser.reader.read(batch):
            ends = {*columns.source.tolist(), *columns.destination.tolist()}
            hosts.update(map(analyser.reader.addresses.endpoint_address, ends))
    return tuple(sorted(hosts))


# -- made up ---------------------------------------------------------------------------------------------------------

HOSTS = ("10.0.0.1", "10.0.0.9", "10.0.0.2", "192.0.2.1", "2001:db8::1", "2001:db8::9")
ENDS = st.tuples(st.sampled_from(HOSTS[:4]), st.sampled_from([53, 443, 4000, 4001]))
SIX_ENDS = st.tuples(st.sampled_from(HOSTS[4:]), st.sampled_from([53, 443, 4000]))
SAID = st.sampled_from([b"", b"hello", b"\1" * 1200, response("a.example", "192.0.2.1"), header(("192.0.2.1", 443)) + b"x"])


@st.composite
def datagrams(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Datagrams between few endpoints, and at times an association."""
    frames = []
    for _ in range(draw(st.integers(0, 12))):
        pair = draw(st.tuples(ENDS, ENDS) | st.tuples(SIX_ENDS, SIX_ENDS))
        for _ in range(draw(st.sampled_from([1, 1, 2, 12]))):
            time = START + draw(st.integers(0, 90)) * SECOND // draw(st.sampled_from([1, 1000]))
            frames.append((time, datagram(*pair[:: draw(st.sampled_from([1, -1]))], draw(SAID))))
    if draw(st.integers(0, 3)) == 0:
        begin = START + draw(st.integers(0, 60)) * SECOND
        frames += [(packet.time, packet.frame()) for packet in connection(ASSOCIATE, begin=begin)]
        for number in range(draw(st.integers(0, 4))):
            time = begin + draw(st.integers(-2000, 9_000_000))
            frames.append((time, datagram(("10.0.0.1", 4000 + number % 2), RELAY, draw(SAID))))
    return frames


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(traffic(), datagrams(), st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from([2, 4, 1 << 16]))
def test_whatever_is_on_both_sides_of_a_seam(
    monkeypatch: pytest.MonkeyPatch, tcp: list[tuple[int, bytes]], udp: list[tuple[int, bytes]], sizes: list[int], most: int
) -> None:
    monkeypatch.setattr(unproxied, "MAX_EXCHANGES", most)
    frames = [*merge(tcp, sorted(udp))]
    expected = one(batches(frames), HOSTS, True)
    # With packets a minute late one reading is not always the same in other batches.
    assume(one(batches(frames, sizes), HOSTS, True) == expected)
    assert several([[batch] for batch in batches(frames, sizes)], HOSTS, True) == expected
