"""Whatever a capture is cut into, and wherever: the records are those of one reading, ids and order included."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from socks5sniff.analysis import Past
from socks5sniff.analysis.analyser import AT_ONCE
from socks5sniff.archive.messages import Order, Outline, Settings, Written
from socks5sniff.archive.parts import Parts
from socks5sniff.archive.sequel import Asks, Coming, Sequel
from socks5sniff.archive.stretch import Stretch
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Options, printing
from socks5sniff.sinks.json_lines import JsonLinesSink
from socks5sniff.streams.flows import NO_TIME
from tests.analysis.test_net import CAPTURES, REPORTED, cut, lines, whole
from tests.traffic import ACK, ANSWER, CLIENT, PLAIN, RST, SECOND, SERVER, START, Packet, batches, connection, six

Value = TypeVar("Value")


@pytest.fixture(scope="module", autouse=True, params=[3, AT_ONCE], ids=lambda count: f"{count} at once")
def at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """So many connections are decided together: in large captures some have their ids before they are over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socks5sniff.analysis.analyser.AT_ONCE", request.param)
        yield


def asked(past: Past | None) -> Settings:
    """Lines are made by whoever makes the records, where nobody else looks at these."""
    return (
        Settings(udp_frames=True, printer=printing("jsonl"))
        if past is None
        else Settings(udp_frames=True, sought=past.sought)
    )


def analysed(frames: Sequence[FrameBatch], given: Settings, clock: int = NO_TIME) -> Stretch:
    stretch = Stretch(given, clock)
    stretch.read(frames)
    return again(stretch)


def again(value: Value) -> Value:
    """As another process gets it."""
    found: Value = pickle.loads(pickle.dumps(value))
    return found


def read(stretches: Sequence[Sequence[FrameBatch]], look: int = 1 << 30) -> list[str]:
    """What `jsonl` prints of a capture that is cut into these stretches; see `records`."""
    out = StringIO()
    sink = JsonLinesSink(out, Options())
    for batch in records(stretches, look=look):
        sink.records(batch)
    return out.getvalue().splitlines()


def records(
    stretches: Sequence[Sequence[FrameBatch]], past: Past | None = None, look: int = 1 << 30
) -> Iterator[Batch]:
    """The records of a capture that is cut into these stretches, and beside them what goes past its proxies.

    Args:
        look: so many stretches are known behind the one that is taken.
    """
    given = asked(past)
    sequel = Sequel(given, past)
    read_ = [analysed(frames, given) for frames in stretches]
    outlines: list[Outline] = [pickle.loads(pickle.dumps(stretch.outline())) for stretch in read_]
    for place, (stretch, outline) in enumerate(zip(read_, outlines, strict=True)):
        if not sequel.fits(outline):
            stretch = analysed(stretches[place], given, sequel.connections.flows.clock)
            outline = stretch.outline()
        asks = Asks(stretch.packets, stretch.state, stretch.every_datagram)
        order = sequel.take_stretch(outline, coming(outlines, place + 1, look), asks)
        yield from sequel.take_inner(pickle.loads(pickle.dumps(stretch.finish(order))))
    yield from sequel.finish()


def coming(outlines: list[Outline], begin: int, look: int) -> Coming:
    """What is known behind a stretch."""
    return Coming(outlines[begin : begin + look], whole=begin + look >= len(outlines))


def leaving(number: int, batch: Batch, least: int) -> tuple[list[str], Batch]:
    """In place of what writes files."""
    return [], batch


STAYING = Settings(udp_frames=True, writer=leaving, least=1)


