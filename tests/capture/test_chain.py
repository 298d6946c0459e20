"""The lock-step walk finds the same records as a walk from record to record, whatever lies in the region."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.capture import chain as chain_module
from socks5sniff.capture.chain import RECORD_LIMIT, SLACK, Layout, chain

from .samples import enhanced, frames, pcap

PCAP = [Layout(order, 8, 16, 16, 1, 2 if order == "<" else 0, 2) for order in "<>"]
PCAPNG = [Layout(order, 4, 0, 12, 4, 0, 4) for order in "<>"]


def one_by_one(octets: bytes, begin: int, layout: Layout) -> tuple[list[int], int]:
    starts = []
    while begin + layout.least <= len(octets):
        size = struct.unpack_from(layout.order + "I", octets, begin + layout.size_at)[0] + layout.extra
        size = -(-size // layout.align) * layout.align
        if size < layout.least or size > RECORD_LIMIT or begin + size > len(octets):
            break
        starts.append(begin)
        begin += size
    return starts, begin


def mark_of(octets: bytes, layout: Layout) -> bytes:
    if layout.align == 4:
        return struct.pack(layout.order + "I", 6)
    return octets[layout.mark_at : layout.mark_at + layout.mark_size].ljust(layout.mark_size, b"\0")


def check(octets: bytes, layout: Layout) -> int:
    memory = bytearray(octets + b"\xa5" * SLACK)
    starts, rest = chain(memory, 0, len(octets), layout, mark_of(octets, layout))
    assert (starts.tolist(), rest) == one_by_one(octets, 0, layout)
    return len(starts)


def record(layout: Layout, payload: bytes, seconds: int = 1_700_000_000) -> bytes:
    if layout.align == 4:
        padded = payload + bytes(-len(payload) & 3)
        size = struct.pack(layout.order + "I", len(padded) + 12)
        return struct.pack(layout.order + "I", 6) + size + padded + size
    return struct.pack(layout.order + "IIII", seconds, 0, len(payload), len(payload)) + payload


@st.composite
def regions(draw: st.DrawFn) -> tuple[bytes, Layout]:
    """Records whose payload may be other records, cut or changed anywhere."""
    layout = draw(st.sampled_from(PCAP + PCAPNG))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    largest = draw(st.sampled_from([1, 40, 300, 3000]))
    nested = draw(st.booleans())
    out = []
    for _ in range(draw(st.integers(0, 400))):
        payload = random.bytes(int(random.integers(0, largest)))
        if nested and random.random() < 0.5:
            inner = b"".join(record(layout, random.bytes(int(random.integers(0, 60)))) for _ in range(6))
            payload = payload[: int(random.integers(0, 9))] + inner
        out.append(record(layout, payload, 1_700_000_000 + int(random.integers(0, 200_000))))
    octets = bytearray(b"".join(out))
    for _ in range(draw(st.integers(0, 3))):
        if octets:
            octets[int(random.integers(0, len(octets)))] = int(random.integers(0, 256))
    return bytes(octets[: draw(st.integers(0, len(octets)))] if draw(st.booleans()) else octets), layout


@given(regions())
@settings(max_examples=150, deadline=None)
def test_equals_the_walk_one_by_one(region: tuple[bytes, Layout]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_module, "_ONE_BY_ONE", 2)
        check(*region)


@given(regions(), st.data())
@settings(max_examples=150, deadline=None)
def test_wrong_guesses_do_no_harm(region: tuple[bytes, Layout], data: st.DataObject) -> None:
    octets, layout = region
    places = st.sets(st.integers(1, max(len(octets) - 1, 1)), max_size=20)
    seeds = np.array([0, *sorted(data.draw(places))], np.int64)
    if not octets:
        return
    memory = bytearray(octets + b"\xa5" * SLACK)
    guessed = chain_module._lock_step(memory, len(octets), layout, seeds)
    found, rest = chain_module._linked(memory, 0, len(octets), layout, guessed, seeds)
    assert (np.concatenate(found).tolist(), rest) == one_by_one(octets, 0, layout)


@given(st.binary(max_size=2000), st.sampled_from(PCAP + PCAPNG))
@settings(deadline=None)
def test_any_octets(octets: bytes, layout: Layout) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_module, "_ONE_BY_ONE", 1)
        check(octets, layout)


@pytest.mark.parametrize("octet", [0, 1, 6, 255])
@pytest.mark.parametrize("layout", PCAP + PCAPNG)
def test_a_region_of_one_octet_repeated(octet: int, layout: Layout) -> None:
    check(bytes([octet]) * 100_000, layout)


@pytest.mark.parametrize("layout", PCAP)
def test_a_capture_inside_the_payload_of_a_capture(layout: Layout) -> None:
    inner = pcap(frames(2000, largest=100), order=layout.order)
    pieces = [inner[at : at + 1448] for at in range(0, len(inner), 1448)]
    octets = b"".join(record(layout, piece) for piece in pieces * 6)
    assert check(octets, layout) == len(pieces) * 6


@pytest.mark.parametrize("layout", PCAPNG)
def test_blocks_inside_the_payload_of_blocks(layout: Layout) -> None:
    inner = b"".join(enhanced(frame, order=layout.order) for frame in frames(2000, largest=100))
    pieces = [inner[at : at + 1448] for at in range(0, len(inner), 1448)]
    octets = b"".join(record(layout, piece) for piece in pieces * 6)
    assert check(octets, layout) == len(pieces) * 6


@pytest.mark.parametrize("layout", PCAP)
def test_seconds_that_leave_the_mark_behind(layout: Layout) -> None:
    octets = b"".join(record(layout, bytes(50), 1_700_000_000 + 3000 * row) for row in range(3000))
    assert check(octets, layout) == 3000


@pytest.mark.parametrize("layout", PCAPNG)
def test_sizes_that_are_no_multiple_of_four(layout: Layout) -> None:
    raw = struct.pack(layout.order + "II", 6, 41) + bytes(32) + struct.pack(layout.order + "I", 41)
    assert check(raw * 500, layout) == 500


def test_most_of_an_honest_region_is_walked_in_lock_step(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = pcap(frames(20_000))[24:]
    walked = []
    walk = chain_module._walk

    def counted(*arguments: object) -> tuple[list[int], int]:
        starts, rest = walk(*arguments)  # type: ignore[arg-type]
        walked.append(len(starts))
        return starts, rest

    monkeypatch.setattr(chain_module, "_walk", counted)
    assert check(octets, PCAP[0]) == 20_000
    assert sum(walked) < 2000


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 66])
@pytest.mark.parametrize("layout", PCAP + PCAPNG)
def test_regions_about_as_long_as_the_part_walked_one_by_one(layout: Layout, count: int) -> None:
    assert check(record(layout, bytes(20)) * count, layout) == count
    assert check(record(layout, bytes(20)) * count + bytes(5), layout) == count
