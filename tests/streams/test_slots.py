"""Columns by slot, and the octets at the beginning of segments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from socks5sniff.streams.heads import SHORT, windows
from socks5sniff.streams.slots import SlotTable

from .test_flows import Packet, segments


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


@pytest.mark.parametrize("size", [1, SHORT - 1, SHORT, SHORT + 1])
@pytest.mark.parametrize("start", [0, 5])
def test_windows_up_to_the_last_octet(size: int, start: int) -> None:
    """Zeros behind a segment's end, and behind the end of all octets."""
    memory = np.arange(1, size + 1, dtype=np.uint8)
    columns = replace(segments([Packet(1, 2)]), octets=memory)
    length = max(size - start, 0)
    (found,) = windows(columns, np.array([min(start, size)]), np.array([length])).tolist()
    expected = memory[start:][:SHORT].tolist()
    assert found == expected + [0] * (SHORT - len(expected))
