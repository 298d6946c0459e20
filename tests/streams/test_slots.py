"""Columns by slot, and the octets at the beginning of segments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from socks5sniff.streams.heads import SHORT, HeadRows, windows
from socks5sniff.streams.octets import Payloads
from socks5sniff.streams.slots import SlotTable

from .test_flows import Packet, segments

ROW = st.tuples(st.integers(0, 5 * SHORT), st.one_of(st.integers(0, 3 * SHORT), st.sampled_from([SHORT, SHORT + 1])))
"""Where a segment begins, and its length."""


class Table(SlotTable):
    COLUMNS = {"count": (np.int64, 7)}  # noqa: RUF012
    PAIRS = {"seen": (np.bool_, False)}  # noqa: RUF012


def test_a_table_has_its_columns_from_the_beginning_and_keeps_what_is_in_them() -> None:
    table = Table()
    assert (table.count.tolist(), table.seen.tolist()) == ([7], [[False], [False]])  # type: ignore[attr-defined]
    table.count[0], table.seen[1, 0] = 9, True  # type: ignore[attr-defined]
    table.grow(3)
    assert table.count.tolist() == [9, 7, 7]  # type: ignore[attr-defined]
    assert table.seen.tolist() == [[False] * 3, [True, False, False]]  # type: ignore[attr-defined]
    table.reset(np.array([0, 2]))
    assert table.count.tolist() == [7, 7, 7]  # type: ignore[attr-defined]
    assert not table.seen.any()  # type: ignore[attr-defined]


@given(octets=st.integers(0, 3 * SHORT), spill=st.integers(0, 2 * SHORT), rows=st.lists(ROW, max_size=6))
@example(octets=SHORT - 1, spill=0, rows=[(0, SHORT)])
@example(octets=SHORT, spill=0, rows=[(0, SHORT), (SHORT - 1, 1), (SHORT, 0)])
@example(octets=SHORT + 1, spill=SHORT, rows=[(1, SHORT), (SHORT + 1, SHORT)])
def test_the_first_octets_of_segments_wherever_they_lie(octets: int, spill: int, rows: list[tuple[int, int]]) -> None:
    """Zeros behind a segment's end; never a neighbour's octets, whether it lies in the batch or in the spill."""
    memory = np.random.default_rng(octets).integers(1, 256, octets + spill).astype(np.uint8)
    rows = [(min(start, octets + spill), length) for start, length in rows]
    rows = [(start, min(length, (octets if start < octets else octets + spill) - start)) for start, length in rows]
    packets = segments([Packet(1, 2, length=length + 2) for _, length in rows])
    packets = replace(
        packets, octets=memory[:octets], spill=memory[octets:], captured=packets.length - 2,
        payload=np.array([start for start, _ in rows], np.int64),
    )  # fmt: skip
    expected = [memory[start:][:length].tobytes() for start, length in rows]
    found = windows(packets, packets.payload, packets.captured)
    assert [row.tobytes() for row in found] == [one[:SHORT].ljust(SHORT, b"\0") for one in expected]
    every = np.arange(len(rows))
    payloads = Payloads(packets, every, every, np.zeros(len(rows), np.uint8), np.full(len(rows), 5), every)
    kept = HeadRows.of(payloads, np.full(len(rows), 5 + SHORT + 1))
    assert kept.each(every) == [one[: SHORT + 1] for one in expected]
    assert kept.captured.tolist() == [min(len(one), SHORT + 1) for one in expected]
    assert kept.length.tolist() == [min(len(one) + 2, SHORT + 1) for one in expected]
