"""Columns that another process gets are those that were sent, in fewer octets."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from socks5sniff.archive.narrow import Narrow, narrow, narrow_rows, wide, wide_rows
from socks5sniff.streams.flows import NO_TIME

HOUR = 3600 * 10**9
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.integers(0, (1 << 32) - 1),
    st.integers(NO_TIME, -NO_TIME - 1),
    st.just(NO_TIME),
    st.integers(10**18, 10**18 + 70_000).map(lambda number: number * 1000 % (1 << 62)),
)


def came(column: NDArray[np.int64], beside: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    found = wide(pickle.loads(pickle.dumps(narrow(column, beside))), beside)
    assert found.dtype == column.dtype
    return found


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=9), st.integers(0, 9))
def test_any_numbers(pairs: list[tuple[int, int]], alike: int) -> None:
    column, beside = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    column[:alike] = beside[:alike] + np.arange(len(beside))[:alike]
    for kind in (np.int64, np.uint64):
        assert (came(column.view(kind)) == column.view(kind)).all()
        assert (came(column.view(kind), beside) == column.view(kind)).all()


@given(st.lists(NUMBERS, min_size=1, max_size=9), st.lists(st.integers(0, 1 << 40), min_size=9, max_size=9))
def test_columns_that_are_near_each_other(times: list[int], apart: list[int]) -> None:
    first = np.array(times, np.int64)
    more = np.array(apart[: len(times)], np.int64)
    rows = {"syn_ack_time": first + more, "syn_time": first, "first_time": first - more, "packets": more}
    found = wide_rows(pickle.loads(pickle.dumps(narrow_rows(rows))))
    assert list(found) == list(rows)
    for name, column in rows.items():
        assert (found[name] == column).all()


def test_how_many_octets() -> None:
    def octets(column: NDArray[np.int64], beside: NDArray[np.int64] | None = None) -> int:
        found = narrow(column, beside)
        return found.values.itemsize if isinstance(found, Narrow) else found.itemsize

    times = 1_800_000_000 * 10**9 + np.arange(1000) * (HOUR // 1000)
    assert octets(times) == 4, "microseconds of an hour"
    assert octets(times + np.arange(1000)) == 8
    assert octets(times + np.arange(1000) * 10, times) == 2
    assert octets(np.where(times % 7 > 3, times + 9, NO_TIME), times) == 1
    assert octets(np.array([-1, 1 << 31])) == 4, "a sequence number, and none"
