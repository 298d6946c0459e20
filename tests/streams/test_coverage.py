"""Which octets are in the capture, beside the plainest way to know it: a set of positions."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.packets.columns import Segments
from socks5sniff.streams import coverage
from socks5sniff.streams.coverage import Coverage, running_ends
from socks5sniff.streams.octets import Payloads

SLOTS = 3


def payloads(rows: list[tuple[int, int, int, int, int]]) -> Payloads:
    """Rows of (slot, way, offset, captured, length), grouped by slot as batches are."""
    rows = sorted(rows, key=lambda row: row[0])
    slot, way, offset, captured, length = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows), np.uint64)
    segments = Segments(
        np.empty(0, np.uint8), np.empty(0, np.uint8), *[nothing.astype(np.int64)] * 2, nothing.astype(np.uint16),
        nothing, nothing, *[nothing.astype(np.uint32)] * 2, nothing.astype(np.uint8), nothing.astype(np.int64),
        length, captured, nothing.astype(np.int32),
    )  # fmt: skip
    return Payloads(segments, np.arange(len(rows)), slot, way.astype(np.uint8), offset, np.full(len(rows), -1))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32), batches=st.integers(1, 6), mostly_in_order=st.booleans())
def test_the_holes_are_the_positions_that_nothing_covers(seed: int, batches: int, mostly_in_order: bool) -> None:
    rng = random.Random(seed)
    found = Coverage()
    found.grow(SLOTS)
    seen: dict[tuple[int, int], set[int]] = {(slot, way): set() for slot in range(SLOTS) for way in (0, 1)}
    at = dict.fromkeys(seen, 0)
    for _ in range(batches):
        rows = []
        for _ in range(rng.randrange(1, 12)):
            slot, way, length = rng.randrange(SLOTS), rng.randrange(2), rng.randrange(1, 9)
            orderly = mostly_in_order and rng.random() < 0.8
            begin = at[slot, way] if orderly else rng.randrange(-20, 60)
            captured = length if rng.random() < 0.9 else rng.randrange(length)
            at[slot, way] = begin + length
            rows.append((slot, way, begin, captured, length))
            seen[slot, way] |= set(range(begin, begin + captured))
        found.add(payloads(rows))
    start, end = rng.randrange(-10, 20), rng.randrange(20, 80)
    for (slot, way), positions in seen.items():
        holes = found.missing(slot, way, start, end)
        assert {place for begin, behind in holes for place in range(begin, behind)} == set(
            range(start, end)
        ) - positions
        assert all(behind < begin for (_, behind), (begin, _) in pairwise(holes))
        whole = found.whole(np.array([slot]), np.array([way], np.uint8), np.array([end]))[0]
        assert not whole or set(range(end)) <= positions


def test_a_slot_begins_anew() -> None:
    found = Coverage()
    found.grow(1)
    found.add(payloads([(0, 0, 0, 5, 5), (0, 0, 10, 5, 6)]))
    assert found.missing(0, 0, 0, 20) == [(5, 10), (15, 20)]
    assert found.cut[:, 0].tolist() == [True, False]
    found.reset(np.array([0]))
    assert found.missing(0, 0, 0, 20) == [(0, 20)]
    assert not found.cut.any()


def test_more_pieces_than_are_remembered_count_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "MOST", 3)
    found = Coverage()
    found.grow(1)
    found.add(payloads([(0, 0, number * 10, 5, 5) for number in range(6)]))
    assert found.missing(0, 0, 0, 60) == [(5, 10), (15, 20), (25, 60)]
    found.add(payloads([(0, 0, 5, 5, 5)]))
    assert found.missing(0, 0, 0, 30) == [(15, 20), (25, 30)]


def test_ends_run_by_themselves() -> None:
    ends = np.array([5, 3, 9, -7, 2, 1 << 40])
    before, furthest = running_ends(ends, np.array([0, 3, 5]), np.array([4, -20, 7]))
    assert before.tolist() == [4, 5, 5, -20, -7, 7]
    assert furthest.tolist() == [9, 2, 1 << 40]