def written(stretches: Sequence[Sequence[FrameBatch]], recalls: Sequence[int] = ()) -> list[str]:
    """The same lines, sorted, where all records stay with their stretches until they have their numbers; behind some
    stretches all are called back, as for a checkpoint, and another process goes on."""
    sequel = Sequel(STAYING)
    read_ = [analysed(frames, STAYING) for frames in stretches]
    outlines = [stretch.outline() for stretch in read_]

    def ask(place: int, order: Order, ids: NDArray[np.int64]) -> Future[Written]:
        stretch = read_[place]
        if place % 2:  # the process that had the records is gone
            stretch = analysed(stretches[place], STAYING, clocks[place])
            stretch.outline()
        future: Future[Written] = Future()
        future.set_result(again(stretch.write(order, place, ids)))
        return future

    parts = Parts(ask, lambda place: None, 1, None, None)
    clocks: list[int] = []
    out = StringIO()
    sink = JsonLinesSink(out, Options())
    for place, (stretch, outline) in enumerate(zip(read_, outlines, strict=True)):
        clocks.append(NO_TIME)
        if not sequel.fits(outline):
            clocks[place] = sequel.connections.flows.clock
            stretch = read_[place] = analysed(stretches[place], STAYING, clocks[place])
            outline = stretch.outline()
        asks = Asks(stretch.packets, stretch.state, stretch.every_datagram)
        order = sequel.take_stretch(outline, coming(outlines, place + 1, 1), asks)
        inner = stretch.finish(order)
        assert not inner.finished.places, "they stay"
        if len(inner.places):
            parts.add(place, order, inner.places.tolist())
        batches = sequel.take_inner(inner)
        batches += [left for _, left in parts.written(sequel.verdicts.numbering, place in recalls)]
        if place in recalls:
            sequel = again(sequel)
        for batch in batches:
            sink.records(batch)
    for batch in sequel.finish():
        sink.records(batch)
    for _, left in parts.written(sequel.verdicts.numbering, whole=True):
        sink.records(left)
    assert sequel.verdicts.numbering.held == 0
    return sorted(out.getvalue().splitlines())


@pytest.mark.parametrize("path", CAPTURES[::3] + REPORTED[::3], ids=lambda path: path.name)
def test_cut_at_every_seventh_packet(path: Path) -> None:
    frames = whole(path)
    count = sum(map(len, frames))
    # All captures, with every packet alone, take long: `python -m tests.archive.soak` does that.
    sizes = [size for size, most in ((1, 12), (2, 30), (7, 300)) if count <= most] or [max(count // 20, 7)]
    expected = lines(frames)
    for size in sizes:
        stretches = [[batch] for batch in cut(frames, size)]
        assert read(stretches, look=1 if size == 2 else 1 << 30) == expected, f"every {size} packets"


@pytest.mark.parametrize("path", CAPTURES[::18] + REPORTED[::18], ids=lambda path: path.name)
def test_records_stay_with_their_stretches(path: Path) -> None:
    frames = whole(path)
    stretches = [[batch] for batch in cut(frames, max(sum(map(len, frames)) // 15, 2))]
    assert written(stretches, range(0, len(stretches), 3)) == sorted(lines(frames))


# -- made up ---------------------------------------------------------------------------------------------------------

ENDS = st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.9"]), st.sampled_from([40000, 40001]))
PROXIES = st.sampled_from([("10.0.0.9", 1080), ("10.0.0.9", 8080), ("10.0.0.2", 4660)])
FOREIGN = [(CLIENT, b"GET / HTTP/1.1\r\n\r\n"), (SERVER, b"HTTP/1.1 200 OK\r\n\r\n")]
BULK = [*PLAIN, *[(SERVER, bytes([number]) * 900) for number in range(12)], (CLIENT, b"x" * 500)]
BOTH = [*PLAIN, *[(side, bytes([number]) * 900) for number in range(7) for side in (SERVER, CLIENT)]]
LOUD = [(CLIENT, b"Host: a.example\r\n" * 9), *[(SERVER, bytes([number]) * 900) for number in range(24)]]
SAID = st.sampled_from([PLAIN, PLAIN[:3], PLAIN[:1], FOREIGN, LOUD, BULK, BOTH, []])
STARTS = st.sampled_from([(1000, 5000), ((1 << 32) - 20, (1 << 32) - 300), (70_000, 90_000)])


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Connections between few endpoints at overlapping times, with packets that come again, late or never."""
    packets: list[Packet] = []
    for _ in range(draw(st.integers(1, 5))):
        begin = START + draw(st.integers(0, 90)) * SECOND // draw(st.sampled_from([1, 1000]))
        some = connection(
            draw(SAID),
            client=draw(ENDS),
            proxy=draw(PROXIES),
            starts=draw(STARTS),
            begin=begin,
            opening=draw(st.integers(0, 4)) > 0,
            closing=draw(st.integers(0, 3)) > 0,
        )
        some = some or connection([])
        if draw(st.integers(0, 4)) == 0:
            some.append(replace(some[-1], flags=RST | ACK, time=some[-1].time + 1000))
        for place in draw(st.lists(st.integers(0, len(some) - 1), max_size=3)):
            delay = draw(st.sampled_from([1000, SECOND // 2, 3 * SECOND, 61 * SECOND]))
            some.append(replace(some[place], time=some[place].time + delay))
        for place in draw(st.lists(st.integers(0, len(some) - 1), max_size=2)):
            some[place] = replace(some[place], octets=b"")
        packets += six(some) if draw(st.integers(0, 3)) == 0 else some
    frames = sorted((packet.time, packet.frame()) for packet in packets)
    jitter = draw(st.lists(st.integers(0, len(frames) - 1), max_size=2))
    for place in jitter:
        frames[place] = frames[place][0] + draw(st.sampled_from([-3 * SECOND, -1000, SECOND])), frames[place][1]
    return frames


@settings(max_examples=40, deadline=None)
@given(traffic(), st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sets(st.integers(0, 12), max_size=3))
def test_whatever_is_on_both_sides_of_a_seam(
    frames: list[tuple[int, bytes]], sizes: list[int], recalls: set[int]
) -> None:
    expected = lines([*batches(frames)])
    # With packets a minute late one reading is not always the same in other batches.
    assume(lines([*batches(frames, sizes)]) == expected)
    assert read([[batch] for batch in batches(frames, sizes)]) == expected
    assert read([[batch] for batch in batches(frames, sizes)], look=1) == expected
    assert written([[batch] for batch in batches(frames, sizes)], [*recalls]) == sorted(expected)


def test_what_a_reset_carries_is_no_octet_of_a_long_connection() -> None:
    """Of such a one only packets that move a counter are seen by who goes on with it."""
    some = connection([*PLAIN, *[(SERVER, bytes(900))] * 60], closing=False)
    again = replace(some[-30], time=some[-1].time + 1)
    reset = replace(again, flags=RST | ACK, sequence=some[-1].sequence + 900, octets=b"bye", time=again.time + 1)
    frames = [(packet.time, packet.frame()) for packet in (*some, again, reset)]
    expected = lines([*batches(frames)])
    assert f'"received":{60 * 900 + len(ANSWER)}' in expected[0]
    assert read([[batch] for batch in batches(frames, [20])]) == expected


def test_a_conversation_that_has_its_id_before_it_is_over() -> None:
    """Its line is made where it ends, by whoever knows the id by then; the id has two digits."""
    short = [
        connection(PLAIN, client=("10.0.0.1", 40_000 + number), begin=START + number * SECOND) for number in range(30)
    ]
    long = connection(PLAIN, client=("10.0.0.2", 40_000), begin=START + 11 * SECOND + SECOND // 2)
    long[-3:] = [replace(packet, time=packet.time + 60 * SECOND) for packet in long[-3:]]
    frames = sorted((packet.time, packet.frame()) for some in (*short, long) for packet in some)
    expected = lines([*batches(frames)])
    assert sorted(json.loads(line)["id"] for line in expected) == [*range(1, 32)]
    assert read([[batch] for batch in batches(frames, [200, 100])]) == expected
    assert written([[batch] for batch in batches(frames, [200, 100])], [0]) == sorted(expected)
